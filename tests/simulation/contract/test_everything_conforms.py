"""Two tiers at work, and every value that lies in their stores judged by the page that vendors are judged by (R46).

Who should have written a key is worked out from the table; the envelope says who did. So this also proves that "one
writer per family" is what our components do, not only what the store lets them.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator

import pytest
from tests.simulation.global_tier.world import HollowWorld, chain

from isthmus.contract.envelope import Stamp, seal
from isthmus.contract.families import FAMILIES, HEAL_REQUESTS
from isthmus.contract.family import Tier, find
from isthmus.contract.instance import HealRequest
from isthmus.contract.judge import judge_entries
from isthmus.contract.registry import loose
from isthmus.contract.roles import Role
from isthmus.contract.subject import Kind, Subject
from isthmus.kv.memory import MemoryStore
from isthmus.kv.port import Entry

BY_THE_TEST = {"test", "operator"}
"""What the test itself puts, in the place of users, of the operator, and of the functions."""


@pytest.fixture
async def world() -> AsyncIterator[HollowWorld]:
    """Three sites and the tier above."""
    running = HollowWorld()
    await running.start()
    yield running
    await running.stop()


def writer_of(tier: Tier, key: str) -> str:
    """The component that the table names for ``key``."""
    family, values = find(FAMILIES[tier], key)
    return re.sub(r"\{([a-z_]+)\}", lambda match: values[match.group(1)], family.writer)


def findings(tier: Tier, entries: list[Entry]) -> list[tuple[str, str]]:
    """Every entry, judged as its writer's."""
    found: list[tuple[str, str]] = []
    for entry in entries:
        writer = writer_of(tier, entry.key)
        subject = Subject(Kind.COMPONENT, tier, writer, Role(writer, ()))
        found += judge_entries(subject, [entry], time.time())
    return found


async def everything(store: MemoryStore) -> list[Entry]:
    """All of it, without what the test wrote."""
    entries = (await store.snapshot("/isthmus/v1/")).entries
    return [entry for entry in entries if loose(entry.value).origin not in BY_THE_TEST]


async def test_all_that_our_components_write_keeps_the_page(world: HollowWorld) -> None:
    """Keys, bodies, origins, times, leases: of every component of both tiers that a chain sets to work."""
    await world.apply(chain())
    await world.until("web", "running")
    stores = [
        (Tier.GLOBAL, world.store),
        *((Tier.SITE, site.store) for site in world.sites.values()),
    ]
    writers: set[tuple[Tier, str]] = set()
    for tier, store in stores:
        entries = await everything(store)
        assert findings(tier, entries) == []
        writers |= {(tier, writer_of(tier, entry.key)) for entry in entries}
    assert {(Tier.GLOBAL, name) for name in ("intake", "placer", "wiring", "reporter")} <= writers
    assert {(Tier.SITE, name) for name in ("placer", "launcher.h1", "summarizer")} <= writers


async def test_a_value_under_a_false_name_is_noticed(world: HollowWorld) -> None:
    """Planted: a component that writes another's family."""
    stamp = Stamp(origin="spiffe://carrier.example/site/milan/monitor", incarnation="1")
    store = world.sites["milan"].store
    value = seal(HealRequest(instance="i-1", lost_incarnation=1, reason="x"), stamp, as_of=1.0)
    await store.put(HEAL_REQUESTS.key(instance="i-1"), value)
    entry = await store.get(HEAL_REQUESTS.key(instance="i-1"))
    assert entry is not None
    assert [clause for clause, _ in findings(Tier.SITE, [entry])] == ["V3"]
