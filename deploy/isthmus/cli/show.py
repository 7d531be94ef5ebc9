"""What people see: aligned tables, escaped values, colour only on a terminal (GUARANTEES attack 20).

Every value comes from a store that others write to. So each is escaped before it is printed: no name, reason or event
can move a cursor, hide a line or colour itself healthy.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from isthmus.contract.alarms import Alarm, kind_of, sentence
from isthmus.contract.families import SITE_SUMMARY
from isthmus.contract.summaries import FREE_SLOTS, floors, rules_of
from isthmus.identity.text import visible

MAX_TEXT = 2_000
_COLOURS = {
    "running": "green",
    "alive": "green",
    "up": "green",
    "ok": "green",
    "accepted": "green",
    "pending": "yellow",
    "degraded": "yellow",
    "silent": "yellow",
    "cut-off": "yellow",
    "dead": "red",
    "warning": "yellow",
    "held": "yellow",
    "holding": "yellow",
    "unknown": "magenta",
    "refused": "red",
    "error": "red",
    "alarm": "red",
}


def safe(value: object, limit: int = MAX_TEXT) -> str:
    """Any value as one line of printable ASCII; nothing is a dash."""
    if value is None or value == "" or value == [] or value == ():
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ",".join(safe(item, limit) for item in value)
    if isinstance(value, float):
        return f"{value:g}"
    return visible(str(value), limit)


def colourful() -> bool:
    """Is somebody looking who likes colours?"""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns as wide as they must be; the last one is never padded."""
    cells = [[safe(value, 120) for value in row] for row in rows]
    widths = [
        max([len(name), *(len(row[index]) for row in cells)]) for index, name in enumerate(columns)
    ]
    lines = [_line(columns, widths)]
    lines += [_line(row, widths, colour=colourful()) for row in cells]
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int], *, colour: bool = False) -> str:
    padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
    padded[-1] = cells[-1]
    if colour:
        padded = [
            click.style(text, fg=_COLOURS[cell]) if cell in _COLOURS else text
            for cell, text in zip(cells, padded, strict=True)
        ]
    return "  ".join(padded).rstrip()


def age(seconds: object) -> str:
    """How long ago, in the largest unit that still says something."""
    if not isinstance(seconds, int | float):
        return "-"
    if seconds < 120:
        return f"{seconds:.0f}s"
    if seconds < 7_200:
        return f"{seconds / 60:.0f}m"
    return f"{seconds / 3_600:.0f}h" if seconds < 172_800 else f"{seconds / 86_400:.0f}d"


def moment(seconds: object) -> str:
    """A time of day as UTC."""
    if not isinstance(seconds, int | float) or not 0 <= seconds < 253_402_300_800:
        return "-"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def milliseconds(value: object) -> str:
    """A latency."""
    return f"{value:.1f}" if isinstance(value, int | float) else "-"


def print_json(document: object) -> None:
    """The API's own document; JSON escapes what a terminal must not see."""
    click.echo(json.dumps(document, indent=2, sort_keys=True))


def fields(pairs: Sequence[tuple[str, object]], indent: str = "") -> str:
    """``name: value`` lines, aligned."""
    width = max(len(name) for name, _ in pairs) + 1
    return "\n".join(f"{indent}{f'{name}:':<{width}} {safe(value)}" for name, value in pairs)


def chain_rows(chains: Sequence[Mapping[str, Any]], *, wide: bool) -> str:
    """The table of ``isthmus get``."""
    columns = ["CHAIN", "PHASE", "FUNCTIONS", "HOPS", "LATENCY/BUDGET", "REASON"]
    if wide:
        columns[-1:] = ["SOURCE", "GENERATION", "AGE", "PATH", "REASON"]
    rows = []
    for chain in chains:
        row: list[object] = [
            f"{chain['tenant']}/{chain['chain']}",
            chain["phase"],
            chain["functions"],
            f"{chain['connected_hops']}/{chain['hops']}",
            f"{milliseconds(chain['model_latency_ms'])}/"
            f"{milliseconds(chain['latency_budget_ms'])} ms",
        ]
        if wide:
            row += [chain["source"], chain["generation"], age(chain["age_s"])]
            row.append(path(chain))
        rows.append([*row, reason(chain)])
    return table(columns, rows)


