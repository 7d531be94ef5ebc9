"""Promises whose judges come with what they judge: their place, and the fields that will be recorded for them.

A verdict of theirs counts as neither kept nor broken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from isthmus.chaos.history.record import Record
from isthmus.chaos.history.verdict import Outcome, Promise, Verdict


@dataclass(frozen=True, slots=True)
class NotJudged:
    """A judge that says so."""

    promise: Promise

    def __call__(self, history: Sequence[Record]) -> Verdict:
        return Verdict(self.promise, Outcome.NOT_JUDGED, 0)


G2 = NotJudged(
    Promise(
        "G2",
        "two sites never forward for one exclusive chain",
        "0 overlaps; takeover <= TTL + 2rTTL + 2S",
        "`lease` records: active intervals of one resource on a common clock; `packet`: tokens at the sink",
    )
)
G2_FENCING = NotJudged(
    Promise(
        "G2'",
        "the gate in the kernel is keyed by the epoch: an older epoch drops",
        "0 stale accepted",
        "`packet` records: once a token was seen at the sink, no lower one",
    )
)
G10 = NotJudged(
    Promise(
        "G10",
        "leaf, CA and bundle rotation drop no stream and lose no frame; an expired site can re-join",
        "0 gaps, 0 reconnects, 0 refusals",
        "`policy` records (rotated) against `frame` and `denial` of that peer",
    )
)
