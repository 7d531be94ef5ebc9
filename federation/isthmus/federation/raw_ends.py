"""The ends of a mirror's link: raw keys of foreign stores, and nothing of ours in them (see :mod:`.mirror`).

There is no proof of history in the source and no token at the destination: a *witness*, the newest change seen, tells
after a lost connection whether the source is still the same; if in doubt, both sides compare digests.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from isthmus.contract.scopes import ExportRoot
from isthmus.federation import link_pb2 as pb
from isthmus.federation.destination import TxnWriter, Write
from isthmus.federation.digest import DigestMap
from isthmus.federation.errors import LinkLost
from isthmus.federation.limits import LinkLimits
from isthmus.federation.source import HistoryChanged, read_with_revision
from isthmus.federation.strangers import Strangers
from isthmus.kv.errors import Compacted, FutureRevision
from isthmus.kv.etcd import EtcdStore
from isthmus.kv.port import Entry, EventKind, WatchBatch
from isthmus.kv.ranges import key_text
from isthmus.kv.raw_range import RawRange
from isthmus.policy.scopes import Decision, Verb

MAX_KEY_BYTES = 8 * 1024
MAX_VALUE_BYTES = 1536 * 1024
LIMITS = LinkLimits(
    window_bytes=4 * 1024 * 1024,
    batch_items=1024,
    batch_bytes=256 * 1024,
    frame_bytes=4 * 1024 * 1024,
    pending_bytes=16 * 1024 * 1024,
    pending_keys=2_000_000,
    txns_in_flight=8,
    proof_every_s=3600.0,
    stalled_after_s=60.0,
    latest_ack_s=0.0,
    check_every_s=1.0,
    beat_s=1.0,
)
"""One machine, one operator, large sets: more of everything than between strangers."""


@dataclass(frozen=True, slots=True)
class Synced:
    """The first copy is complete: ``keys`` as of the source's ``revision``."""

    revision: int
    keys: int


class RawCheck:
    """Any key that is not excluded; ``prefix`` is what relative keys are relative to."""

    def __init__(self, prefix: str, exclude: Sequence[str]) -> None:
        self._prefix = prefix
        self._exclude = tuple(exclude)

    def check(self, verb: Verb, key: str | bytes) -> str | Decision:
        """See KeyCheck."""
        text = key if isinstance(key, str) else key_text(key)
        if len(text) > MAX_KEY_BYTES:
            return Decision(False, "key-refused", f"at most {MAX_KEY_BYTES} bytes")
        if self._exclude and (self._prefix + text).startswith(self._exclude):
            return Decision(False, "excluded", "below an excluded prefix")
        return text


class RawSource:
    """One raw range as the exporter reads it."""

    def __init__(self, store: EtcdStore, prefix: str) -> None:
        self._store = store
        self._range = RawRange(store, prefix)
        self._root = ExportRoot(prefix, "", raw=True)
        self._incarnation = ""
        self._witness: tuple[str, int, bytes | None] | None = None

    @property
    def roots(self) -> tuple[ExportRoot, ...]:
        """One."""
        return (self._root,)

    async def open(self, token: pb.Token | None) -> tuple[bool, pb.Token]:
        """Always a new history: the digests tell what of it is known already."""
        self._incarnation = secrets.token_hex(8)
        self._witness = None
        return False, await self.renew()

    async def renew(self) -> pb.Token:
        """Where the store stands now."""
        revision = await self._range.revision()
        return pb.Token(
            incarnation=self._incarnation, revision=revision, nonce_revision=revision, nonce="-"
        )

    async def check(self) -> None:
        """Is the newest change that we saw still where it was? Without one, nothing is certain."""
        if self._witness is None:
            raise HistoryChanged("no change was seen yet")
        key, revision, seen = self._witness
        try:
            entry = await self._store.get(key, revision=revision)
        except (Compacted, FutureRevision):
            raise HistoryChanged("the newest change seen is not there any more") from None
        if _fingerprint(entry, revision) != seen:
            raise HistoryChanged("the newest change seen is another one now")

    def saw(self, batch: WatchBatch) -> None:
        """Remember the newest change."""
        if batch.events:
            event = batch.events[-1]
            deleted = event.kind is EventKind.DELETE
            seen = None if deleted else _fingerprint(event.entry, event.revision)
            self._witness = (event.key, event.revision, seen)

    def snapshot(self, lane: int, revision: int) -> AsyncIterator[Sequence[Entry]]:
        """All of it."""
        return self._range.snapshot(revision)

    def watch(self, lane: int, start_revision: int) -> AsyncIterator[WatchBatch]:
        """All of it."""
        return self._range.watch(start_revision)

    async def get(self, key: str) -> tuple[Entry | None, int]:
        """One key."""
        return await read_with_revision(self._store, key)


