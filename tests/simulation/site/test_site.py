"""The site's controllers together, on keys alone (R3, R5): what a person asks for is what the panels get."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.simulation.site.world import HollowSite
from tests.support import eventually

from isthmus.contract import unseal
from isthmus.contract.chain import ChainSpec, Explanation
from isthmus.contract.families import EXPLAIN
from isthmus.kv.memory import MemoryStore


@pytest.fixture
async def site() -> AsyncIterator[HollowSite]:
    running = HollowSite(MemoryStore())
    running.start()
    yield running
    await running.stop()


def chain(name: str = "web", **more: object) -> ChainSpec:
    document = {
        "tenant": "acme",
        "chain": name,
        "ingress": {"attachment": "h1-a"},
        "egress": {"attachment": "h1-b"},
        "functions": [
            {"name": "fw", "type": "firewall", "config": {"default_policy": "accept"}},
            {"name": "nat", "type": "nat", "config": {"address": "203.0.113.10"}},
        ],
    }
    return ChainSpec.model_validate({**document, **more})


async def test_a_chain_is_patched_in_order(site: HollowSite) -> None:
    """Why: the whole way from a request to a panel goes over keys only; the hops are in the order of the spec."""
    await site.apply(chain())
    status = await site.until("acme", "web", "running")
    assert [f.function for f in status.functions] == ["fw", "nat"]
    assert status.hops == status.connected_hops == 3
    cords = site.panels["h1"].panel.cords
    assert len(cords) == 3
    assert cords[0].a == "hollow-h1-a"
    assert cords[-1].b == "hollow-h1-b"


async def test_an_accepted_chain_names_the_second_best_hosts(site: HollowSite) -> None:
    """Why: a site decides over its own hosts with the same engine, and answers "why there?" the same way."""
    await site.apply(chain())
    await site.until("acme", "web", "running")
    key = EXPLAIN.key(component="placer", tenant="acme", chain="web")

    async def told() -> Explanation | None:
        entry = await site.store.get(key)
        return None if entry is None else unseal(entry.value, Explanation).body

    explanation = await eventually(told, "the placer explains")
    assert explanation is not None
    assert explanation.decision == "accepted"
    assert [one.name for one in explanation.candidates] in (["h1 > h2"], ["h2 > h1"], ["h2 > h2"])
    assert explanation.candidates[0].verdict.startswith("runner-up, costs ")


async def test_deleting_a_chain_leaves_nothing(site: HollowSite) -> None:
    """Why: what is left behind of a deleted chain is somebody's capacity, forever."""
    await site.apply(chain())
    await site.until("acme", "web", "running")
    await site.store.delete("/isthmus/v1/requests/local/acme/web")

    async def clean() -> bool:
        left = [
            entry.key
            for entry in (await site.store.snapshot("/isthmus/v1/")).entries
            if entry.key.split("/")[3]
            in {"specs", "plans", "desired", "runtime", "status", "cords", "csr", "certificates",
                "config", "config-owner", "health"}
        ]  # fmt: skip
        return not left

    await eventually(clean, "no key of the chain is left")
    assert not site.panels["h1"].panel.cords
    assert not site.users.names


async def test_a_lost_instance_gets_a_new_life(site: HollowSite) -> None:
    """Why: a rebuilt sandbox must not be mistaken for the one that was configured (fail closed)."""
    await site.apply(chain())
    status = await site.until("acme", "web", "running")
    lost = status.functions[0].instance
    site.compute["h1"].lose_instance(lost)

    async def healed() -> bool:
        now = await site.status("acme", "web")
        return now is not None and now.phase == "running" and now.functions[0].incarnation == 2

    await eventually(healed, "a second life runs")
    without = [p for p in site.panels["h1"].history if 0 < len(p.cords) < 3]
    assert without, "the lost instance's hops were taken off the panel in between"


async def test_an_unknown_type_is_refused_with_what_there_is(site: HollowSite) -> None:
    """Why: a refusal that names field, value and fix saves a call to support."""
    bad = chain(functions=[{"name": "x", "type": "quantum", "config": {}}])
    await site.apply(bad)
    status = await site.until("acme", "web", "refused")
    assert "quantum" in status.reason
    assert "firewall" in status.reason


async def test_too_large_a_chain_is_refused_with_the_number(site: HollowSite) -> None:
    """Why: "does not fit" without the number that failed helps nobody (pain 5)."""
    big = chain(
        functions=[
            {"name": "fw", "type": "firewall", "resources": {"cpu_milli": 5000, "memory_mib": 1},
             "config": {"default_policy": "accept"}}
        ]
    )  # fmt: skip
    await site.apply(big)
    status = await site.until("acme", "web", "refused")
    assert "5000" in status.reason


async def test_a_chain_over_two_hosts_gets_a_wire_between_them(site: HollowSite) -> None:
    """Why: hosts are namespaces of their own; what crosses between them needs a wire at both ends."""
    wide = chain(
        egress={"attachment": "h2-b"},
        constraints={"anti_affinity": [["fw", "nat"]]},
    )
    await site.apply(wide)
    await site.until("acme", "web", "running")
    left, right = site.panels["h1"].panel.wires, site.panels["h2"].panel.wires
    assert [w.vni for w in left] == [w.vni for w in right]
    assert left[0].remote_ip == right[0].local_ip


@pytest.mark.parametrize(
    "component", ["intake", "placer", "configurator", "launcher.h1", "chaining.h1", "healer"]
)
async def test_a_killed_controller_is_replaced_and_adopts(site: HollowSite, component: str) -> None:
    """Why: a restart adopts what runs and never rebuilds it (DESIGN section 5)."""
    await site.apply(chain())
    before = await site.until("acme", "web", "running")
    await site.kill(component)
    for controller in site.controllers():
        if controller.component == component:
            site.start_one(controller)
    await site.apply(chain("second", ingress={"attachment": "h2-a"},
                           egress={"attachment": "h2-b"}))  # fmt: skip
    await site.until("acme", "second", "running")
    after = await site.until("acme", "web", "running")
    assert [f.incarnation for f in after.functions] == [f.incarnation for f in before.functions]
