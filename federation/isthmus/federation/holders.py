"""Which gateway of a tier has the link of a peer, told in the tier's own store (issue 7: gateways behind one name).

Gateways of one tier share the store and nothing else. Which link may *write* is said by ``meta.session`` and needs
none of this; but a gateway that judged a peer absent while it is linked next door would mark good data as quarantined,
by an agreement or a list that is older than its neighbour's, and an operator would read "absent". So who has the link
says so in ``meta.gateway`` beside it, under a lease: the word of a gateway that died goes away with it.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass

from isthmus.contract.envelope import Body, Stamp, seal, unseal
from isthmus.contract.errors import ValueRefused
from isthmus.contract.scopes import import_root
from isthmus.federation.destination import HOLDER, SESSION
from isthmus.federation.seats import Seat
from isthmus.kv.errors import StoreError
from isthmus.kv.port import Compare, Delete, Get, KeyValueStore, Lease, Operation, Put, Target, Txn

log = logging.getLogger("isthmus.federation")
LEASE_S = 10
"""So long the word of a gateway outlives it, and no longer: what it had is judged by the others then."""


class LinkHolder(Body):
    """``gateway`` as operators call it, ``life`` of its process."""

    gateway: str
    life: str


@dataclass(frozen=True, slots=True)
class Held:
    """``gateway``: another one of this tier that says it has the link, empty when none does. ``session``: of the link
    that may write, empty when there never was one."""

    gateway: str = ""
    session: str = ""


class Holders:
    """One gateway's word, and what it reads of the others'. ``life`` is the random name of this process."""

    def __init__(
        self,
        store: KeyValueStore,
        life: str,
        *,
        stamp: Callable[[], Stamp],
        utc_s: Callable[[], float],
    ) -> None:
        self._store = store
        self._life = life
        self.gateway = ""
        """What operators call it; known once it listens."""
        self._stamp = stamp
        self._utc_s = utc_s
        self._lease: Lease | None = None

    async def lease_id(self) -> int:
        """Of the lease that our words hang on: another number means that those of before are gone. 0: none yet."""
        if self._lease is None or self._lease.lost:
            self._lease = None
            try:
                self._lease = await self._store.grant_lease(LEASE_S, timeout_s=1.0)
            except StoreError as error:
                log.warning("no lease for %s: %s", self.gateway, error)
                return 0
        return self._lease.lease_id

    async def share(self, peer: str, seat: Seat, lease_id: int) -> None:
        """Say that we have the link, once for each link and lease; or that we have it no more. Only while the link is
        the one that may write: a newer one's word stays."""
        session = seat.session
        if seat.link is None:
            await self._if_ours(peer, session, Delete(_key(peer)))
            seat.told = 0
        elif lease_id and seat.told != lease_id:
            value = seal(
                LinkHolder(gateway=self.gateway, life=self._life),
                self._stamp(),
                as_of=self._utc_s(),
            )
            told = await self._if_ours(peer, session, Put(_key(peer), value, lease_id))
            if told and seat.session == session:
                seat.told = lease_id

    async def look(self, peer: str) -> Held:
        """Who has the link, by what stands in the store."""
        root = import_root(peer)
        found = await self._store.txn(Txn((), (Get(root + HOLDER), Get(root + SESSION))))
        holder, session = found.gets
        word = None
        if holder is not None:
            try:
                word = unseal(holder.value, LinkHolder).body
            except ValueRefused:
                word = LinkHolder(gateway="unreadable", life="")
        return Held(
            gateway="" if word is None or word.life == self._life else word.gateway,
            session="" if session is None else session.value.decode(errors="replace"),
        )

    async def close(self) -> None:
        """All our words at once."""
        lease, self._lease = self._lease, None
        if lease is not None:
            with contextlib.suppress(StoreError):
                await lease.revoke(timeout_s=1.0)

    async def _if_ours(self, peer: str, session: str, operation: Operation) -> bool:
        ours = Compare(import_root(peer) + SESSION, Target.VALUE, session.encode())
        return (await self._store.txn(Txn((ours,), (operation,)))).succeeded


def _key(peer: str) -> str:
    return import_root(peer) + HOLDER
