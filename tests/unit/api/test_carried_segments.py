"""What a tier carries for peers is in its lists, with whose it is; a tenant's token sees its own tenant's only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.api_world import api_world

from isthmus.contract import Tier, families
from isthmus.contract.chain import FunctionSpec, Segment, Terminal
from isthmus.contract.world import CarriedSegment


def carried(tenant: str, chain: str, peer: str = "carrier-a") -> CarriedSegment:
    end = Terminal(kind="attachment", name="customer")
    function = FunctionSpec(name="fw", type="firewall")
    segment = Segment(tenant=tenant, chain=chain, functions=(function,), left=end, right=end)
    return CarriedSegment(segment=segment, source=peer)


async def hold(world: Any, *segments: CarriedSegment) -> None:
    for one in segments:
        names = {"tenant": one.segment.tenant, "chain": one.segment.chain}
        await world.write(families.G_SEGMENTS, one, **names)


async def test_the_list_of_a_tier_has_what_it_carries_for_peers() -> None:
    """Why: an operator saw only what the own users asked for; a full site, and nobody to be found who filled it."""
    async with api_world(Tier.GLOBAL) as world:
        await hold(world, carried("acme", "a"), carried("bolt", "b", "carrier-b"))
        rows = (await world.get("/v1/chains"))["chains"]
        told = [(row["tenant"], row["chain"], row["source"], row["functions"]) for row in rows]
        assert told == [
            ("acme", "a", "carrier-a", ["fw"]),
            ("bolt", "b", "carrier-b", ["fw"]),
        ]


async def test_one_that_is_carried_has_its_page() -> None:
    """Why: what is listed must be found when it is asked for."""
    async with api_world(Tier.GLOBAL) as world:
        await hold(world, carried("acme", "a"))
        detail = await world.get("/v1/chains/acme/a")
        assert detail["row"]["source"] == "carrier-a"
        assert detail["record"]["segment"]["functions"][0]["name"] == "fw"
        assert detail["request"] is None


async def test_a_name_of_our_own_user_is_shown_as_his() -> None:
    """Why: ours win the name; for the moment until intake drops the peer's segment both are there."""
    async with api_world(Tier.GLOBAL) as world:
        await hold(world, carried("acme", "a"))
        entry = await world.store.get(families.G_SEGMENTS.key(tenant="acme", chain="a"))
        assert entry is not None
        await world.store.put(families.G_INTENTS.key(tenant="acme", chain="a"), b"{}")
        rows = (await world.get("/v1/chains"))["chains"]
        assert [row["source"] for row in rows] == ["local"]


async def test_a_segment_that_cannot_be_read_takes_no_list_down() -> None:
    """Why: one bad writer must not hide everything else."""
    async with api_world(Tier.GLOBAL) as world:
        await hold(world, carried("acme", "a"))
        await world.store.put(families.G_SEGMENTS.key(tenant="acme", chain="b"), b"{")
        rows = (await world.get("/v1/chains"))["chains"]
        assert ("a", "carrier-a") in [(row["chain"], row["source"]) for row in rows]


async def test_a_tenants_token_sees_its_own_tenant_only(tmp_path: Path) -> None:
    """Why: whom a carrier serves for others is nobody's business but theirs. (Mutant: the whole family is read.)"""
    async with api_world(Tier.GLOBAL, folder=tmp_path) as world:
        await hold(world, carried("acme", "a"), carried("globex", "g"))
        rows = (await world.get("/v1/chains", who="acme"))["chains"]
        assert [(row["tenant"], row["chain"]) for row in rows] == [("acme", "a")]
        async with world.client("acme") as client:
            assert (await client.get("/v1/chains/globex/g")).status_code == 404
