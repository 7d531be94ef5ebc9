"""What a person and a machine are told about a judged history.

The JSON report names commit, seed, versions, fault timeline, samples, figure, bound and the command that reproduces
the run (GUARANTEES.md): with it alone somebody else can look at the same thing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from isthmus.chaos.history.record import Header, History, Record
from isthmus.chaos.history.verdict import Offence, Outcome, Verdict

SHOWN_FAULTS = 12
REPORT_SCHEMA = "isthmus.judgement/1"


def text_report(history: History, verdicts: Sequence[Verdict]) -> str:
    """For a person: head, faults, one paragraph a promise, the sum."""
    header = history.header
    lines = [
        f"{header.source}, world {header.world}, seed {header.seed}, commit {header.commit}, "
        f"{len(history.records)} records",
    ]
    if history.torn:
        lines.append("the last line was not finished by its writer, and is left out")
    lines += _faults(history.records)
    lines += [verdict.text for verdict in verdicts]
    lines.append(summary(verdicts))
    if any(verdict.failed for verdict in verdicts) and header.command:
        lines.append(f"reproduce: {header.command}")
    return "\n".join(lines)


def summary(verdicts: Sequence[Verdict]) -> str:
    """One line: how many of each."""
    counts = {outcome: sum(v.outcome is outcome for v in verdicts) for outcome in Outcome}
    return ", ".join(f"{count} {outcome.value}" for outcome, count in counts.items() if count)


def _faults(records: Sequence[Record]) -> list[str]:
    faults = [record for record in records if record.what == "fault"]
    lines = [f"  fault {_fault_text(record)}" for record in faults[:SHOWN_FAULTS]]
    if len(faults) > SHOWN_FAULTS:
        lines.append(f"  and {len(faults) - SHOWN_FAULTS} more")
    return lines


def _fault_text(record: Record) -> str:
    words = (record.text(name) for name in ("phase", "kind", "target", "detail"))
    return f"t={record.t:.3f} " + " ".join(word for word in words if word)


def json_report(history: History, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """For a machine."""
    return {
        "schema": REPORT_SCHEMA,
        **_head(history.header),
        "records": len(history.records),
        "torn": history.torn,
        "faults": [
            {"t": record.t, "c": record.c, **record.fields}
            for record in history.records
            if record.what == "fault"
        ],
        "promises": [_promise(verdict) for verdict in verdicts],
        "summary": summary(verdicts),
    }


def _head(header: Header) -> dict[str, Any]:
    return {
        "source": header.source,
        "world": header.world,
        "seed": header.seed,
        "commit": header.commit,
        "versions": header.versions,
        "reproduce": header.command,
    }


def _promise(verdict: Verdict) -> dict[str, Any]:
    return {
        "id": verdict.promise.id,
        "promise": verdict.promise.sentence,
        "outcome": verdict.outcome.value,
        "samples": verdict.samples,
        "figure": verdict.figure,
        "bound": verdict.promise.bound,
        "notes": list(verdict.notes),
        "offences": [_offence(offence) for offence in verdict.offences],
    }


def _offence(offence: Offence) -> dict[str, Any]:
    record = offence.record
    if record is None:
        return {"what": offence.what}
    found = {"n": record.n, "t": record.t, "c": record.c, "who": record.who, "what": record.what}
    return {"what": offence.what, "record": {**found, **record.fields}}
