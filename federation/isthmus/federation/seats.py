"""What a gateway keeps of each peer, how a newer call takes an older one's place, and what a refused call hears."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import grpc

from isthmus.federation.errors import CutOff, FederationError, PeerRefused, ProtocolViolation
from isthmus.federation.filters import DenialLog
from isthmus.federation.link import Link
from isthmus.federation.status import LinkStatus
from isthmus.kv.errors import StoreError


@dataclass(slots=True)
class Seat:
    """What one peer has here: its running link, if any, and what its earlier ones left to tell."""

    task: asyncio.Task[Any] | None = None
    link: Link | None = None
    last: LinkStatus | None = None
    connects: int = 0
    marking: asyncio.Task[None] | None = None
    owed: str = ""
    """Why what we hold of it is to be marked: tried every second until the store has taken the mark."""
    marked: str = ""
    """Why what we hold of it is marked, as our store has acknowledged."""
    denials: DenialLog = field(default_factory=DenialLog)
    session: str = ""
    """Of the newest link here: what the store shows while no other gateway took the peer over."""
    told: int = 0
    """The lease under which the store says that we have it; 0: it does not say so."""
    judged: str | None = None
    """The session that ``owed`` and ``marked`` are about; a newer link has taken such a mark away. None: any."""
    looks: int = 0
    """How often that session was looked at while the peer was not here."""

    def begin(self, task: asyncio.Task[Any], link: Link, session: str) -> None:
        """A new link is here."""
        self.task, self.link, self.session = task, link, session
        self.owed, self.marked, self.judged, self.told, self.looks = "", "", None, 0, 0

    def saw(self, session: str) -> None:
        """The store shows ``session``: if it is another one than we judged, that judgement is over."""
        if self.judged not in (None, session):
            self.owed, self.marked, self.looks = "", "", 0
        self.judged = session
        self.looks += 1


async def vacate(seat: Seat) -> None:
    """End the peer's older link before the newer one starts; a mark under way lands first, to be taken away by it."""
    while (task := under_way(seat)) is not None:  # another newcomer may have been faster
        if task is seat.task:
            task.cancel()
        await asyncio.wait([task])


def under_way(seat: Seat) -> asyncio.Task[Any] | None:
    tasks = (seat.task, seat.marking)
    return next((task for task in tasks if task is not None and not task.done()), None)


def answer(error: FederationError | StoreError) -> tuple[grpc.StatusCode, str]:
    """The call's status; details stay here, since the peer may not be a friend."""
    if isinstance(error, StoreError):
        return grpc.StatusCode.UNAVAILABLE, "store"
    if isinstance(error, CutOff):
        return grpc.StatusCode.UNAUTHENTICATED, error.code
    if isinstance(error, PeerRefused):
        return grpc.StatusCode.PERMISSION_DENIED, error.code
    if isinstance(error, ProtocolViolation):
        denied = error.code == "denials"
        return (
            grpc.StatusCode.PERMISSION_DENIED if denied else grpc.StatusCode.INVALID_ARGUMENT,
            error.code,
        )
    return grpc.StatusCode.UNAVAILABLE, error.code
