"""The store a link exports from: pinned snapshots, watches, and the proof of its history (DESIGN section 6, attack 15).

An etcd restored from a backup has the same cluster id and a lower revision, and soon a higher one (measured): neither
tells. So the exporter keeps a random nonce in ``remote/<peer>/meta.nonce`` of its *own* store, renewed after changes by
compare-and-swap. A peer's token names the nonce it has seen; a store that cannot show it has another history.
Two exporters of one peer exclude each other in the same way: the older one's next renewal fails.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from isthmus.contract.envelope import Body, Stamp, seal, unseal
from isthmus.contract.errors import ValueRefused
from isthmus.contract.scopes import ExportRoot, import_root
from isthmus.federation import link_pb2 as pb
from isthmus.federation.errors import Superseded
from isthmus.kv.errors import Compacted, FutureRevision
from isthmus.kv.port import (
    Compare,
    Entry,
    Get,
    KeyValueStore,
    Put,
    Target,
    Txn,
    WatchBatch,
)

NONCE = "meta.nonce"


class HistoryProof(Body):
    """Of one unbroken history of this store, as exported to one peer."""

    link_incarnation: str
    nonce: str


class HistoryChanged(Exception):
    """The store no longer shows the nonce that we wrote: restored, or another exporter took over. Never leaves the
    package."""


class Source(Protocol):
    """What an exporter reads from."""

    @property
    def roots(self) -> tuple[ExportRoot, ...]:
        """What is exported, one lane each."""
        ...

    async def open(self, token: pb.Token | None) -> tuple[bool, pb.Token]:
        """Does ``token`` hold? And a fresh proof, whose revision is where the store stands: pin snapshots there."""
        ...

    async def renew(self) -> pb.Token:
        """A newer proof of the same history; raises HistoryChanged."""
        ...

    async def check(self) -> None:
        """After a lost connection to the store: is it still the same history? Raises HistoryChanged."""
        ...

    def saw(self, batch: WatchBatch) -> None:
        """A batch was delivered: what a check may remember."""
        ...

    def snapshot(self, lane: int, revision: int) -> AsyncIterator[Sequence[Entry]]:
        """Root number ``lane`` at exactly ``revision``, in chunks."""
        ...

    def watch(self, lane: int, start_revision: int) -> AsyncIterator[WatchBatch]:
        """Changes of root number ``lane``."""
        ...

    async def get(self, key: str) -> tuple[Entry | None, int]:
        """The newest state of one source key, and the revision of the store at which it was read."""
        ...


@dataclass(slots=True)
class _Written:
    revision: int
    value: bytes
    proof: HistoryProof


class PeerSource:
    """Of one peer. ``ids`` makes random identifiers, ``utc_s`` is the wall clock (for envelopes only)."""

    def __init__(
        self,
        store: KeyValueStore,
        roots: Sequence[ExportRoot],
        peer: str,
        *,
        stamp: Stamp,
        ids: Callable[[], str],
        utc_s: Callable[[], float],
    ) -> None:
        self._store = store
        self._key = import_root(peer) + NONCE
        self._stamp = stamp
        self._ids = ids
        self._utc_s = utc_s
        self._written: _Written | None = None
        self._roots = tuple(roots)

    @property
    def roots(self) -> tuple[ExportRoot, ...]:
        """What is exported, one lane each."""
        return self._roots

    async def open(self, token: pb.Token | None) -> tuple[bool, pb.Token]:
        """Does ``token`` hold? And a fresh proof, whose revision is where the store stands: pin snapshots there."""
        entry = await self._store.get(self._key)
        current = _proof(entry)
        holds = (
            token is not None
            and current is not None
            and entry is not None
            and token.incarnation == current.link_incarnation
            and await self._shown(token, entry, current)
        )
        incarnation = current.link_incarnation if holds and current is not None else self._ids()
        return holds, await self._write(incarnation, entry)

    async def renew(self) -> pb.Token:
        """A newer nonce of the same history; raises HistoryChanged."""
        written = self._written
        if written is None:
            raise HistoryChanged("no history was opened")
        entry = Entry(self._key, written.value, 0, written.revision, 0)
        return await self._write(written.proof.link_incarnation, entry)

    async def check(self) -> None:
        """After a lost connection to the store: is it still the same history? Raises HistoryChanged."""
        entry = await self._store.get(self._key)
        written = self._written
        if written is None or entry is None or entry.mod_revision != written.revision:
            raise self._lost_to(entry)
        if entry.value != written.value:
            raise HistoryChanged("the nonce is another one")

    def saw(self, batch: WatchBatch) -> None:
        """The nonce is witness enough."""

    def _lost_to(self, entry: Entry | None) -> HistoryChanged | Superseded:
        """Newer than ours: another exporter. Older: the store came back from a backup."""
        if entry is not None and self._written and entry.mod_revision > self._written.revision:
            return Superseded("another exporter of this peer renewed the nonce")
        return HistoryChanged("the nonce is not where it was written")

    async def snapshot(self, lane: int, revision: int) -> AsyncIterator[Sequence[Entry]]:
        """Root number ``lane`` at exactly ``revision``, in chunks."""
        source = self.roots[lane].source
        if source.endswith("/"):
            async for _, entries in self._store.stream_snapshot(source, revision=revision):
                yield entries
            return
        entry = await self._store.get(source, revision=revision)
        yield () if entry is None else (entry,)

    def watch(self, lane: int, start_revision: int) -> AsyncIterator[WatchBatch]:
        """Changes of root number ``lane``."""
        return self._store.watch(self.roots[lane].source, start_revision=start_revision)

    async def get(self, key: str) -> tuple[Entry | None, int]:
        """The newest state of one source key, and the revision of the store at which it was read."""
        return await read_with_revision(self._store, key)

    async def _shown(self, token: pb.Token, entry: Entry, current: HistoryProof) -> bool:
        if token.nonce_revision == entry.mod_revision:
            return token.nonce == current.nonce
        if token.nonce_revision <= 0 or token.nonce_revision > entry.mod_revision:
            return False
        try:
            old = await self._store.get(self._key, revision=token.nonce_revision)
        except (Compacted, FutureRevision):
            return False
        proof = _proof(old)
        return (
            old is not None
            and proof is not None
            and old.mod_revision == token.nonce_revision
            and proof.link_incarnation == token.incarnation
            and proof.nonce == token.nonce
        )

    async def _write(self, incarnation: str, before: Entry | None) -> pb.Token:
        proof = HistoryProof(link_incarnation=incarnation, nonce=self._ids())
        value = seal(proof, self._stamp, as_of=self._utc_s())
        expected = 0 if before is None else before.mod_revision
        compares = [Compare(self._key, Target.MOD_REVISION, expected)]
        if before is not None:
            compares.append(Compare(self._key, Target.VALUE, before.value))
        txn = Txn(tuple(compares), (Put(self._key, value),), (Get(self._key),))
        result = await self._store.txn(txn)
        if not result.succeeded:
            raise self._lost_to(result.gets[0])
        self._written = _Written(result.revision, value, proof)
        return pb.Token(
            incarnation=incarnation,
            revision=result.revision,
            nonce_revision=result.revision,
            nonce=proof.nonce,
        )


async def read_with_revision(store: KeyValueStore, key: str) -> tuple[Entry | None, int]:
    """One key, and where the store stood: a plain get of an absent key cannot tell since when it is gone."""
    result = await store.txn(Txn((), (Get(key),)))
    return result.gets[0], result.revision


def _proof(entry: Entry | None) -> HistoryProof | None:
    if entry is None:
        return None
    try:
        return unseal(entry.value, HistoryProof).body
    except ValueRefused:
        return None
