"""The API's desk: all it asks of the store, with deadlines, in the contract's keys only (DESIGN sections 4 and 7).

Every question is bounded twice, by the store client's own deadline and by one here, so that no client of the API ever
hangs on a store that is gone; every failure becomes an answer that says so. One table tells the two tiers apart: the
same process serves a site and the global tier.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from isthmus.api.errors import from_store
from isthmus.contract import Family, Stamp, Tier, families
from isthmus.contract.chain import ChainPlan, ChainRecord
from isthmus.contract.world import Intent, Placement
from isthmus.kv.errors import Compacted, FutureRevision, StoreError
from isthmus.kv.port import Entry, Get, KeyValueStore, Snapshot, StoreStatus, Txn, TxnResult

GETS_PER_TXN = 100
"""etcd takes 128 operations in a transaction."""


@dataclass(frozen=True, slots=True)
class TierFamilies:
    """Where a tier keeps what the API shows."""

    requests: Family
    records: Family
    record_model: type[ChainRecord] | type[Intent]
    plans: Family
    plan_model: type[ChainPlan] | type[Placement]
    status: Family
    explain: Family
    events: Family
    components: tuple[str, ...]
    carried: Family | None = None
    """What a tier carries for peers apart from its own users' chains; a site's records have both."""


TIERS: dict[Tier, TierFamilies] = {
    Tier.SITE: TierFamilies(
        families.REQUESTS,
        families.SPECS,
        ChainRecord,
        families.PLANS,
        ChainPlan,
        families.STATUS,
        families.EXPLAIN,
        families.EVENTS,
        families.SITE_COMPONENTS,
    ),
    Tier.GLOBAL: TierFamilies(
        families.G_REQUESTS,
        families.G_INTENTS,
        Intent,
        families.G_PLACEMENTS,
        Placement,
        families.G_STATUS,
        families.G_EXPLAIN,
        families.G_EVENTS,
        families.GLOBAL_COMPONENTS,
        families.G_SEGMENTS,
    ),
}


@dataclass(slots=True)
class Desk:
    """One tier's store as the API sees it. ``clock`` is UTC seconds, ``new_id`` a fresh lower-case name."""

    tier: Tier
    name: str
    store: KeyValueStore
    stamp: Stamp
    clock: Callable[[], float]
    new_id: Callable[[], str]
    timeout_s: float = 3.0

    @property
    def families(self) -> TierFamilies:
        """The families of this tier."""
        return TIERS[self.tier]

    async def gets(self, keys: Sequence[str]) -> tuple[int, dict[str, Entry]]:
        """The entries that exist of ``keys``, and the store's revision."""
        found: dict[str, Entry] = {}
        revision = 0
        for start in range(0, len(keys), GETS_PER_TXN):
            part = keys[start : start + GETS_PER_TXN]
            result = await self.txn(Txn(then=tuple(Get(key) for key in part)))
            revision = revision or result.revision
            found.update((entry.key, entry) for entry in result.gets if entry is not None)
        return revision, found

    async def txn(self, txn: Txn) -> TxnResult:
        """Run one transaction."""
        async with self.asking():
            return await self.store.txn(txn, timeout_s=self.timeout_s)

    async def snapshot(self, prefix: str) -> Snapshot:
        """Everything below ``prefix``."""
        async with self.asking():
            return await self.store.snapshot(prefix, timeout_s=self.timeout_s)

    async def snapshots(self, prefixes: Sequence[str]) -> tuple[Snapshot, ...]:
        """Everything below each prefix, all at one revision (unless that was compacted meanwhile)."""
        first = await self.snapshot(prefixes[0])
        others = [await self._at(prefix, first.revision) for prefix in prefixes[1:]]
        return (first, *others)

    async def _at(self, prefix: str, revision: int) -> Snapshot:
        async with self.asking():
            try:
                return await self.store.snapshot(
                    prefix, revision=revision, timeout_s=self.timeout_s
                )
            except (Compacted, FutureRevision):
                return await self.store.snapshot(prefix, timeout_s=self.timeout_s)

    async def status(self) -> StoreStatus:
        """Who the store is and where it stands."""
        async with self.asking():
            return await self.store.status(timeout_s=self.timeout_s)

    @asynccontextmanager
    async def asking(self) -> AsyncIterator[None]:
        """Turn silence and failures of the store into an ApiError."""
        try:
            async with asyncio.timeout(self.timeout_s + 1.0):
                yield
        except (StoreError, TimeoutError) as error:
            raise from_store(error) from error

    def explain_keys(self, tenant: str, chain: str) -> list[str]:
        """Where each component of the tier would have said why."""
        explain = self.families.explain
        return [
            explain.key(component=component, tenant=tenant, chain=chain)
            for component in self.families.components
        ]