class RawDestination:
    """One raw range as the importer writes it; remembers nothing in the store."""

    def __init__(
        self,
        store: EtcdStore,
        prefix: str,
        keep: RawCheck,
        on_synced: Callable[[Synced], None],
    ) -> None:
        self._range = RawRange(store, prefix)
        self._prefix = prefix
        self._keep = keep
        self._on_synced = on_synced
        self._strangers = Strangers(self._range, self._kept)
        self._writer = TxnWriter(
            store,
            LIMITS,
            lambda relative: prefix + relative,
            on_commit=self._strangers.wrote,
        )

    def _kept(self, key: str) -> str | None:
        """The relative name of an absolute key, None when it is left alone."""
        relative = key[len(self._prefix) :]
        return relative if isinstance(self._keep.check(Verb.PUT, relative), str) else None

    async def open(self) -> tuple[DigestMap, pb.Token | None, bool]:
        """What is there, except what is excluded."""
        known = DigestMap()
        revision = await self._range.revision()
        async for entries in self._range.snapshot(revision):
            for entry in entries:
                relative = self._kept(entry.key)
                if relative is not None:
                    known.put(relative, entry.value)
        self._strangers.begin(known, revision)
        return known, None, False

    async def write(self, writes: Sequence[Write], *, parallel: bool) -> None:
        """See TxnWriter."""
        await self._writer.write(writes, parallel=parallel)

    async def mark(self, cursor: pb.Token | None, *, synced: bool, keys: int) -> None:
        """Nothing is written down; the first complete copy is told."""
        if synced and cursor is not None:
            self._on_synced(Synced(cursor.revision, keys))

    async def check(self) -> None:
        """See TxnWriter; and what did others do meanwhile?"""
        await self._writer.check()
        await self._strangers.look()

    def stop(self) -> None:
        """The link ends."""
        self._strangers.stop()


class _Nothing:
    """The side of a mirror's link that has nothing to send and takes nothing."""

    roots: tuple[ExportRoot, ...] = ()

    async def open_source(self) -> tuple[bool, pb.Token]:
        return False, pb.Token(incarnation="nothing", revision=1, nonce_revision=1, nonce="-")


class NoSource(_Nothing):
    """A source without keys."""

    async def open(self, token: pb.Token | None) -> tuple[bool, pb.Token]:
        return await self.open_source()

    async def renew(self) -> pb.Token:
        return (await self.open_source())[1]

    async def check(self) -> None:
        return

    def saw(self, batch: WatchBatch) -> None:
        return

    async def snapshot(self, lane: int, revision: int) -> AsyncIterator[Sequence[Entry]]:
        yield ()

    async def watch(self, lane: int, start_revision: int) -> AsyncIterator[WatchBatch]:
        yield WatchBatch(start_revision, ())

    async def get(self, key: str) -> tuple[Entry | None, int]:
        return None, 1


class NoDestination:
    """A destination that takes nothing."""

    async def open(self) -> tuple[DigestMap, pb.Token | None, bool]:
        return DigestMap(), None, False

    async def write(self, writes: Sequence[Write], *, parallel: bool) -> None:
        if writes:
            raise LinkLost("a mirror's source takes no writes")

    async def mark(self, cursor: pb.Token | None, *, synced: bool, keys: int) -> None:
        return

    async def check(self) -> None:
        return


class DenyAll:
    """Nothing goes this way."""

    def check(self, verb: Verb, key: str | bytes) -> str | Decision:
        return Decision(False, "scope-denied", "nothing goes this way")


def _fingerprint(entry: Entry | None, revision: int) -> bytes | None:
    if entry is None or entry.mod_revision != revision:
        return None
    return hashlib.blake2b(entry.value, digest_size=16).digest()
