"""A site's worst alarms as another tier reads them: a kind, how much of it is concerned, since when (issue 7; pure).

No free text crosses: what an operator reads is made by the reader from a closed list of kinds, so an alarm can tell
neither a host's nor a tenant's name, and is small. A newer release's kind is shown by its name. How bad an alarm is,
is one number, so that the worst few of many are a summary like others: top-k, with a bound (:func:`badness`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field

from isthmus.contract.envelope import Body
from isthmus.contract.figures import Told

Severity = Literal["warning", "error"]

HOSTS_DOWN, CHAINS_DEGRADED, CHAINS_UNKNOWN = "hosts-down", "chains-degraded", "chains-unknown"
CHAINS_REFUSED, DELETIONS_HELD = "chains-refused", "deletions-held"
SITES_SILENT, UNTOLD = "sites-silent", "alarms-untold"
KINDS: Mapping[str, tuple[Severity, str]] = {
    HOSTS_DOWN: ("error", "{count} of {of} hosts carry no packets"),
    CHAINS_DEGRADED: ("error", "{count} of {of} chains are degraded"),
    CHAINS_UNKNOWN: ("warning", "of {count} of {of} chains nothing is known now"),
    CHAINS_REFUSED: ("warning", "{count} of {of} chains are refused"),
    DELETIONS_HELD: ("warning", "{count} deletions are held by the brake"),
    SITES_SILENT: ("error", "{count} of {of} sites are not heard of"),
    UNTOLD: ("warning", "a site tells no alarms (an older release)"),
}
"""Every kind there is: how bad, and the sentence for an operator."""

BASE: Mapping[Severity, float] = {"warning": 1000.0, "error": 3000.0}
WORST = BASE["error"] + 1000.0
"""No alarm is worse: a bound for a site of which no alarm is known."""
_NAME = re.compile(r"(?:[0-9]{1,4}\.){0,6}(" + "|".join(KINDS) + ")")


class Alarm(Body):
    """One of the worst. ``name`` is its kind; a tier that stands for its sites puts a number for the site before it."""

    name: str = Field(pattern=r"^[a-z0-9.-]{1,96}$")
    severity: Severity = "warning"
    count: int = Field(default=0, ge=0)
    of: int = Field(default=0, ge=0)
    since: float = Field(default=0.0, description="among the worst since then, UTC seconds")


def alarm(kind: str, count: int, of: int) -> Alarm:
    """Of a kind of the list."""
    return Alarm(name=kind, severity=KINDS[kind][0], count=count, of=of)


def raised(counts: Mapping[str, tuple[int, int]]) -> dict[str, Alarm]:
    """Alarms from how many of how many are concerned, by kind; of nobody is none."""
    return {kind: alarm(kind, count, of) for kind, (count, of) in counts.items() if count > 0}


def badness(one: Alarm) -> float:
    """Errors before warnings; among them by the share that is concerned, in permille."""
    share = 1000.0 * one.count / one.of if one.of else 0.0
    return BASE[one.severity] + min(1000.0, share)


def kind_of(name: str) -> str | None:
    """The kind in a name of this contract; None when it is none."""
    found = _NAME.fullmatch(name)
    return found[1] if found is not None else None


def sentence(one: Alarm) -> str:
    """For an operator."""
    kind = kind_of(one.name)
    if kind is None:
        return f"{one.name}: {one.count} of {one.of}"
    return KINDS[kind][1].format(count=one.count, of=one.of)


def listed(
    told: Told | None,
    current: Mapping[str, Alarm],
    before: Sequence[Alarm],
    fresh: bool,
    now_s: float,
) -> tuple[Alarm, ...]:
    """The alarms that ``told`` names, in its order. What was told before stays in the same words while its figure
    holds (``fresh`` False); an alarm that was among them keeps its beginning."""
    if told is None:
        return ()
    if not fresh and tuple(one.name for one in before) == told.names:
        return tuple(before)
    since = {one.name: one.since for one in before}
    return tuple(
        current[name].model_copy(update={"since": since.get(name, now_s)})
        for name in told.names
        if name in current
    )
