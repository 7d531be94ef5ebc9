"""The brake, pure: how many of a peer's chains would end at once, and how many may (GUARANTEES attack 19).

A tier above that is broken, or was restored from an empty backup, wants everything deleted in one breath. A site that
works must not follow at once: more than a share of a peer's chains goes only on the word of an operator of the site.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from isthmus.contract.chain import ChainRecord, Confirmation, Explanation, Segment, SegmentIntent
from isthmus.contract.families import CONFIRMATIONS, EXPLAIN, REMOTE, SPECS
from isthmus.microcontroller import State

CONSTRAINT = "brake"


@dataclass(frozen=True, slots=True)
class Load:
    """``peer`` wants ``ending`` of its ``chains`` deleted; up to ``limit`` go without asking."""

    peer: str
    ending: int
    chains: int
    limit: int

    @property
    def over(self) -> bool:
        """Too many at once?"""
        return self.ending > self.limit

    def __str__(self) -> str:
        return (
            f"brake: {self.peer} wants {self.ending} of its {self.chains} chains deleted at once, "
            f"the limit is {self.limit}; confirm at the site: 'isthmus brake confirm {self.peer}'"
        )

    def explanation(self) -> Explanation:
        """For each held chain. The reason has no numbers: its tenant reads it, and others' chains are not told."""
        return Explanation(
            decision="held",
            source=self.peer,
            constraint=CONSTRAINT,
            reason=f"{self.peer} wants it deleted together with many others; it goes on until the "
            "peer thinks again, or an operator of the site confirms",
            figures={
                "chains_ending": float(self.ending),
                "chains": float(self.chains),
                "limit": float(self.limit),
            },
        )


def load(state: State, peer: str, share: float, floor: int) -> Load:
    """What ``peer`` wants now, against ``share`` of its chains and at least ``floor``."""
    records = [
        known.envelope.body for known in state.items(SPECS) if known.envelope.body.source == peer
    ]
    prefix = f"{REMOTE.key(peer=peer)}intents/"
    wished = {key.removeprefix(prefix) for key in state.keys(prefix)}
    taken_over = _taken_over(state, prefix, records, wished)
    ending = [
        body
        for body in records
        if f"{body.segment.tenant}/{body.segment.chain}" not in wished
        and not taken_over.issuperset(circuits(body.segment) or ("",))
    ]
    return Load(peer, len(ending), len(records), max(floor, int(len(records) * share)))


def confirmed(state: State, peer: str, now: float) -> bool:
    """Did an operator let the brake go for ``peer``?"""
    word = state.envelope(CONFIRMATIONS.key(peer=peer), Confirmation)
    return Confirmation.until_utc_s(word, now) is not None


def holds(state: State, component: str, peer: str) -> bool:
    """Is a chain of ``peer`` held already? Then it was told; a restart tells it no second time."""
    return any(
        known.envelope.body.decision == "held" and known.envelope.body.source == peer
        for known in state.items(EXPLAIN, component=component)
    )


def circuits(segment: Segment) -> list[str]:
    """The attachments a segment ends at."""
    return [end.name for end in (segment.left, segment.right) if end.kind == "attachment"]


def _taken_over(
    state: State, prefix: str, records: Iterable[ChainRecord], wished: Iterable[str]
) -> set[str]:
    """The circuits that new wishes of the peer ask for. Who was cut off while customers came and went gets
    all of it at once: a chain whose circuits go to a successor is replaced, not lost, and must make room."""
    known = {f"{body.segment.tenant}/{body.segment.chain}" for body in records}
    taken: set[str] = set()
    for name in set(wished) - known:
        intent = state.body(prefix + name, SegmentIntent)
        if intent is not None:
            taken.update(circuits(intent.segment))
    return taken
