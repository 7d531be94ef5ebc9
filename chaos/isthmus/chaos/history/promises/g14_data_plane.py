"""G14: healing, upgrade, scale-out and re-placement of a VNF keep traffic.

By phase: while something heals the longest gap counts, in a planned change (make before break) every packet, in the
baseline every packet, too: a probe that loses without a fault cannot judge one. What is lost during a fault itself
is the fault's. A series that sent nothing is no sample, and one of which nothing came back has no gap to be proud
of.
"""

from __future__ import annotations

from collections.abc import Sequence

from isthmus.chaos.history.record import Record
from isthmus.chaos.history.verdict import Offence, Promise, Verdict, conclude, of_kind

PROMISE = Promise(
    "G14",
    "healing, upgrade, scale-out and re-placement of a VNF keep traffic",
    "heal <= 500 ms; make-before-break: 0 lost",
    "`probe` records by phase",
)
HEAL_MS = 500.0


def judge(history: Sequence[Record]) -> Verdict:
    """See the module."""
    offences: list[Offence] = []
    samples = 0
    longest_ms, lost = 0.0, 0
    for record in of_kind(history, "probe"):
        phase = record.text("phase")
        if not record.whole("sent") or phase == "fault":
            continue
        if phase == "heal":
            samples += 1
            longest_ms = max(longest_ms, record.number("longest_gap_ms"))
        elif phase == "planned":
            samples += 1
            lost += record.whole("lost")
        fault = _fault(record, phase)
        if fault:
            offences.append(Offence(fault, record))
    figure = f"longest gap while healing {longest_ms:.0f} ms, {lost} lost in planned changes"
    return conclude(PROMISE, samples, offences, figure)


def _fault(record: Record, phase: str) -> str:
    sent, lost = record.whole("sent"), record.whole("lost")
    if not 0 <= lost <= sent:
        return f"the probe is wrong: {lost} of {sent} lost"
    if phase == "baseline":
        return f"{lost} lost without any fault" if lost else ""
    if phase == "planned":
        return f"{lost} of {sent} lost in a planned change" if lost else ""
    if lost == sent:
        return f"none of {sent} packets came through"
    gap_ms = record.number("longest_gap_ms")
    return f"a gap of {gap_ms:.0f} ms while healing" if gap_ms > HEAL_MS else ""
