"""The store a link imports into: everything below ``remote/<peer>/`` and nothing else (DESIGN section 6).

Three keys of book-keeping stand beside the peer's: ``meta.session`` (which link may write; every write compares it, so
a link that was thought dead cannot write any more), ``meta.cursor`` (the resume token) and ``meta.synced`` (the whole
first snapshot is here: tells "empty" from "not yet"). A peer cannot name them: no scope covers ``meta.``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from pydantic import Field

from isthmus.contract.envelope import Body, Stamp, seal, unseal
from isthmus.contract.errors import ValueRefused
from isthmus.contract.quarantine import QUARANTINE, Quarantine
from isthmus.contract.scopes import import_root
from isthmus.federation import link_pb2 as pb
from isthmus.federation.digest import META, DigestMap
from isthmus.federation.errors import LinkLost, Superseded
from isthmus.federation.limits import LinkLimits
from isthmus.kv.port import Compare, Delete, KeyValueStore, Operation, Put, Target, Txn
from isthmus.policy.keys import check_key

SESSION, CURSOR, SYNCED = "meta.session", "meta.cursor", "meta.synced"
HOLDER = "meta.gateway"
"""Which gateway of a tier has the link (:mod:`isthmus.federation.holders`); who takes over takes it away."""
TXN_BYTES = 512 * 1024
"""Of keys and values in one write; etcd refuses requests over 1.5 MiB."""

WENT_BACK = "our own store went back in time: it is read again"
Write = tuple[str, bytes | None]


class LinkCursor(Body):
    """The resume token: where the importer stands in the peer's history."""

    link_incarnation: str
    revision: int
    nonce_revision: int
    nonce: str


class SyncedMarker(Body):
    """The whole set of the peer has been here since ``as_of``; ``revision`` is of the peer's store."""

    link_incarnation: str
    revision: int
    keys: int = Field(ge=0)


def synced_key(peer: str) -> str:
    """The marker's key; it exists once everything of ``peer`` was here."""
    return import_root(peer) + SYNCED


class Destination(Protocol):
    """Where an importer's writes go."""

    async def open(self) -> tuple[DigestMap, pb.Token | None, bool]:
        """What is there, the resume token, whether it was ever synced."""
        ...

    async def write(self, writes: Sequence[Write], *, parallel: bool) -> None:
        """Store ``writes`` (each key once), in order unless ``parallel``."""
        ...

    async def mark(self, cursor: pb.Token | None, *, synced: bool, keys: int) -> None:
        """Write down where we stand."""
        ...

    async def check(self) -> None:
        """Does the store still have what we wrote last? Raises LinkLost when it went back in time."""
        ...


class TxnWriter:
    """Writes in transactions of bounded size; ``place`` makes the absolute key, ``fence`` must hold in each.

    ``mark`` is put along when a transaction only deletes: a deletion leaves nothing behind by which a store that was
    restored to just before it could be told (docs/bugs-found.md). Without one, that the key stays away must do."""

    def __init__(
        self,
        store: KeyValueStore,
        limits: LinkLimits,
        place: Callable[[str], str],
        fence: tuple[Compare, ...] = (),
        mark: Put | None = None,
        on_commit: Callable[[int], None] = lambda revision: None,
    ) -> None:
        self._on_commit = on_commit
        self._store = store
        self._limits = limits
        self._place = place
        self._fence = fence
        self._room = asyncio.Semaphore(limits.txns_in_flight)
        self._newest = 0
        self._mark = mark
        self._witness: tuple[str, int] | None = None
        self._gone = ""

    def begin(self, key: str, revision: int) -> None:
        """``key`` was put at ``revision`` before the store was read: what shows it has all that was read. A store
        that was restored before our first write would not be noticed else (seed 5137)."""
        self._witness, self._gone = (key, revision), ""
        self._newest = max(self._newest, revision)

    async def write(self, writes: Sequence[Write], *, parallel: bool) -> None:
        """Store ``writes`` (each key once), in order unless ``parallel``. Raises Superseded when fenced off."""
        chunks = self._chunks(writes)
        if parallel and len(chunks) > 1:
            await self.check()
            self._witness, self._gone = None, ""  # may be among the writes, which come in any order
            await asyncio.gather(*(self._bounded(chunk) for chunk in chunks))
            return
        for chunk in chunks:
            await self.commit(chunk)

    async def commit(self, operations: Sequence[Operation]) -> None:
        """One transaction; it holds only on the store that has our last write, and comes after all that we know of."""
        await self._commit(operations, self._fence + self._continuity())

    async def _commit(self, operations: Sequence[Operation], fence: tuple[Compare, ...]) -> None:
        known = self._newest
        puts = [one.key for one in operations if isinstance(one, Put)]
        if not puts and self._mark is not None:
            operations, puts = [*operations, self._mark], [self._mark.key]
        result = await self._store.txn(Txn(fence, tuple(operations)))
        if not result.succeeded:
            await self.check()
            raise Superseded("another link of this peer took over its sub-tree")
        if result.revision < known:
            raise LinkLost(WENT_BACK)
        self._on_commit(result.revision)
        self._newest = max(self._newest, result.revision)
        if puts:
            self._witness, self._gone = (puts[-1], result.revision), ""
            return
        if self._witness is not None and Delete(self._witness[0]) in operations:
            self._witness = None
        self._gone = operations[-1].key

    def _continuity(self) -> tuple[Compare, ...]:
        """What must be as we left it: the last key that we put, and the last that we deleted."""
        shown = [Compare(self._gone, Target.MOD_REVISION, 0)] if self._gone else []
        if self._witness is not None:
            shown.append(Compare(self._witness[0], Target.MOD_REVISION, self._witness[1]))
        return tuple(shown)

    async def check(self) -> None:
        """A store restored from a backup does not show our last write; what we believe to be there may be gone."""
        for compare in self._continuity():
            entry = await self._store.get(compare.key)
            if (0 if entry is None else entry.mod_revision) != compare.expected:
                raise LinkLost(WENT_BACK)

    async def _bounded(self, operations: Sequence[Operation]) -> None:
        async with self._room:
            await self._commit(operations, self._fence)

    def _chunks(self, writes: Sequence[Write]) -> list[list[Operation]]:
        chunks: list[list[Operation]] = []
        size = TXN_BYTES
        most = self._limits.txn_ops - (self._mark is not None)
        for relative, value in writes:
            key = self._place(relative)
            operation: Operation = Delete(key) if value is None else Put(key, value)
            cost = len(key) + (len(value) if value is not None else 0)
            size += cost
            if size > TXN_BYTES or len(chunks[-1]) >= most:
                chunks.append([])
                size = cost
            chunks[-1].append(operation)
        return chunks


