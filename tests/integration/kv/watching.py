"""A watch as the tests of the store port begin it."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from isthmus.kv import KeyValueStore, WatchBatch

Batches = AsyncGenerator[WatchBatch, None]


async def standing(store: KeyValueStore, prefix: str, start_revision: int = 0) -> Batches:
    """A watch whose first, empty batch was taken."""
    watch = store.watch(prefix, start_revision=start_revision)
    first = await anext(watch)
    assert first.events == ()
    assert not first.resumed
    return watch
