"""Leadership by lease (DESIGN section 5): whoever creates the key under its lease leads; the key's create revision is
the epoch that every write compares. The local verdict "it may have run out" stops the leader before the store does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from isthmus.contract import Stamp, seal
from isthmus.contract.instance import Leadership
from isthmus.kv.errors import Compacted, FutureRevision, StoreError
from isthmus.kv.port import Compare, KeyValueStore, Lease, Put, Target, Txn
from isthmus.microcontroller.clock import Surroundings
from isthmus.microcontroller.writer import Fence


@dataclass(frozen=True, slots=True)
class LeadershipSettings:
    """``ttl_s``: 3, so that a killed controller is replaced within seconds, and three missed renewals of one second
    are needed to lose it. ``retry_s``: how long a follower waits at most before it looks again."""

    ttl_s: int = 3
    retry_s: float = 1.0


@asynccontextmanager
async def lead(
    store: KeyValueStore,
    key: str,
    stamp: Stamp,
    surroundings: Surroundings,
    settings: LeadershipSettings,
) -> AsyncIterator[tuple[Fence, Lease]]:
    """Wait until ``key`` is ours, give the fence and the lease, and let go of both at the end.

    A caller must stop when the lease is lost; its writes are refused from then on in any case.
    """
    lease = await store.grant_lease(settings.ttl_s)
    try:
        while True:
            fence = await try_to_lead(store, key, lease.lease_id, stamp, surroundings)
            if fence is not None:
                break
            await _until_free(store, key, settings.retry_s)
            if lease.lost:
                await lease.revoke()
                lease = await store.grant_lease(settings.ttl_s)
        yield fence, lease
    finally:
        with suppress(StoreError, asyncio.TimeoutError):
            await lease.revoke(timeout_s=1.0)


async def try_to_lead(
    store: KeyValueStore, key: str, lease_id: int, stamp: Stamp, surroundings: Surroundings
) -> Fence | None:
    """Create ``key`` under the lease; None when somebody else has it. One store call: the explorer drives it."""
    value = seal(Leadership(holder=stamp.incarnation), stamp, as_of=surroundings.now())
    result = await store.txn(
        Txn(
            compares=(Compare(key, Target.CREATE_REVISION, 0),),
            then=(Put(key, value, lease_id=lease_id),),
        )
    )
    return Fence(key, result.revision, value) if result.succeeded else None


async def _until_free(store: KeyValueStore, key: str, retry_s: float) -> None:
    with suppress(TimeoutError, Compacted, FutureRevision):
        async with asyncio.timeout(retry_s):
            async for batch in store.watch(key):
                if any(event.entry is None for event in batch.events):
                    return
