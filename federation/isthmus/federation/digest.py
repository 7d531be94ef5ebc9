"""Are two sets of keys equal, and if not, where do they differ? (DESIGN section 6, G4, G6.)

Both ends keep a 64-bit hash of every key with its value, and 256 sums of them; a key's sum is chosen by the key alone,
so that two ends with different values for one key differ in one sum, and only the keys of that sum are sent again.
Sums are exclusive ors: adding and taking away cost the same, whatever the size of the set. Nothing here guards
against a peer that *wants* to collide: it speaks for its own keys only.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final
from zlib import crc32

from isthmus.contract.scopes import ExportRoot, import_root
from isthmus.kv.port import KeyValueStore
from isthmus.kv.ranges import text_bytes
from isthmus.policy.scopes import Scope, Verb

BUCKETS: Final = 256
ALL_BUCKETS: Final = tuple(range(BUCKETS))
META: Final = "meta."
"""First segment of the importer's own book-keeping below ``remote/<peer>/``; no scope of a peer covers it."""
_PACK: Final = struct.Struct(f">Q{BUCKETS}Q")
_SIZE_BITS: Final = 24
_SIZE_MASK: Final = (1 << _SIZE_BITS) - 1


def bucket_of(key: str) -> int:
    """Which of the 256 sums ``key`` belongs to."""
    return crc32(text_bytes(key)) & (BUCKETS - 1)


def item_hash(key: str, value: bytes) -> int:
    """64 bits of one key with its value."""
    return int.from_bytes(
        blake2b(b"%b\0%b" % (text_bytes(key), value), digest_size=8).digest(), "big"
    )


class DigestMap:
    """A set of keys with values, remembered as hashes and sizes; about 150 bytes a key."""

    __slots__ = ("_buckets", "_items", "total_bytes")

    def __init__(self) -> None:
        self._items: dict[str, int] = {}
        self._buckets = [0] * BUCKETS
        self.total_bytes = 0

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, key: str) -> bool:
        return key in self._items

    def put(self, key: str, value: bytes) -> bool:
        """Remember ``value`` for ``key``; False when it was the same already. (Inlined: it runs for every key.)"""
        name = text_bytes(key)
        hashed = blake2b(b"%b\0%b" % (name, value), digest_size=8).digest()
        new = int.from_bytes(hashed, "big")
        old = self._items.get(key)
        size = len(name) + len(value)
        if old is None:
            self._buckets[crc32(name) & 0xFF] ^= new
        else:
            before = old >> _SIZE_BITS
            if before == new:
                return False
            self.total_bytes -= old & _SIZE_MASK
            self._buckets[crc32(name) & 0xFF] ^= new ^ before
        self._items[key] = new << _SIZE_BITS | size
        self.total_bytes += size
        return True

    def remove(self, key: str) -> bool:
        """Forget ``key``; False when it was not there."""
        old = self._items.pop(key, None)
        if old is None:
            return False
        self.total_bytes -= old & _SIZE_MASK
        self._buckets[bucket_of(key)] ^= old >> _SIZE_BITS
        return True

    def size(self, key: str) -> int | None:
        """Bytes of key and value, None for an unknown key."""
        item = self._items.get(key)
        return None if item is None else item & _SIZE_MASK

    def keys_in(self, buckets: Iterable[int]) -> set[str]:
        """All keys that belong to ``buckets``."""
        wanted = frozenset(buckets)
        if len(wanted) == BUCKETS:
            return set(self._items)
        return {key for key in self._items if bucket_of(key) in wanted} if wanted else set()

    @property
    def buckets(self) -> tuple[int, ...]:
        """The 256 sums."""
        return tuple(self._buckets)

    def differing(self, other: Sequence[int]) -> tuple[int, ...]:
        """The buckets in which a peer with the sums ``other`` has something else."""
        return tuple(index for index in ALL_BUCKETS if self._buckets[index] != other[index])

    def sum_of(self, key: str) -> int | None:
        """What ``key`` adds to its bucket, None for an unknown key."""
        item = self._items.get(key)
        return None if item is None else item >> _SIZE_BITS

    def root(self) -> bytes:
        """16 bytes for the whole set."""
        return _root(len(self._items), self._buckets)

    def root_with(self, other: Mapping[str, int | None]) -> tuple[bytes, int]:
        """The root, and the number of keys, of the set in which these keys add ``other`` sums (None: are not there)."""
        count, buckets = len(self._items), list(self._buckets)
        for key, wanted in other.items():
            held = self.sum_of(key)
            buckets[bucket_of(key)] ^= (held or 0) ^ (wanted or 0)
            count += (wanted is not None) - (held is not None)
        return _root(count, buckets), count


def _root(count: int, buckets: Sequence[int]) -> bytes:
    return blake2b(_PACK.pack(count, *buckets), digest_size=16).digest()


def sum_of(key: str, value: bytes) -> int:
    """What a key with this value adds to its bucket."""
    one = DigestMap()
    one.put(key, value)
    return one.sum_of(key) or 0


@dataclass(frozen=True, slots=True)
class StoreDigest:
    """Of what one store holds below some roots: equal ``hex`` means equal keys and values."""

    hex: str
    keys: int


async def digest(
    store: KeyValueStore, roots: Sequence[ExportRoot], scope: Scope | None = None
) -> StoreDigest:
    """The digest of everything below ``roots`` under its relative name, as the federation compares it.

    The source is asked with its export roots, the destination with ``imported(peer)``; ``scope`` leaves out what a
    filter would. Each root is read at one revision; the roots need not be at the same one, so compare at rest.
    """
    known = DigestMap()
    for root in roots:
        for relative, value in await _read(store, root):
            if not relative.startswith(META) and _in(scope, relative):
                known.put(relative, value)
    return StoreDigest(known.root().hex(), len(known))


async def _read(store: KeyValueStore, root: ExportRoot) -> list[tuple[str, bytes]]:
    if not root.source.endswith("/"):
        entry = await store.get(root.source)
        return [] if entry is None else [(root.relative, entry.value)]
    cut = len(root.source)
    snapshot = await store.snapshot(root.source)
    return [(root.relative + entry.key[cut:], entry.value) for entry in snapshot.entries]


def _in(scope: Scope | None, relative: str) -> bool:
    return scope is None or bool(scope.decide(Verb.PUT, relative))


def imported(peer: str) -> tuple[ExportRoot, ...]:
    """What a store holds of ``peer``, as :func:`digest` is asked for it."""
    return (ExportRoot(import_root(peer), ""),)
