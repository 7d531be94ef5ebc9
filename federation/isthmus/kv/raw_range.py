"""Any range of keys of an etcd, also one whose prefix does not end in a slash: for copying foreign stores.

Our own code uses the port, whose prefixes end in ``/`` (attack 7). A mirror of somebody else's store has to take
the prefix that the other operator has; this is its only way to ask for one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

from isthmus.kv import methods
from isthmus.kv import wire_pb2 as wire
from isthmus.kv.etcd import EtcdStore
from isthmus.kv.port import Entry, WatchBatch
from isthmus.kv.ranges import KeyRange, prefix_end, text_bytes
from isthmus.kv.snapshots import SnapshotReader
from isthmus.kv.watching import Watching

FIRST, BEHIND_ALL = b"\0", b"\xff" * 256
"""Every key: none is empty, and none begins with so many of the highest byte. (Not etcd's own "from here on", which no
:class:`KeyRange` can express: it is what attack 7 asks for.)"""


class RawRange:
    """Everything in ``store`` that begins with ``prefix`` (empty: everything)."""

    def __init__(self, store: EtcdStore, prefix: str) -> None:
        start = text_bytes(prefix)
        self._store = store
        self._keys = _all_below(start)

    async def revision(self, *, timeout_s: float = 5.0) -> int:
        """Where the store stands."""
        answer = await self._store.calls.unary(
            methods.RANGE,
            wire.RangeRequest(key=self._keys.start, keys_only=True),
            what=f"current revision of {self._keys}",
            writes=False,
            timeout_s=timeout_s,
            range_=str(self._keys),
        )
        revision: int = answer.header.revision
        return revision

    async def snapshot(
        self, revision: int, *, timeout_s: float = 30.0
    ) -> AsyncIterator[Sequence[Entry]]:
        """All entries at exactly ``revision``, in chunks."""
        reader = SnapshotReader(
            self._store.calls, self._keys, revision, streams=True, timeout_s=timeout_s
        )
        async with aclosing(reader.chunks()) as chunks:
            async for entries in chunks:
                yield entries

    def watch(self, start_revision: int) -> AsyncIterator[WatchBatch]:
        """Changes from ``start_revision`` on."""
        return Watching(self._store.calls, self._keys, start_revision).batches()


def _all_below(start: bytes) -> KeyRange:
    has_end = bool(start.rstrip(b"\xff"))
    return KeyRange(start or FIRST, prefix_end(start) if has_end else BEHIND_ALL)
