"""``isthmus federation explain-summary``: a number that crossed: its rule, its bound, when and why it was sent.

The rule is the contract's (:mod:`isthmus.contract.summaries`), the rest came with the value itself: so it says at the
global tier what the site's own operator reads at the site.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import click

from isthmus.cli import show
from isthmus.cli.failures import Missing
from isthmus.cli.session import Session, on_api
from isthmus.contract.figures import Kind, Told
from isthmus.contract.summaries import LATER, SUMMARIES, Summarized
from isthmus.identity.text import visible

WHY = {
    "first": "never told before",
    "change": "it moved beyond its band",
    "age": "it had reached its maximal age",
    "rule": "another rule came into force",
    "clock": "the site's clock went back",
}
KEY = "summary/site"


@click.command(
    "explain-summary",
    short_help="Each summarized number: rule, bound, age.",
    epilog="\b\nExamples:\n  isthmus federation explain-summary --at milan\n"
    "  isthmus federation explain-summary cpu_milli_free --at global --json",
)
@click.argument("what", metavar="[KEY|FIELD]", default="")
@on_api
def explain_summary(session: Session, what: str) -> None:
    """Each summarized number: rule, inputs, bound, dead band, age, when it was last sent and why."""
    fields = [one.field for one in SUMMARIES]
    site, field = _asked(what, fields)
    document = session.run(lambda client: client.get("/v1/sites"))
    rows = [row for row in document["sites"] if site in ("", row["site"])]
    if not rows:
        known = ", ".join(str(row["site"]) for row in document["sites"]) or "none"
        raise Missing(f"no summary of {visible(site)} here (sites: {known})")
    now_s = time.time()
    found = [one for row in rows for one in _explained(row, field, now_s)]
    if session.as_json:
        show.print_json({"summaries": found})
        return
    for one in found:
        click.echo(_line(one))


def _asked(what: str, fields: list[str]) -> tuple[str, str]:
    """Site and field that the argument names (empty: all of them)."""
    relative = what.removeprefix("/isthmus/v1/")
    parts = relative.split("/")
    if relative in ("", KEY):
        return "", ""
    if relative in fields:
        return "", relative
    if len(parts) == 4 and parts[0] == "remote" and "/".join(parts[2:]) == KEY:
        return parts[1], ""
    raise click.UsageError(
        f"{visible(what)!r} is no summary; keys: {KEY}, remote/SITE/{KEY}; fields: {', '.join(fields)}"
    )


def _explained(row: Mapping[str, Any], field: str, now_s: float) -> Iterator[dict[str, Any]]:
    summary = row.get("summary")
    for one in SUMMARIES:
        if field not in ("", one.field):
            continue
        base = {"site": row["site"], "key": KEY, "field": one.field, "unit": one.unit}
        if summary is None:
            yield {
                **base,
                "state": "unknown",
                "reason": row.get("reason") or "no summary is believed",
            }
            continue
        raw = (summary.get("told") or {}).get(one.field)
        yield {**base, **_told(one, summary.get(one.field), raw, now_s)}


def _told(one: Summarized, value: Any, raw: Any, now_s: float) -> dict[str, Any]:
    rule = one.rule
    stated = {
        "value": value,
        "rule": rule.kind.value,
        "inputs": [family.name for family in one.sources],
        "member": one.of,
        "dead_band": rule.dead_band,
        "dead_band_share": rule.dead_band_share,
        "max_age_s": rule.max_age_s,
    }
    try:
        told = Told.model_validate(raw)
    except ValueError:
        if one.field in LATER and not value:
            return {
                **stated,
                "state": "unknown",
                "reason": "its site does not tell it (an older release)",
            }
        return {**stated, "state": "exact", "reason": "its site tells no bounds (an older release)"}
    return {
        **stated,
        "state": "stale" if told.stale(now_s) else "told",
        "members": told.members,
        "bound": told.bound,
        "band": told.band,
        "age_s": max(0.0, now_s - told.as_of),
        "sent_at": told.as_of,
        "why": told.why,
        "reason": WHY[told.why],
    }


def _line(one: Mapping[str, Any]) -> str:
    head = f"{one['site']} {one['field']}"
    if one["state"] == "unknown":
        return f"{head}: unknown: {one['reason']}"
    unit = f" {one['unit']}" if one["unit"] else ""
    value = _value(one)
    inputs = ", ".join(one["inputs"]) or "the operator"
    share = f"{one['dead_band_share']:.0%}" if one["dead_band_share"] else f"{one['dead_band']:g}"
    rule = f"{one['rule']} of {one['member']} (from {inputs}); dead band {share}"
    if one["state"] == "exact":
        return f"{head} = {value}{unit}: {rule}; {one['reason']}"
    stale = ", STALE" if one["state"] == "stale" else ""
    return (
        f"{head} = {value}{unit} +- {one['bound']:g}: {rule} (now {one['band']:g}), "
        f"at least every {one['max_age_s']:g} s; of {one['members']} members; "
        f"sent {one['age_s']:.0f} s ago because {one['reason']}{stale}"
    )


def _value(one: Mapping[str, Any]) -> str:
    """A number, the bins that somebody is in, or the worst few."""
    if one["rule"] == Kind.HISTOGRAM:
        return show.slots(one["value"]) or "none"
    if one["rule"] == Kind.TOP_K:
        return "; ".join(show.alarm(one) for one in one["value"]) or "none"
    return str(one["value"])
