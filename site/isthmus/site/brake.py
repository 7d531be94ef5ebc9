"""The brake, pure: how many of a peer's chains would end at once, and how many may (GUARANTEES attack 19).

A tier above that is broken, or was restored from an empty backup, wants everything deleted in one breath. A site that
works must not follow at once: more than a share of a peer's chains goes only on the word of an operator of the site.
"""

from __future__ import annotations

from isthmus.contract.chain import Confirmation, Segment, SegmentIntent
from isthmus.contract.families import CONFIRMATIONS, EXPLAIN, REMOTE, SPECS
from isthmus.contract.peering import BRAKE, Delegation, Load, circuits, unlisted
from isthmus.contract.peering import load as weigh
from isthmus.microcontroller import State
from isthmus.site.chains import chain_item

__all__ = [
    "CONSTRAINT", "Load", "circuits", "concerned", "confirmed", "holds", "load", "load_of_unlisted",
]  # fmt: skip

CONSTRAINT = BRAKE


def load(state: State, peer: str, share: float, floor: int) -> Load:
    """What ``peer`` wants now, against ``share`` of its chains and at least ``floor``."""
    carried = _carried(state, peer)
    prefix = f"{REMOTE.key(peer=peer)}intents/"
    wished = {key.removeprefix(prefix) for key in state.keys(prefix)}
    asked = (state.body(prefix + name, SegmentIntent) for name in sorted(wished - carried.keys()))
    new = [intent.segment for intent in asked if intent is not None]
    return weigh(Delegation(peer, (), share, floor), carried, wished, new)


def load_of_unlisted(state: State, peer: str) -> Load:
    """All of a peer that left the settings: nobody asked for its end."""
    return unlisted(peer, len(_carried(state, peer)))


def _carried(state: State, peer: str) -> dict[str, Segment]:
    return {
        f"{known.variables['tenant']}/{known.variables['chain']}": known.envelope.body.segment
        for known in state.items(SPECS)
        if known.envelope.body.source == peer
    }


def concerned(state: State, peer: str) -> list[str]:
    """The items of all that ``peer`` asks for or has: what its mark concerns (G9)."""
    prefix = f"{REMOTE.key(peer=peer)}intents/"
    asked = {key.removeprefix(prefix) for key in state.keys(prefix)}
    return [
        chain_item(*name.split("/", 1)) for name in sorted(asked | _carried(state, peer).keys())
    ]


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
