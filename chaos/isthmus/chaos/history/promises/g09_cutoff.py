"""G9: a peer that is revoked or has expired is cut within 5 s of the policy being locally known.

A sample is a `policy` record (revoked, expired) of a peer that had frames crossing, in a history that goes on for
longer than the bound. Where a judge would lie: a peer that was not there proves nothing; a history that ends early
proves nothing; who is admitted again may speak again; and times are compared on one clock only.
"""

from __future__ import annotations

from collections.abc import Sequence

from isthmus.chaos.history.record import Record
from isthmus.chaos.history.verdict import Offence, Promise, Verdict, conclude, of_kind

PROMISE = Promise(
    "G9",
    "a revoked or expired peer is cut, its cached data quarantined",
    "last frame <= 5 s after the policy is locally known",
    "`policy` records (revoked, expired) against the last `frame` of that peer",
)
BOUND_S = 5.0
ENDS, RETURNS = ("revoked", "expired"), ("admitted", "rotated")


def judge(history: Sequence[Record]) -> Verdict:
    """See the module."""
    offences: list[Offence] = []
    notes: list[str] = []
    took_s: list[float] = []
    last = {record.c: record.t for record in history}
    for index, record in enumerate(history):
        if record.what != "policy" or record.text("phase") not in ENDS:
            continue
        peer = record.text("peer")
        if not any(one.text("peer") == peer for one in of_kind(history[:index], "frame")):
            notes.append(f"{peer} was not connected when it was {record.text('phase')}")
            continue
        until_s = _returned_s(history[index + 1 :], record)
        frames = [
            one
            for one in of_kind(history, "frame")
            if one.text("peer") == peer and one.c == record.c and record.t <= one.t < until_s
        ]
        late = [one for one in frames if one.t > record.t + BOUND_S]
        if late:
            offences.append(Offence(f"{peer}: {late[-1].t - record.t:.1f} s later", late[-1]))
        elif min(until_s, last[record.c]) <= record.t + BOUND_S:
            notes.append(f"{peer}: the history ends, or it came back, before the time was up")
        else:
            took_s.append(max((one.t - record.t for one in frames), default=0.0))
    figure = f"cut after {max(took_s, default=0.0):.2f} s at most"
    return conclude(PROMISE, len(took_s) + len(offences), offences, figure, notes)


def _returned_s(later: Sequence[Record], end: Record) -> float:
    """When the peer had its right again; infinity when it never had."""
    return next(
        (
            record.t
            for record in later
            if record.what == "policy"
            and record.c == end.c
            and record.text("peer") == end.text("peer")
            and record.text("phase") in RETURNS
        ),
        float("inf"),
    )
