"""Two tiers on keys alone (R44, R61): placed above, admitted and patched below, reported back; nothing else crosses."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.simulation.global_tier.world import HollowWorld, chain
from tests.support import eventually

from isthmus.contract import unseal
from isthmus.contract.chain import Explanation
from isthmus.contract.families import G_EXPLAIN, G_PLACEMENTS, G_REQUESTS
from isthmus.contract.world import Placement


@pytest.fixture
async def world() -> AsyncIterator[HollowWorld]:
    running = HollowWorld()
    await running.start()
    yield running
    await running.stop()


async def test_a_chain_over_two_sites_is_carried_by_both(world: HollowWorld) -> None:
    """Why: neither the field's orchestrators nor a site alone can split a chain; the wire must meet at both ends."""
    await world.apply(chain())
    status = await world.until("web", "running")
    assert status.model_latency_ms == 5.0
    milan, paris = (world.sites[name].panels["h1"].panel for name in ("milan", "paris"))
    assert [w.vni for w in milan.wires] == [w.vni for w in paris.wires] == [1000]
    assert milan.wires[0].remote_ip == paris.wires[0].local_ip
    assert paris.wires[0].remote_ip == milan.wires[0].local_ip


async def test_a_chain_that_turns_back_visits_a_site_twice(world: HollowWorld) -> None:
    """Why: a hair-pin is legal and sometimes the only way; two segments at one site must not overwrite each other."""
    turning = chain(
        egress={"site": "milan", "attachment": "milan-b"}, constraints={"sites": ["paris"]}
    )
    await world.apply(turning)
    await world.until("web", "running")
    assert len(world.sites["milan"].panels["h1"].panel.wires) == 2
    assert len(world.sites["paris"].panels["h1"].panel.wires) == 2


async def test_deleting_above_removes_below(world: HollowWorld) -> None:
    """Why: what is left at a site after a deletion above is capacity nobody can use."""
    await world.apply(chain())
    await world.until("web", "running")
    await world.store.delete(G_REQUESTS.key(tenant="acme", chain="web"))

    async def clean() -> bool:
        left = [
            entry.key
            for store in (world.store, *(site.store for site in world.sites.values()))
            for entry in (await store.snapshot("/isthmus/v1/")).entries
            if "/web" in entry.key or "/w-" in entry.key or "/vnis/" in entry.key
        ]
        return not left

    await eventually(clean, "no key of the chain is left anywhere")


@pytest.mark.parametrize(
    ("more", "constraint", "words"),
    [
        ({"latency_budget_ms": 1}, "latency", ["5", "1"]),
        ({"bandwidth_kbps": 200_000}, "bandwidth", ["200000", "100000"]),
        ({"constraints": {"countries": ["us"]}}, "sites", ["us"]),
        ({"constraints": {"owners": ["nobody"]}}, "sites", ["nobody"]),
    ],
)
async def test_a_refusal_names_the_constraint_and_the_number(
    world: HollowWorld, more: dict[str, object], constraint: str, words: list[str]
) -> None:
    """Why: "no clusters fit" and nothing else is the field's oldest complaint (pain 5)."""
    await world.apply(chain("good"))
    await world.until("good", "running")
    await world.apply(chain("bad", ingress={"site": "milan", "attachment": "milan-b"},
                            egress={"site": "paris", "attachment": "paris-b"}, **more))  # fmt: skip
    status = await world.until("bad", "refused", lambda status: "summary" not in status.reason)
    entry = await world.store.get(G_EXPLAIN.key(component="placer", tenant="acme", chain="bad"))
    assert entry is not None
    explanation = unseal(entry.value, Explanation).body
    assert explanation.constraint == constraint, explanation
    said = status.reason + str(explanation)
    assert all(word in said for word in words), said


async def test_an_accepted_chain_names_its_runner_up_and_the_price(world: HollowWorld) -> None:
    """Why: "why there?" is answered by what the second best would have cost, at the tier and at each site."""
    await world.apply(chain())
    await world.until("web", "running")
    entry = await world.store.get(G_EXPLAIN.key(component="placer", tenant="acme", chain="web"))
    assert entry is not None
    explanation = unseal(entry.value, Explanation).body
    assert explanation.decision == "accepted"
    (second,) = explanation.candidates
    assert second.verdict.startswith("runner-up, costs ")
    assert second.cost is not None
    assert second.cost >= explanation.figures["cost"]
    places = second.name.split(" > ")
    assert len(places) == 2
    assert set(places) <= {"milan", "paris", "partner"}
    chosen = [step.split(" at ")[1] for step in explanation.reason.split(", ")]
    assert places != chosen


async def test_an_accepted_chain_is_explained_as_of_the_newest_request(world: HollowWorld) -> None:
    """Why: mirrors that are quiet stay behind; of their revision "accepted" read as if it were of an older request."""
    await world.apply(chain("first"))
    await world.until("first", "running")
    await world.apply(chain("web", ingress={"site": "milan", "attachment": "milan-b"},
                            egress={"site": "paris", "attachment": "paris-b"}))  # fmt: skip
    await world.until("web", "running")
    request = await world.store.get(G_REQUESTS.key(tenant="acme", chain="web"))
    entry = await world.store.get(G_EXPLAIN.key(component="placer", tenant="acme", chain="web"))
    assert request is not None
    assert entry is not None
    assert unseal(entry.value, Explanation).body.input_revision >= request.mod_revision


async def test_what_stands_stays_when_summaries_move(world: HollowWorld) -> None:
    """Why: moving chains with every headroom report is churn; a placement changes with its intent."""
    await world.apply(chain("one"))
    await world.until("one", "running")
    key = G_PLACEMENTS.key(tenant="acme", chain="one")
    before = await world.store.get(key)
    await world.apply(chain("two", ingress={"site": "milan", "attachment": "milan-b"},
                            egress={"site": "paris", "attachment": "paris-b"}))  # fmt: skip
    await world.until("two", "running")
    after = await world.store.get(key)
    assert before is not None
    assert after is not None
    assert after.mod_revision == before.mod_revision
    assert unseal(after.value, Placement).body.epoch >= 1


async def test_nothing_but_summaries_crosses(world: HollowWorld) -> None:
    """Why: inventories, host and instance names stay inside a site (R61); a partner sees only its own segment."""
    await world.apply(chain())
    await world.until("web", "running")
    up = {key for link, _ in world.links.values() for key in link.crossed}
    assert up
    assert all("/summary/" in key for key in up)
    entries = (await world.store.snapshot("/isthmus/v1/remote/")).entries
    assert entries
    assert not [e.key for e in entries if b'"h1"' in e.value or b'"i-' in e.value]
    down = world.links["partner"][1].crossed
    assert not [key for key in down if "web" in key]
