"""G7: a slow or dead peer costs at most B, and the others do not notice.

A sample is a moment at which something waited for a peer, or a peer was slow: an idle link says nothing about a
bound. Latency of healthy peers while somebody is slow is held against their latency while nobody is.
"""

from __future__ import annotations

from collections.abc import Sequence

from isthmus.chaos.history.record import Record
from isthmus.chaos.history.verdict import Offence, Promise, Verdict, conclude, of_kind, quantile

MIB = 1024 * 1024
STEADY_BYTES = 2 * MIB
WORST_BYTES = 8 * MIB
SLOWER = 1.5
RESOLUTION_S = 0.01
ENOUGH = 20
PROMISE = Promise(
    "G7",
    "a slow or dead peer costs at most B and is coalesced, then cut",
    "2 MiB a peer in steady state, B <= 8 MiB at worst; healthy p99 <= 1.5 x",
    "`memory` records",
)


def judge(history: Sequence[Record]) -> Verdict:
    """See the module."""
    offences: list[Offence] = []
    samples = 0
    highest = 0
    slow: set[str] = set()
    calm: list[float] = []
    meanwhile: list[Record] = []
    for record in of_kind(history, "memory"):
        offences += _bounds(record)
        highest = max(highest, record.whole("pending_bytes"), record.whole("rss_bytes"))
        samples += record.flag("slow") or record.whole("pending_bytes") > 0
        peer = record.text("peer")
        (slow.add if record.flag("slow") else slow.discard)(peer)
        if record.has("latency_s") and peer not in slow:
            if slow:
                meanwhile.append(record)
            else:
                calm.append(record.number("latency_s"))
    ratio, more, notes = _healthy(calm, meanwhile)
    offences += more
    figure = f"at most {highest / MIB:.2f} MiB, healthy p99 {ratio:.2f} x"
    return conclude(PROMISE, samples, offences, figure, notes)


def _bounds(record: Record) -> list[Offence]:
    pending, bound = record.whole("pending_bytes"), record.whole("bound_bytes")
    found = []
    if bound > WORST_BYTES:
        found.append(Offence(f"the bound in force is {bound} bytes, over 8 MiB", record))
    if pending > bound:
        found.append(Offence(f"{pending} bytes wait, over the bound of {bound}", record))
    elif not record.flag("slow") and pending > STEADY_BYTES:
        found.append(Offence(f"{pending} bytes wait for a peer that is not slow", record))
    if record.whole("rss_bytes") > WORST_BYTES:
        found.append(Offence(f"it costs {record.whole('rss_bytes')} resident bytes", record))
    return found


def _healthy(
    calm: Sequence[float], meanwhile: Sequence[Record]
) -> tuple[float, list[Offence], list[str]]:
    if len(calm) < ENOUGH or len(meanwhile) < ENOUGH:
        have = f"{len(meanwhile)} while a peer was slow, {len(calm)} before"
        return 0.0, [], [f"healthy peers: too few latencies ({have}; {ENOUGH} needed)"]
    before_s = quantile(calm, 0.99)
    now_s = quantile([record.number("latency_s") for record in meanwhile], 0.99)
    ratio = now_s / max(before_s, RESOLUTION_S)
    if now_s <= SLOWER * before_s + RESOLUTION_S:
        return ratio, [], []
    text = f"healthy peers: p99 {now_s:.3f} s while one is slow, {before_s:.3f} s before"
    worst = max(meanwhile, key=lambda record: record.number("latency_s"))
    return ratio, [Offence(text, worst)], []
