"""Bulk writes: transactions of at most 100 operations, a few in flight (research: 100 puts in one
transaction cost the client 14 us each, one by one 190 us).

Each batch is atomic, the whole is not: a failure leaves the earlier batches applied. The puts are
idempotent, so the caller may simply repeat the whole after an ambiguous outcome.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence

from isthmus.kv.errors import InvalidRequest
from isthmus.kv.port import Compare, Delete, KeyValueStore, Put, Txn
from isthmus.kv.rules import check_key, check_size
from isthmus.kv.transactions import run

BATCH_OPERATIONS = 100
BATCH_BYTES = 1 << 20
"""Under etcd's request limit of 1.5 MiB with room for keys and framing."""

IN_FLIGHT = 8
"""Enough to hide the store's fsync; more only queue there."""

Write = Put | Delete


def batches_of(writes: Iterable[Write]) -> Iterator[tuple[Write, ...]]:
    """In order, cut by count, by bytes, and where a key comes again (one transaction writes it once)."""
    batch: list[Write] = []
    keys: set[str] = set()
    size_bytes = 0
    for write in writes:
        cost_bytes = len(write.key) + (len(write.value) if isinstance(write, Put) else 0)
        if cost_bytes > BATCH_BYTES:
            check_size(write.key, cost_bytes)
        check_key(write.key)
        full = len(batch) >= BATCH_OPERATIONS or size_bytes + cost_bytes > BATCH_BYTES
        if batch and (full or write.key in keys):
            yield tuple(batch)
            batch, keys, size_bytes = [], set(), 0
        batch.append(write)
        keys.add(write.key)
        size_bytes += cost_bytes
    if batch:
        yield tuple(batch)


async def write_batches(
    store: KeyValueStore,
    writes: Iterable[Write],
    *,
    guards: Sequence[Compare] = (),
    in_flight: int = IN_FLIGHT,
    timeout_s: float = 10.0,
) -> int:
    """Apply ``writes``; the highest revision reached (0 when there was nothing to write).

    ``guards`` are compared in every batch (a leader's key, say); Conflict when one does not hold. With
    ``in_flight`` above 1, batches may be applied in any order: a key that comes twice forces 1.
    """
    if in_flight < 1:
        raise InvalidRequest(f"in_flight={in_flight}: at least one batch must be in flight")
    txns = [Txn(tuple(guards), batch) for batch in batches_of(writes)]
    if _writes_a_key_twice(txns):
        in_flight = 1
    waiting = iter(txns)
    revisions = [0]

    async def work() -> None:
        for txn in waiting:
            revisions.append((await run(store, txn, timeout_s=timeout_s)).revision)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(in_flight, len(txns))):
                group.create_task(work())
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return max(revisions)


def _writes_a_key_twice(txns: Sequence[Txn]) -> bool:
    keys = [operation.key for txn in txns for operation in txn.then]
    return len(set(keys)) != len(keys)
