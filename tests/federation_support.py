"""Two stores and the link between them, as the federation's tests need them.

``PARIS`` is a site that dials, ``HUB`` the tier above; both run the shipped plan (contract scopes), over memory
channels or over anything else that is a channel.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace

from tests.support import eventually

from isthmus.contract.envelope import Stamp
from isthmus.contract.scopes import SITE_TO_TIER, TIER_TO_SITE, site_exports, tier_exports
from isthmus.federation.channel import MemoryChannel, pair
from isthmus.federation.limits import LinkLimits
from isthmus.federation.link import Clocks, Link, LinkPlan, Tap, peer_ends
from isthmus.kv.memory import MemoryStore
from isthmus.kv.port import KeyValueStore
from isthmus.policy.quotas import Quota
from isthmus.policy.scopes import Scope

SITE, HUB = "paris", "global"
FAST = LinkLimits(
    beat_s=0.1, lost_after_s=2.0, proof_every_s=0.1, cursor_every_s=0.05, check_every_s=1.0
)
UP = Scope.mirror("site-to-tier", SITE_TO_TIER)
DOWN = Scope.mirror("tier-to-site", TIER_TO_SITE)


def clocks() -> Clocks:
    """Numbered identifiers, so that a run repeats; the loop's clock for waits."""
    numbers = itertools.count(1)
    return Clocks(
        monotonic_s=asyncio.get_running_loop().time,
        utc_s=lambda: 1_800_000_000.0,
        ids=lambda: f"id-{next(numbers)}-{id(numbers)}",
        streams=lambda: next(numbers),
    )


def site_plan(limits: LinkLimits = FAST, quota: Quota | None = None) -> LinkPlan:
    """The site's end."""
    return LinkPlan(
        name=SITE,
        peer=HUB,
        exports=site_exports(HUB),
        sends=UP,
        accepts=DOWN,
        quota=quota or Quota(),
        stamp=Stamp(origin="site", incarnation="1"),
        limits=limits,
    )


def hub_plan(limits: LinkLimits = FAST, quota: Quota | None = None) -> LinkPlan:
    """The tier's end."""
    return LinkPlan(
        name=HUB,
        peer=SITE,
        exports=tier_exports(SITE),
        sends=DOWN,
        accepts=UP,
        quota=quota or Quota(),
        stamp=Stamp(origin="hub", incarnation="1"),
        limits=limits,
    )


class Wire:
    """A link between two stores that can be cut and joined again."""

    def __init__(
        self,
        site: KeyValueStore,
        hub: KeyValueStore,
        *,
        limits: LinkLimits = FAST,
        plans: tuple[LinkPlan, LinkPlan] | None = None,
        tap: Tap | None = None,
    ) -> None:
        self.stores = (site, hub)
        self.plans = plans or (site_plan(limits), hub_plan(limits))
        self.tap = tap
        self.links: tuple[Link, Link] | None = None
        self.channels: tuple[MemoryChannel, MemoryChannel] | None = None
        self.tasks: list[asyncio.Task[None]] = []

    def join(self) -> None:
        """A new life of the link."""
        self.channels = pair()
        self.links = (self._link(0), self._link(1))
        self.tasks = [asyncio.create_task(link.run()) for link in self.links]

    def _link(self, end: int) -> Link:
        assert self.channels is not None
        time = clocks()
        ends = peer_ends(self.plans[end], self.stores[end], time)
        return Link(ends, self.channels[end], time, tap=self.tap)

    async def cut(self) -> list[BaseException | None]:
        """Break it; how both ends ended."""
        assert self.channels is not None
        self.channels[0].cut()
        return await self.ended()

    async def ended(self) -> list[BaseException | None]:
        """How both ends ended."""
        async with asyncio.timeout(20):
            return list(await asyncio.gather(*self.tasks, return_exceptions=True))

    async def kill(self) -> None:
        """As kill -9 of both processes: nothing is flushed, nothing is said."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    @property
    def site(self) -> Link:
        assert self.links is not None
        return self.links[0]

    @property
    def hub(self) -> Link:
        assert self.links is not None
        return self.links[1]


@contextlib.asynccontextmanager
async def wire(
    site: KeyValueStore | None = None, hub: KeyValueStore | None = None, **options: object
) -> AsyncIterator[Wire]:
    """A joined wire, cleaned up."""
    made = Wire(site or MemoryStore(), hub or MemoryStore(), **options)  # type: ignore[arg-type]
    made.join()
    try:
        yield made
    finally:
        await made.kill()


async def until(condition: Callable[[], object], what: str, *, timeout_s: float = 20.0) -> None:
    """:func:`tests.support.eventually` for conditions whose value nobody needs."""

    async def holds() -> bool:
        value = condition()
        return bool(await value if inspect.isawaitable(value) else value)

    reached: bool = await eventually(holds, what, timeout_s=timeout_s)
    assert reached


async def holds_exactly(held: Awaitable[dict[str, bytes]], expected: dict[str, bytes]) -> bool:
    """Exactly these keys and values."""
    return await held == expected


async def holds_keys(held: Awaitable[dict[str, bytes]], count: int) -> bool:
    """So many keys."""
    return len(await held) == count


async def holds_value(held: Awaitable[dict[str, bytes]], key: str, value: bytes) -> bool:
    """This key with this value."""
    return (await held).get(key) == value


async def below(store: KeyValueStore, prefix: str) -> dict[str, bytes]:
    """What lies below ``prefix`` without the importer's book-keeping."""
    snapshot = await store.snapshot(prefix)
    return {
        entry.key[len(prefix) :]: entry.value
        for entry in snapshot.entries
        if not entry.key[len(prefix) :].startswith("meta.")
    }


async def intents_at_site(store: KeyValueStore) -> dict[str, bytes]:
    """What the hub's outbox looks like at the site."""
    return await below(store, f"/isthmus/v1/remote/{HUB}/")


async def summary_at_hub(store: KeyValueStore) -> dict[str, bytes]:
    """What the site's summary looks like at the hub."""
    return await below(store, f"/isthmus/v1/remote/{SITE}/")


def outbox(relative: str) -> str:
    """The hub's key that crosses to the site as ``relative``."""
    return f"/isthmus/v1/outbox/{SITE}/{relative}"


def summary(relative: str) -> str:
    """The site's key that crosses to the hub as ``summary/<relative>``."""
    return f"/isthmus/v1/summary/peers/{HUB}/{relative}"


def with_limits(plans: Sequence[LinkPlan], limits: LinkLimits) -> tuple[LinkPlan, LinkPlan]:
    """The same plans under other limits."""
    return replace(plans[0], limits=limits), replace(plans[1], limits=limits)
