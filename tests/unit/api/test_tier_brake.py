"""A tier that carries segments for a peer has a brake as a site has, and its operator sees and releases it there."""

from __future__ import annotations

from typing import Any

from tests.api_world import NOW, api_world, error_of

from isthmus.contract import Tier, families, unseal
from isthmus.contract.chain import Confirmation, Explanation, Segment, Terminal
from isthmus.contract.world import CarriedSegment, SiteSpec


async def test_a_tier_tells_what_it_holds_and_takes_the_word() -> None:
    """Why: what intake holds for a peer would wait for ever if no operator of the tier could see or confirm it."""
    async with api_world(Tier.GLOBAL) as world:
        end = Terminal(kind="attachment", name="customer")
        segment = Segment(tenant="acme", chain="a", left=end, right=end)
        names: dict[str, Any] = {"tenant": "acme", "chain": "a"}
        carried = CarriedSegment(segment=segment, source="carrier-a")
        await world.write(families.G_SEGMENTS, carried, **names)
        why = Explanation(
            decision="held", source="carrier-a", reason="held", figures={"limit": 3.0}
        )
        await world.write(families.G_EXPLAIN, why, component="intake", **names)
        (row,) = (await world.get("/v1/brakes"))["brakes"]
        assert (row["peer"], row["state"], row["chains"], row["limit"]) == (
            "carrier-a",
            "holding",
            1,
            3,
        )
        assert row["chains_held"] == ["acme/a"]
        async with world.client() as client:
            answer = (await client.put("/v1/brakes/carrier-a", json={"for_s": 60})).json()
        assert (answer["result"], answer["confirmed_until"]) == ("confirmed", NOW + 60)
        entry = await world.store.get(families.G_CONFIRMATIONS.key(peer="carrier-a"))
        assert entry is not None
        assert unseal(entry.value, Confirmation).body.for_s == 60


async def test_a_name_that_a_peer_has_here_is_refused_with_whose_it_is() -> None:
    """Why: our own request would win the name, and the peer's running segment would end for a mistaken name."""
    async with api_world(Tier.GLOBAL) as world:
        end = Terminal(kind="attachment", name="customer")
        segment = Segment(tenant="acme", chain="a", left=end, right=end)
        names: dict[str, Any] = {"tenant": "acme", "chain": "a"}
        carried = CarriedSegment(segment=segment, source="carrier-a")
        await world.write(families.G_SEGMENTS, carried, **names)
        spec = SiteSpec(site="x", attachments=("a", "b"))
        await world.write(families.G_SITES, spec, site="x")
        document = {
            "tenant": "acme",
            "chain": "a",
            "ingress": {"site": "x", "attachment": "a"},
            "egress": {"site": "x", "attachment": "b"},
            "functions": [{"name": "fw", "type": "firewall"}],
        }
        async with world.client() as client:
            error = error_of(await client.put("/v1/chains/acme/a", json=document), 409)
        assert error["code"] == "not-ours"
        assert "carrier-a" in error["message"]
