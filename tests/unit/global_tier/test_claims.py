"""Claims of numbers without a wire are freed, and only those: a number given twice mixes two tenants' packets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from tests.unit.global_tier.test_representative import placed

from isthmus.contract import Body, Stamp, seal
from isthmus.contract.chain import WirePeer
from isthmus.contract.families import G_PLACEMENTS, G_SITES, G_VNIS, G_WIRES
from isthmus.contract.scopes import site_wire_prefix
from isthmus.contract.world import SiteSpec, VniClaim, Wire
from isthmus.global_tier.wiring import CLAIMS, Wiring
from isthmus.kv.memory import MemoryStore
from isthmus.kv.port import Entry
from isthmus.microcontroller import Context, State, Surroundings, Writer

STAMP = Stamp(origin="test/wiring", incarnation="first")
CLAIM = G_VNIS.key(number="1000")
WIRE = placed().wires[0].wire


@dataclass
class Shown:
    """A mirror that shows what a test lets it."""

    entries: Mapping[str, Entry]
    revision: int


async def put(store: MemoryStore, key: str, body: Body) -> None:
    """As its owner does."""
    await store.put(key, seal(body, STAMP, as_of=0.0))


async def after_a_look(store: MemoryStore, *unheard: str) -> bool:
    """Does the claim still stand? ``unheard``: prefixes whose mirror has nothing yet."""
    state = State()
    for watched in Wiring().watches:
        heard = () if watched in unheard else (await store.snapshot(watched)).entries
        state.mirrors[watched] = Shown({entry.key: entry for entry in heard}, store.revision)
    surroundings = Surroundings()
    context = Context("wiring", state, Writer(store, state, STAMP, surroundings), surroundings)
    await Wiring().reconcile(CLAIMS, context)
    return await store.get(CLAIM) is not None


@pytest.fixture
async def store() -> MemoryStore:
    """A number is claimed for a wire."""
    made = MemoryStore()
    await put(made, CLAIM, VniClaim(wire=WIRE))
    await put(made, G_SITES.key(site="tokyo"), SiteSpec(site="tokyo", region="all", country="jp"))
    return made


async def test_a_claim_for_no_wire_is_freed(store: MemoryStore) -> None:
    """Why: the bug: a restored tier leaked numbers (carrier, seed 1 of store.rollback alone)."""
    assert not await after_a_look(store)


async def test_a_claim_for_a_wire_that_is_to_come_stands(store: MemoryStore) -> None:
    """Why: between the claim and the wire a life may end; its next one finds the claim again."""
    await put(store, G_PLACEMENTS.key(tenant="acme", chain="web"), placed())
    assert await after_a_look(store)


async def test_a_claim_for_a_wire_that_was_not_heard_of_stands(store: MemoryStore) -> None:
    """Why: each prefix is watched apart; a number that is in use must not be given again."""
    wire = Wire(wire=WIRE, vni=1000, tenant="acme", chain="web", left_site="a", right_site="b")
    await put(store, G_WIRES.key(wire=WIRE), wire)
    assert await after_a_look(store, G_WIRES.prefix())


async def test_a_claim_for_a_wire_that_a_site_still_ends_stands(store: MemoryStore) -> None:
    """Why: who is cut off goes on sending under the number; another tenant's chain must not get it."""
    end = WirePeer(wire=WIRE, vni=1000, address="10.0.0.1")
    await put(store, f"{site_wire_prefix('tokyo')}{WIRE}", end)
    assert await after_a_look(store)
