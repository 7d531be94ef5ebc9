"""The mark on what is held of a peer that lost its right to the link, and how every reader asks for it (G9).

The end of a link that cuts its peer (revoked, expired, agreement over) writes it beside what the peer told, and the
next good link takes it away. A marked fact is treated exactly like an old one (G12): what stands stays, nothing new
builds on it, and whoever is asked says so. One way to ask, so that no reader has a rule of its own.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from isthmus.contract.envelope import Body
from isthmus.contract.families import REMOTE
from isthmus.contract.scopes import import_root

B = TypeVar("B", bound=Body)
QUARANTINE = "meta.quarantine"
CONSTRAINT = "quarantined"
"""In an explanation: the peer's link decided, not what it asks for."""


class Quarantine(Body):
    """The peer lost its right to the link: what is held of it is not to be relied on."""

    reason: str


class Facts(Protocol):
    """The part of a controller's view of its store that is read here."""

    def entry(self, key: str) -> object | None: ...

    def body(self, key: str, model: type[B]) -> B | None: ...


def mark_key(peer: str) -> str:
    """Where the mark on what is held of ``peer`` stands."""
    return import_root(peer) + QUARANTINE


def marked_peer(key: str) -> str | None:
    """Whose mark ``key`` is; None for every other key. It concerns all that is held of that peer."""
    remote = REMOTE.parse(key)
    return remote["peer"] if remote is not None and remote["rest"] == QUARANTINE else None


def quarantined(facts: Facts, peer: str) -> str | None:
    """Why nothing held of ``peer`` may be relied on, as ``quarantined: <reason>``; None: it may. A mark that cannot be
    read is one all the same: it fails closed."""
    key = mark_key(peer)
    if facts.entry(key) is None:
        return None
    mark = facts.body(key, Quarantine)
    return f"{CONSTRAINT}: {mark.reason if mark is not None else 'its mark cannot be read'}"
