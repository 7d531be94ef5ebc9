"""What tests of mistreated servers share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.integration.kv.server import EtcdServer

from isthmus.kv.etcd import EtcdStore
from isthmus.kv.mirror import Mirror

SERVES_AGAIN_S = 15.0


@asynccontextmanager
async def following(store: EtcdStore, prefix: str) -> AsyncIterator[Mirror]:
    """A mirror that is synced."""
    mirror = Mirror(store, prefix)
    task = asyncio.create_task(mirror.run())
    try:
        await mirror.wait_synced(10)
        yield mirror
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def lost(store: EtcdStore) -> bool:
    """Has a watch been given up: for its silence, or by gRPC's ping, whichever was first?"""
    return store.counters.watch_reconnects > 0


async def restarted(server: EtcdServer) -> None:
    """kill -9, and again at once on the same data."""
    server.kill()
    await server.start()
