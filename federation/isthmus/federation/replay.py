"""What a draft agreement would have done to recorded keys: crossed, held back and why, made to wait (pure).

The very checks of a link judge, and the very pacer spaces out, in the recording's own time; so a simulation cannot tell
another story than the wire. Signatures and the period are not looked at: a draft has neither yet.
"""

from __future__ import annotations

import json
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from isthmus.contract.scopes import SITE_TO_TIER, TIER_TO_SITE, ExportRoot
from isthmus.federation.agreement import Flow
from isthmus.federation.errors import SettingsRefused
from isthmus.federation.filters import ScopeFilter
from isthmus.federation.terms import FlowGate
from isthmus.identity import visible
from isthmus.policy.scopes import Decision, Scope, Verb

CONTRACT = Scope.mirror("contract", dict.fromkeys((*SITE_TO_TIER, *TIER_TO_SITE)))
Verdict = Literal["crossed", "held-back", "superseded", "outside"]


class Recorded(BaseModel):
    """One change of one key at UTC seconds ``at``; without a value it was deleted. ``key`` absolute or relative."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    value: str | None = None
    at: float


class Fate(BaseModel):
    """What became of one change. ``waited_s``: for its rate or its interval."""

    model_config = ConfigDict(frozen=True)

    key: str
    at: float
    verdict: Verdict
    code: str = ""
    reason: str = ""
    bytes: int = 0
    waited_s: float = 0.0


class Simulation(BaseModel):
    """One direction. ``bytes`` are keys and values that cross; rates are of what crossed."""

    model_config = ConfigDict(frozen=True)

    sender: str
    receiver: str
    records: int
    seconds: float
    counts: dict[str, int]
    reasons: dict[str, int]
    bytes: int
    mean_changes_per_s: float
    peak_changes_per_s: int
    longest_wait_s: float
    fates: tuple[Fate, ...]


@dataclass(slots=True)
class _Run:
    gate: FlowGate
    now_s: float
    waiting: OrderedDict[str, tuple[Recorded, int]] = field(default_factory=OrderedDict)
    fates: list[Fate] = field(default_factory=list)
    sent_s: list[float] = field(default_factory=list)


def simulate(flow: Flow, records: Iterable[Recorded], roots: Sequence[ExportRoot]) -> Simulation:
    """Replay ``records`` through ``flow``; absolute keys cross below ``roots``."""
    ordered = sorted(records, key=lambda one: one.at)
    run = _Run(FlowGate(flow, ScopeFilter(CONTRACT)), ordered[0].at if ordered else 0.0)
    pacer = run.gate.pacer()
    for record in ordered:
        _send(run, pacer, record.at)
        _judge(run, record, roots)
    _send(run, pacer, float("inf"))
    counts = Counter(fate.verdict for fate in run.fates)
    reasons = Counter(fate.code for fate in run.fates if fate.code)
    seconds = max(run.now_s, ordered[-1].at) - ordered[0].at if ordered else 0.0
    crossed = [fate for fate in run.fates if fate.verdict == "crossed"]
    return Simulation(
        sender=flow.sender,
        receiver=flow.receiver,
        records=len(ordered),
        seconds=seconds,
        counts={str(verdict): count for verdict, count in counts.items()},
        reasons=dict(reasons),
        bytes=sum(fate.bytes for fate in crossed),
        mean_changes_per_s=len(crossed) / seconds if seconds else float(len(crossed)),
        peak_changes_per_s=_peak(run.sent_s),
        longest_wait_s=max((fate.waited_s for fate in crossed), default=0.0),
        fates=tuple(sorted(run.fates, key=lambda fate: fate.at)),
    )


def _judge(run: _Run, record: Recorded, roots: Sequence[ExportRoot]) -> None:
    relative = _relative(record.key, roots)
    if relative is None:
        reason = Decision(
            False, "root-denied", "below no export root: it never comes near the link"
        )
        run.fates.append(_fate(record, "outside", reason))
        return
    verb = Verb.DELETE if record.value is None else Verb.PUT
    verdict = run.gate.check(verb, relative)
    if not isinstance(verdict, str):
        run.fates.append(_fate(record, "held-back", verdict))
        return
    data = b"" if record.value is None else record.value.encode()
    held = None if record.value is None else run.gate.judge_value(relative, data, record.at)
    if held is not None:
        run.fates.append(_fate(record, "held-back", held))
        return
    older = run.waiting.get(relative)
    if older is not None:
        newer = Decision(False, "superseded", "a newer value of the key came before its turn")
        run.fates.append(_fate(older[0], "superseded", newer))
    run.waiting[relative] = (record, len(relative) + len(data))


def _send(run: _Run, pacer: Any, until_s: float) -> None:
    """Let go what may go before ``until_s``, oldest first."""
    while run.waiting:
        due = {key: pacer.due_s(key, run.now_s) for key in run.waiting} if pacer.spaced else {}
        key = next((key for key in run.waiting if due.get(key, 0.0) <= 1e-6), None)
        wait_s = min(due.values()) if key is None else pacer.wait_s(1, run.now_s)
        if wait_s > 0:
            if run.now_s + wait_s > until_s:
                break
            run.now_s += wait_s + 1e-6
            continue
        assert key is not None
        record, size = run.waiting.pop(key)
        pacer.took([key], run.now_s)
        run.sent_s.append(run.now_s)
        waited_s = max(0.0, run.now_s - record.at)
        fate = Fate(key=record.key, at=record.at, verdict="crossed", bytes=size, waited_s=waited_s)
        run.fates.append(fate)
    if until_s != float("inf"):
        run.now_s = max(run.now_s, until_s)


def _fate(record: Recorded, verdict: Verdict, decision: Decision) -> Fate:
    return Fate(
        key=visible(record.key), at=record.at, verdict=verdict, code=decision.code,
        reason=decision.reason,
    )  # fmt: skip


def _relative(key: str, roots: Sequence[ExportRoot]) -> str | None:
    if not key.startswith("/"):
        return key
    for root in roots:
        if key.startswith(root.source) if root.source.endswith("/") else key == root.source:
            return root.relative + key[len(root.source) :]
    return None


def _peak(moments: Sequence[float]) -> int:
    """The most in any one second."""
    best = first = 0
    for index, moment in enumerate(moments):
        while moments[first] <= moment - 1.0:
            first += 1
        best = max(best, index - first + 1)
    return best


def read_recording(lines: Iterable[str], name: str, direction: str = "sent") -> Iterator[Recorded]:
    """Changes from JSON lines of ``{"key", "value", "at"}``, or from a tap's frames of one ``direction``; a tap knows
    no times, so its values' own ``as_of`` count. Raises SettingsRefused naming line and field."""
    at = 0.0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            raw = json.loads(line)
            if not isinstance(raw, dict):
                raise ValueError("an object is expected")
            if "direction" not in raw:
                yield Recorded.model_validate(raw)
                continue
            if raw["direction"] != direction:
                continue
            for item in raw.get("items", ()):
                value = str(item["value"]) if item["verb"] == "put" else None
                at = max(at, _as_of(value))
                yield Recorded(key=str(item["key"]), value=value, at=at)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            message = f"{name}:{number}: {where}: {first['msg']}"
            raise SettingsRefused(f"{message}; write key, value (text) and at (seconds)") from None
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            text = visible(str(error), 200)
            raise SettingsRefused(
                f"{name}:{number}: {text}; one JSON object a line, with key, value and at"
            ) from None


def _as_of(value: str | None) -> float:
    try:
        return float(json.loads(value or "")["as_of"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return 0.0
