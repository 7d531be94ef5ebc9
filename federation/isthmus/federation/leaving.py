"""A peer that left: what was held of it goes (issue 7, point 5; docs/agreements.md, "Leaving").

A link writes only while the sub-tree's session is its own (:mod:`isthmus.federation.destination`), so taking the
session away first ends whatever still writes, in whichever process. What the peer *asked for* is not ended by this: an
intake holds the deletions of a peer that left its settings until an operator says so (attack 19). The newest agreement
that was in force is kept, or an older one could be put in force when the peer comes back (attack 3).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from isthmus.contract.scopes import import_root
from isthmus.federation.agreed_versions import recall
from isthmus.federation.destination import SESSION
from isthmus.federation.errors import StillLinked
from isthmus.federation.status import LinkStatus
from isthmus.kv.port import Compare, Delete, KeyValueStore, Target, Txn

KEYS_AT_ONCE = 100
"""Deletions in one transaction; etcd takes 128 operations unless told otherwise."""
FRESH_S = 10.0
"""A status file is written each second; one that is so old belongs to a process that is gone."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a store holds of ``peer``: keys, their bytes, keys by first word (``summary``, ``intents``, ...), and the
    newest agreement that was in force (0: none)."""

    peer: str
    keys: int = 0
    bytes: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    agreement_version: int = 0


async def held(store: KeyValueStore, peer: str) -> Held:
    """Look, and change nothing. Raises StoreError."""
    root = import_root(peer)
    kinds: Counter[str] = Counter()
    size = 0
    async for _, entries in store.stream_snapshot(root):
        for entry in entries:
            kinds[entry.key.removeprefix(root).partition("/")[0]] += 1
            size += len(entry.key) + len(entry.value)
    version = await recall(store, peer)
    return Held(peer, kinds.total(), size, dict(sorted(kinds.items())), version)


async def forget(store: KeyValueStore, peer: str) -> Held:
    """Remove all that is held of ``peer``; what that was. Repeatable: what is left by a death goes the next time.

    Raises StillLinked when a link with the peer opened meanwhile, StoreError.
    """
    found = await held(store, peer)
    root = import_root(peer)
    session = root + SESSION
    await store.txn(Txn((), (Delete(session),)))
    closed = Compare(session, Target.VERSION, 0)
    keys = [entry.key for entry in (await store.snapshot(root)).entries]
    for start in range(0, len(keys), KEYS_AT_ONCE):
        chunk = tuple(Delete(key) for key in keys[start : start + KEYS_AT_ONCE])
        if not (await store.txn(Txn((closed,), chunk))).succeeded:
            raise StillLinked(
                f"a link with {peer!r} opened while its keys were removed; take it out of the "
                "settings of every gateway, end the links, and ask again"
            )
    return found


def check_ended(peer: str, links: Sequence[LinkStatus], now_s: float) -> None:
    """Raises StillLinked when a process told a moment ago that it links, or tries to link, with ``peer``."""
    for link in links:
        if link.peer == peer and now_s - link.as_of < FRESH_S:
            raise StillLinked(
                f"the link with {peer!r} is {link.state}: end its process, or take the peer out of "
                "its settings and start it again, and ask again"
            )
