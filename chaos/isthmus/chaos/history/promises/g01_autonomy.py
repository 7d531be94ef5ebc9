"""G1: what a site does for its own chains does not notice a cut.

Judged by `local` records, during a cut against the same operation at the same site without one. A failure counts
whatever the baseline says; a slower tail counts when both sides have enough samples to have a p99 at all. Samples
during which something else hit the site (``other_fault``) say nothing about the cut and are left out, openly.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from isthmus.chaos.history.record import Record
from isthmus.chaos.history.verdict import Offence, Promise, Verdict, conclude, of_kind, quantile

PROMISE = Promise(
    "G1",
    "a cut-off site goes on placing, healing, scaling, forwarding for its own chains, with no call outside",
    "0 failed, 0 calls outside, p99 <= 1.2 x baseline",
    "`local` records during a cut, against those without",
)
SLOWER = 1.2
RESOLUTION_S = 1e-3
"""Two p99 that differ by less are one: the noise of the probe itself."""
ENOUGH = 20
"""With fewer samples the p99 is the one worst of them, and chance."""


def judge(history: Sequence[Record]) -> Verdict:
    """See the module."""
    cut: dict[tuple[str, str], list[Record]] = defaultdict(list)
    whole: dict[tuple[str, str], list[float]] = defaultdict(list)
    disturbed = 0
    for record in of_kind(history, "local"):
        name = (record.text("site"), record.text("op"))
        if record.flag("other_fault"):
            disturbed += 1
        elif record.flag("cut"):
            cut[name].append(record)
        elif record.flag("ok"):
            whole[name].append(record.number("took_s"))
    offences: list[Offence] = []
    notes = [f"{disturbed} left out: something else hit the site"] if disturbed else []
    worst = 0.0
    for name, records in sorted(cut.items()):
        offences += _failures(records)
        ratio, offence, note = _tail(name, records, whole[name])
        worst = max(worst, ratio)
        offences += offence
        notes += note
    samples = sum(map(len, cut.values()))
    failed = sum(not record.flag("ok") for records in cut.values() for record in records)
    figure = f"{failed} failed, worst p99 {worst:.2f} x baseline"
    return conclude(PROMISE, samples, offences, figure, notes)


def _failures(records: Sequence[Record]) -> list[Offence]:
    offences = []
    for record in records:
        if not record.flag("ok"):
            offences.append(Offence("failed while the site was cut off", record))
        if record.whole("outside_calls"):
            offences.append(Offence("needed somebody outside", record))
    return offences


def _tail(
    name: tuple[str, str], records: Sequence[Record], baseline: Sequence[float]
) -> tuple[float, list[Offence], list[str]]:
    """The p99 against the baseline's: ratio, offences, notes."""
    took = [record.number("took_s") for record in records if record.flag("ok")]
    label = "/".join(name)
    if len(took) < ENOUGH or len(baseline) < ENOUGH:
        have = f"{len(took)} cut, {len(baseline)} baseline"
        return 0.0, [], [f"{label}: too few samples for a p99 ({have}, {ENOUGH} needed)"]
    now_s, before_s = quantile(took, 0.99), quantile(baseline, 0.99)
    ratio = now_s / max(before_s, RESOLUTION_S)
    if now_s <= SLOWER * before_s + RESOLUTION_S:
        return ratio, [], []
    text = f"{label}: p99 {now_s * 1000:.1f} ms when cut off, {before_s * 1000:.1f} ms before"
    slowest = max(records, key=lambda record: record.number("took_s"))
    return ratio, [Offence(text, slowest)], []
