"""G13: the same seed and commit give the same run, to the byte.

A sample is a second `trace` of the same (seed, commit, world); one alone has nothing to be compared with. To
compare two files, hand their records over together.
"""

from __future__ import annotations

from collections.abc import Sequence

from isthmus.chaos.history.record import Record
from isthmus.chaos.history.verdict import Offence, Promise, Verdict, conclude, of_kind

PROMISE = Promise(
    "G13",
    "same seed and commit, same run",
    "traces byte-equal",
    "`trace` records of the same seed, commit and world",
)


def judge(history: Sequence[Record]) -> Verdict:
    """See the module."""
    first: dict[tuple[int, str, str], Record] = {}
    offences: list[Offence] = []
    samples = 0
    for record in of_kind(history, "trace"):
        name = (record.whole("seed"), record.text("commit"), record.text("world"))
        before = first.setdefault(name, record)
        if before is record:
            continue
        samples += 1
        if before.text("sha256") != record.text("sha256"):
            text = f"seed {name[0]} ran differently: {before.text('sha256')[:12]} before"
            offences.append(Offence(text, record))
    return conclude(PROMISE, samples, offences, f"{len(offences)} of {samples} runs differ")
