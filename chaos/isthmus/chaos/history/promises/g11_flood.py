"""G11: one partner cannot starve others: they converge as fast, within 1.5 x, while it floods.

A sample is what an honest peer got while another one flooded. Where a judge would lie: without as many figures from
before there is nothing to compare with, but who is starved gets few, and each of those counts; an honest peer that is
denied anything meanwhile is starved, however fast the rest of it crosses; and very short times are compared with the
resolution of the measurement added.
"""

from __future__ import annotations

from collections.abc import Sequence

from isthmus.chaos.history.record import Record
from isthmus.chaos.history.verdict import Offence, Promise, Verdict, conclude, of_kind, quantile

PROMISE = Promise(
    "G11",
    "one partner cannot starve others or fill the store",
    "others' G4 <= 1.5 x",
    "`share` records: honest peers while one floods, against before",
)
SLOWER = 1.5
RESOLUTION_S = 0.05
ENOUGH = 20


def judge(history: Sequence[Record]) -> Verdict:
    """See the module."""
    flooding: set[str] = set()
    calm: list[float] = []
    meanwhile: list[Record] = []
    offences: list[Offence] = []
    for record in of_kind(history, "share"):
        peer = record.text("peer")
        if record.flag("flooding"):
            flooding.add(peer)
            continue
        flooding.discard(peer)
        if not flooding:
            calm.append(record.number("converged_s"))
            continue
        meanwhile.append(record)
        if record.whole("denied"):
            offences.append(Offence("an honest peer is denied while another one floods", record))
    have = f"{len(meanwhile)} while one floods, {len(calm)} before"
    if len(calm) < ENOUGH or not meanwhile:
        return conclude(PROMISE, 0, offences, notes=[f"too few ({have}; {ENOUGH} needed)"])
    before_s = quantile(calm, 0.99)
    now_s = quantile([record.number("converged_s") for record in meanwhile], 0.99)
    if now_s > SLOWER * before_s + RESOLUTION_S:
        worst = max(meanwhile, key=lambda record: record.number("converged_s"))
        text = f"others: p99 {now_s:.3f} s while one floods, {before_s:.3f} s before"
        offences.append(Offence(text, worst))
    if len(meanwhile) < ENOUGH and not offences:
        return conclude(PROMISE, 0, offences, notes=[f"too few ({have}; {ENOUGH} needed)"])
    figure = f"others' p99 {now_s:.3f} s, {before_s:.3f} s before"
    return conclude(PROMISE, len(meanwhile), offences, figure)
