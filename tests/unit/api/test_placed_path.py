"""Where a chain goes while nobody may be believed about how it fares: the decision is known, the report not (G12)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.api_world import ApiWorld, api_world, spec

from isthmus.cli import show
from isthmus.contract import Tier, families
from isthmus.contract.chain import (
    ChainPlan,
    ChainStatus,
    FunctionSpec,
    Phase,
    PlannedFunction,
    Segment,
    Terminal,
)
from isthmus.contract.world import PlacedFunction, PlacedSegment, Placement

NAMES: dict[str, Any] = {"tenant": "acme", "chain": "shop"}


def plan(host: str) -> ChainPlan:
    """A site's plan: the guard on ``host``."""
    guard = PlannedFunction(
        function="guard", type="firewall", version="1", instance="i-1", host=host, incarnation=1
    )
    return ChainPlan(functions=(guard,))


def placement(*sites: str) -> Placement:
    """The global placement: the guard at the first site, the others only carry the chain through."""
    end = Terminal(kind="attachment", name="customer")
    guard = FunctionSpec(name="guard", type="firewall")
    segments = tuple(
        PlacedSegment(
            site=site,
            segment=Segment(
                tenant="acme", chain="shop", left=end, right=end, functions=(guard,) * (not index)
            ),
        )
        for index, site in enumerate(sites)
    )
    return Placement(
        epoch=1, functions=(PlacedFunction(function="guard", site=sites[0]),), segments=segments
    )


async def paths(world: ApiWorld, who: str = "operator") -> list[list[str]]:
    """As the list and as the detail show it."""
    (listed,) = (await world.get("/v1/chains", who=who))["chains"]
    row = (await world.get("/v1/chains/acme/shop", who=who))["row"]
    assert listed["phase"] == row["phase"] == "unknown"
    return [listed["path"], row["path"]]


async def test_an_old_report_leaves_the_path_that_is_ordered(tmp_path: Path) -> None:
    """Why: "path -" beside "unknown" looked as if the chain were nowhere; the placer may have moved it, so the plan
    counts and not the report. A tenant sees no host."""
    async with api_world(folder=tmp_path) as world:
        await world.apply(spec())
        status = ChainStatus(phase=Phase.RUNNING, path=("milan/h1/guard",), connected_hops=2)
        await world.write(families.STATUS, status, ttl_s=10.0, **NAMES)
        await world.write(families.PLANS, plan("h2"), **NAMES)
        world.clock.now_s += 11.0
        assert await paths(world) == [["milan/h2/guard"]] * 2
        assert await paths(world, who="acme") == [["milan/guard"]] * 2


async def test_a_silent_site_leaves_the_path_of_the_placement() -> None:
    """Why: the tier's reporter says "unknown" when one site is silent; where the chain was put the tier knows best."""
    async with api_world(Tier.GLOBAL) as world:
        status = ChainStatus(phase=Phase.UNKNOWN, reason="zurich was last heard of 40 s ago")
        await world.write(families.G_STATUS, status, ttl_s=15.0, **NAMES)
        await world.write(families.G_PLACEMENTS, placement("milan", "zurich"), **NAMES)
        assert await paths(world) == [["milan/guard", "zurich"]] * 2


@pytest.mark.parametrize("garbage", [False, True], ids=["none", "unreadable"])
async def test_without_a_plan_it_says_unknown(garbage: bool) -> None:
    """Why: no path is no answer; what nobody knows is called so, also when a plan cannot be read."""
    async with api_world() as world:
        await world.apply(spec())
        status = ChainStatus(phase=Phase.RUNNING, path=("milan/h1/guard",))
        await world.write(families.STATUS, status, ttl_s=10.0, **NAMES)
        if garbage:
            await world.store.put(families.PLANS.key(**NAMES), b"{")
        world.clock.now_s += 11.0
        assert await paths(world) == [[]] * 2
        row = (await world.get("/v1/chains/acme/shop"))["row"]
        assert show.path(row) == "unknown"
        assert "unknown" in show.chain_rows([row], wide=True).splitlines()[1].split()[-12:]


async def test_a_chain_that_is_reported_shows_its_reported_path() -> None:
    """Why: what runs is what was reported, not what was ordered a moment ago."""
    async with api_world() as world:
        await world.apply(spec())
        status = ChainStatus(phase=Phase.RUNNING, path=("milan/h1/guard",))
        await world.write(families.STATUS, status, ttl_s=10.0, **NAMES)
        await world.write(families.PLANS, plan("h2"), **NAMES)
        (row,) = (await world.get("/v1/chains"))["chains"]
        assert row["path"] == ["milan/h1/guard"]


async def test_of_many_chains_each_gets_its_own_path() -> None:
    """Why: plans are asked for in one go, a hundred at a time; none may end up beside another's name."""
    async with api_world() as world:
        for number in range(120):
            names: dict[str, Any] = {"tenant": "acme", "chain": f"c{number:03d}"}
            await world.write(families.STATUS, ChainStatus(), ttl_s=10.0, **names)
            if number % 3:
                await world.write(families.PLANS, plan(f"h{number}"), **names)
        world.clock.now_s += 11.0
        rows = (await world.get("/v1/chains"))["chains"]
        assert [row["path"] for row in rows] == [
            [f"milan/h{number}/guard"] if number % 3 else [] for number in range(120)
        ]