class PeerDestination:
    """Below ``remote/<peer>/``; ``session`` is this link's own random name."""

    def __init__(
        self,
        store: KeyValueStore,
        peer: str,
        *,
        session: str,
        stamp: Stamp,
        limits: LinkLimits,
        utc_s: Callable[[], float],
    ) -> None:
        self._store = store
        self._root = import_root(peer)
        self._session = session.encode()
        self._stamp = stamp
        self._utc_s = utc_s
        root = self._root
        fence = Compare(root + SESSION, Target.VALUE, self._session)
        self._writer = TxnWriter(
            store,
            limits,
            lambda relative: check_key(root + relative),
            (fence,),
            mark=Put(root + SESSION, self._session),
        )

    async def open(self) -> tuple[DigestMap, pb.Token | None, bool]:
        """Take over the peer's sub-tree: what is there, the resume token, whether it was ever synced."""
        takeover: tuple[Operation, ...] = (
            Put(self._root + SESSION, self._session),
            Delete(self._root + QUARANTINE),
            Delete(self._root + HOLDER),
        )
        taken = await self._store.txn(Txn((), takeover))
        self._writer.begin(self._root + SESSION, taken.revision)
        known, token, synced = DigestMap(), None, False
        async for _, entries in self._store.stream_snapshot(self._root):
            for entry in entries:
                relative = entry.key[len(self._root) :]
                if relative == CURSOR:
                    token = _token(entry.value)
                elif relative == SYNCED:
                    synced = True
                elif not relative.startswith(META):
                    known.put(relative, entry.value)
        return known, token, synced

    async def write(self, writes: Sequence[Write], *, parallel: bool) -> None:
        """See :class:`TxnWriter`."""
        await self._writer.write(writes, parallel=parallel)

    async def mark(self, cursor: pb.Token | None, *, synced: bool, keys: int) -> None:
        """Write down where we stand."""
        if cursor is None:
            return
        body = LinkCursor(
            link_incarnation=cursor.incarnation,
            revision=cursor.revision,
            nonce_revision=cursor.nonce_revision,
            nonce=cursor.nonce,
        )
        operations: list[Operation] = [self._sealed(CURSOR, body)]
        if synced:
            marker = SyncedMarker(
                link_incarnation=cursor.incarnation, revision=cursor.revision, keys=keys
            )
            operations.append(self._sealed(SYNCED, marker))
        await self._writer.commit(operations)

    async def check(self) -> None:
        """See :class:`TxnWriter`."""
        await self._writer.check()

    def _sealed(self, name: str, body: Body) -> Put:
        return Put(self._root + name, seal(body, self._stamp, as_of=self._utc_s()))


def _token(value: bytes) -> pb.Token | None:
    try:
        body = unseal(value, LinkCursor).body
    except ValueRefused:
        return None
    return pb.Token(
        incarnation=body.link_incarnation,
        revision=body.revision,
        nonce_revision=body.nonce_revision,
        nonce=body.nonce,
    )


async def quarantine(
    store: KeyValueStore,
    peer: str,
    reason: str,
    *,
    stamp: Stamp,
    as_of: float,
    session: str | None = None,
) -> None:
    """Mark everything held of ``peer``; the next link of it that opens takes the mark away. ``session`` is the link
    that was judged (None: whichever is there). One that took over since was judged after us: a mark that comes late
    (a slow call, another gateway) is void."""
    root = import_root(peer)
    if session is None:
        entry = await store.get(root + SESSION)
        judged = b"" if entry is None else entry.value
    else:
        judged = session.encode()
    same = Compare(root + SESSION, Target.VALUE, judged)
    if not judged:
        same = Compare(root + SESSION, Target.MOD_REVISION, 0)
    mark = Put(root + QUARANTINE, seal(Quarantine(reason=reason), stamp, as_of=as_of))
    await store.txn(Txn((same,), (mark,)))