def path(chain: Mapping[str, Any]) -> str:
    """Where the packets go, or that this is not known."""
    steps = " -> ".join(str(step) for step in chain["path"])
    return steps or ("unknown" if chain["phase"] == "unknown" else "")


def reason(chain: Mapping[str, Any]) -> str:
    """Why a chain is as it is; a refused change of a running chain is told, too."""
    if chain["decision"] == "refused" and chain["phase"] != "refused":
        return f"the newest request was refused; {chain['reason']}".rstrip("; ")
    return str(chain["reason"])


def site_rows(sites: Sequence[Mapping[str, Any]], *, wide: bool) -> str:
    """The table of ``isthmus sites``; below it the hosts where there are any."""
    columns = ["SITE", "STATE", "HEARD", "CPU FREE/TOTAL", "MEMORY FREE/TOTAL", "CHAINS", "REASON"]
    if wide:
        columns[-1:] = [
            "FREE SLOTS",
            "HOTTEST",
            "COUNTRY",
            "OWNER",
            "ATTACHMENTS",
            "FUNCTIONS",
            "REASON",
        ]
    rows = []
    hosts = []
    for site in sites:
        summary, spec = site.get("summary") or {}, site.get("spec") or {}
        row: list[object] = [site["site"], site["state"], age(site["age_s"])]
        row += [
            _pair(summary, "cpu_milli", "m"),
            _pair(summary, "memory_mib", " MiB"),
            summary.get("chains"),
        ]
        if wide:
            attachments = summary.get("attachments") or spec.get("attachments")
            hottest = summary.get("hottest_host_permille") if summary.get("told") else None
            row += [
                slots(summary.get("free_cpu_slots")),
                None if hottest is None else f"{hottest / 10:g}%",
            ]
            row += [spec.get("country"), spec.get("owner"), attachments]
            row.append(summary.get("function_types"))
        rows.append([*row, site["reason"]])
        hosts += [_host_row(host) for host in site.get("hosts", ())]
    text = table(columns, rows)
    if hosts:
        names = ("HOST", "STATE", "HEARD", "CPU", "MEMORY", "DATA PLANE", "FENCE", "ATTACHMENTS")
        text += "\n\n" + table(names, hosts)
    raised = [
        [site["site"], one["severity"], moment(one["since"]), alarm(one)]
        for site in sites
        for one in (site.get("summary") or {}).get("alarms", ())
    ]
    if raised:
        text += "\n\n" + table(("SITE", "SEVERITY", "SINCE", "ALARM"), raised)
    return text


def slots(bins: Sequence[int] | None) -> str:
    """How many hosts have at least how many milli-cores free, the largest first."""
    least = floors(rules_of(SITE_SUMMARY)[FREE_SLOTS].rule)
    pairs = [(low, count) for low, count in zip(least, bins or (), strict=False) if count]
    return ", ".join(f"{count} of {low}m" for low, count in reversed(pairs))


def alarm(one: Mapping[str, Any]) -> str:
    """In the contract's words; one of a newer release by its name."""
    try:
        read = Alarm.model_validate(one)
    except ValueError:
        return "an alarm that cannot be read"
    kind = kind_of(read.name)
    place = read.name.removesuffix(kind).rstrip(".") if kind else ""
    return f"site {place} of it: {sentence(read)}" if place else sentence(read)


def _pair(summary: Mapping[str, Any], name: str, unit: str) -> str:
    if f"{name}_free" not in summary:
        return "-"
    return f"{summary[f'{name}_free']}/{summary[f'{name}_total']}{unit}"


def _host_row(host: Mapping[str, Any]) -> list[object]:
    return [
        host["host"],
        host["state"],
        age(host["age_s"]),
        f"{host['cpu_milli']}m",
        f"{host['memory_mib']} MiB",
        host["dataplane"],
        host["fence"],
        host["attachments"],
    ]


def event_line(event: Mapping[str, Any]) -> str:
    """One line of ``isthmus events``."""
    parts = [moment(event["time"]), f"{safe(event['severity']):<7}", safe(event["component"])]
    parts += [safe(event["kind"]), safe(event["subject"]), safe(event["message"])]
    return "  ".join(parts)
