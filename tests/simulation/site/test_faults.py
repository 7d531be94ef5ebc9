"""What goes wrong at a site, on keys alone: deaths between two writes, two leaders, peers that err, garbage."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.simulation.site.wishes import (
    admitted,
    ask,
    explained,
    record,
    segment,
)
from tests.simulation.site.world import STAMP, HollowSite
from tests.support import eventually

from isthmus.contract import Stamp, seal
from isthmus.contract.chain import (
    ChainPlan,
    ChainSpec,
    Explanation,
    Segment,
    SegmentIntent,
    WirePeer,
)
from isthmus.contract.families import FAMILIES, LEASES, PLANS, REMOTE
from isthmus.contract.family import Tier
from isthmus.infrastructure.hollow import HollowCompute
from isthmus.infrastructure.ports import Capability
from isthmus.kv.memory import MemoryStore
from isthmus.kv.port import Txn, TxnResult
from isthmus.microcontroller import Fence, NotLeader, Runner, State, Surroundings, Writer
from isthmus.site.placer import Placer

ROOT = "/isthmus/v1/"


@pytest.fixture
async def site() -> AsyncIterator[HollowSite]:
    running = HollowSite(MemoryStore())
    running.start()
    yield running
    await running.stop()


def chain(name: str = "web", ends: str = "h1-a h1-b", tenant: str = "acme") -> ChainSpec:
    ingress, egress = ends.split()
    return ChainSpec.model_validate(
        {
            "tenant": tenant,
            "chain": name,
            "ingress": {"attachment": ingress},
            "egress": {"attachment": egress},
            "functions": [
                {"name": "fw", "type": "firewall", "config": {"default_policy": "accept"}},
                {"name": "nat", "type": "nat", "config": {"address": "203.0.113.10"}},
            ],
        }
    )


async def refusal(site: HollowSite, name: str) -> Explanation:
    """Wait until intake refuses."""

    async def refused() -> Explanation | None:
        found = await explained(site, name)
        return found if found is not None and found.decision == "refused" else None

    found: Explanation | None = await eventually(refused, f"{name} is refused")
    assert found is not None
    return found


class DyingStore:
    """A store whose owner dies right after its n-th transaction was committed: the answer never arrives."""

    def __init__(self, inner: MemoryStore, transactions: int) -> None:
        self._inner, self._left = inner, transactions
        self.dead = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def txn(self, txn: Txn, *, timeout_s: float = 5.0) -> TxnResult:
        result = await self._inner.txn(txn, timeout_s=timeout_s)
        self._left -= 1
        if self._left <= 0:
            self.dead.set()
            await asyncio.Event().wait()
        return result


# ---- deaths


@pytest.mark.parametrize("transactions", [2, 3, 5])
@pytest.mark.parametrize(
    "component", ["intake", "placer", "configurator", "credentials", "launcher.h1", "chaining.h1"]
)
async def test_a_death_between_two_writes_is_made_good(
    site: HollowSite, component: str, transactions: int
) -> None:
    """Why: a controller may end after any write; the next life must finish the work, and never do it twice."""
    await site.kill(component)
    dying = DyingStore(site.store, transactions)
    site.start_component(component, dying)
    await site.apply(chain())
    running = asyncio.ensure_future(site.until("acme", "web", "running"))
    dead = asyncio.ensure_future(dying.dead.wait())
    await asyncio.wait({running, dead}, return_when=asyncio.FIRST_COMPLETED)
    dead.cancel()
    await site.kill(component)
    site.start_component(component)
    status = await running
    assert [f.incarnation for f in status.functions] == [1, 1]
    assert len(site.panels["h1"].panel.cords) == 3


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
async def test_any_order_of_wishes_deaths_and_losses_ends_well(site: HollowSite, seed: int) -> None:
    """Why: nobody can list all orders of events; whatever the dice say, what is asked for is what is patched."""
    dice = random.Random(seed)
    wanted: dict[str, ChainSpec] = {}
    ends = {"one": "h1-a h1-b", "two": "h2-a h2-b"}
    for _ in range(25):
        step = dice.choice(("apply", "delete", "kill", "kill", "lose", "breathe"))
        name = dice.choice(sorted(ends))
        if step == "apply":
            wanted[name] = chain(name, ends[name])
            await site.apply(wanted[name])
        elif step == "delete" and wanted.pop(name, None) is not None:
            await site.store.delete(f"{ROOT}requests/local/acme/{name}")
        elif step == "kill":
            component = dice.choice(sorted(set(site.tasks) - {"agent"}))
            await site.kill(component)
            site.start_component(component)
        elif step == "lose":
            host = dice.choice(("h1", "h2"))
            states = await site.compute[host].list_instances()
            if states:
                site.compute[host].lose_instance(dice.choice(states).instance_id)
        for _ in range(dice.randrange(20)):
            await asyncio.sleep(0)

    async def settled() -> bool:
        cords = dict.fromkeys(ends, 0)
        for name in ends:
            status = await site.status("acme", name)
            if (status is not None and status.phase.value == "running") != (name in wanted):
                return False
            cords[name] = 3 if name in wanted else 0
        patched = sum(len(panel.panel.cords) for panel in site.panels.values())
        built = [s for host in site.compute.values() for s in await host.list_instances()]
        return patched == sum(cords.values()) and len(built) == 2 * len(wanted)

    # the healer waits before the fourth life in a minute, so this may take a few seconds
    await eventually(settled, f"seed {seed}: {sorted(wanted)} and nothing else", timeout_s=60)


async def test_a_restart_of_all_adopts_what_is_there(site: HollowSite) -> None:
    """Why: an upgrade of the manager must be invisible to packets: same sandboxes, same plans, same lives."""
    await site.apply(chain())
    await site.until("acme", "web", "running")
    built = {s.instance_id: s.sandbox for s in await site.compute["h1"].list_instances()}
    plan = await site.store.get(PLANS.key(tenant="acme", chain="web"))
    panels = list(site.panels["h1"].history)
    for component in sorted(set(site.tasks) - {"agent"}):
        await site.kill(component)
    for controller in site.controllers():
        site.start_one(controller)
    await site.apply(chain("two", "h2-a h2-b"))
    await site.until("acme", "two", "running")
    after = {s.instance_id: s.sandbox for s in await site.compute["h1"].list_instances()}
    assert {name: after[name] for name in built} == built
    assert await site.store.get(PLANS.key(tenant="acme", chain="web")) == plan
    assert all(len(panel.cords) >= 3 for panel in site.panels["h1"].history[len(panels):])  # fmt: skip


# ---- leadership


async def test_of_two_placers_one_writes(site: HollowSite) -> None:
    """Why: two leaders that both place would give one host's room twice."""
    second = Runner(Placer(), site.store, origin="test/second")
    task = asyncio.create_task(second.run())
    try:
        await site.apply(chain())
        await site.until("acme", "web", "running")
        assert not second.health.ready
        assert second.health.settled_total == 0
        await site.kill("placer")
        await eventually(lambda: second.health.ready, "the second leads when the first is gone")
        await site.apply(chain("two", "h2-a h2-b"))
        await site.until("acme", "two", "running")
    finally:
        second.stop()
        await asyncio.wait_for(task, 10)


async def test_a_leader_that_is_replaced_cannot_write_any_more(site: HollowSite) -> None:
    """Why: a placer that slept through its own succession wakes with old decisions; the store must refuse them."""
    await site.apply(chain())
    await site.until("acme", "web", "running")
    lease = LEASES.key(component="placer")
    old = await site.store.get(lease)
    assert old is not None
    stamp = Stamp(origin="test", incarnation="old")
    fence = Fence(lease, old.create_revision)
    writer = Writer(site.store, State(), stamp, Surroundings(), fence)
    key = PLANS.key(tenant="acme", chain="web")
    await site.store.delete(lease)  # what the store does when a lease runs out
    await site.kill("placer")
    site.start_component("placer")

    async def succeeded() -> bool:
        now = await site.store.get(lease)
        return now is not None and now.create_revision > old.create_revision

    await eventually(succeeded, "another life leads")
    before = await site.store.get(key)
    with pytest.raises(NotLeader):
        await writer.put(key, ChainPlan())
    with pytest.raises(NotLeader):
        await writer.delete(key)
    assert await site.store.get(key) == before


# ---- peers


async def test_an_older_epoch_is_refused(site: HollowSite) -> None:
    """Why: a tier that was restored from an old backup must not move chains back."""
    await ask(site, segment("aged", epoch=5))
    await admitted(site, "aged")
    await ask(site, segment("aged", epoch=4, bandwidth_kbps=7))
    found = await refusal(site, "aged")
    assert found.constraint == "epoch"
    assert "4 is older than 5" in found.reason
    kept = await record(site, "aged")
    assert kept is not None
    assert kept.segment.epoch == 5
    await ask(site, segment("aged", epoch=6))

    async def newer() -> bool:
        now = await record(site, "aged")
        return now is not None and now.segment.epoch == 6

    await eventually(newer, "a newer epoch is taken")


@pytest.mark.parametrize(
    ("name", "wanted", "constraint"),
    [
        ("mask", segment("web"), "name"),
        ("twins", segment("twins", functions=[
            {"name": "fw", "type": "firewall", "config": {"default_policy": "accept"}},
            {"name": "fw", "type": "nat", "config": {"address": "203.0.113.1"}}]), "name"),
        ("strange", segment("strange", functions=[{"name": "x", "type": "quantum"}]),
         "function type"),
        ("steal", segment("steal", left={"kind": "attachment", "name": "h1-a"}),
         "attachment-taken"),
        ("away", segment("away", left={"kind": "attachment", "name": "not-here"}), "attachment"),
    ],
)  # fmt: skip
async def test_what_a_peer_may_not_ask_is_refused_and_nothing_else_suffers(
    site: HollowSite, name: str, wanted: Segment, constraint: str
) -> None:
    """Why: the site decides by itself; a peer's mistake is the peer's, and the reason goes back to it."""
    await site.apply(chain())
    before = await site.until("acme", "web", "running")
    await ask(site, wanted, at=f"acme/{name}")
    assert (await refusal(site, name)).constraint == constraint
    assert await record(site, name) is None
    after = await site.until("acme", "web", "running")
    assert after.functions == before.functions


async def test_a_wire_that_cannot_be_made_stops_no_other_chain(site: HollowSite) -> None:
    """Why: one panel carries all chains of a host; a peer's impossible address must not take them off it."""
    await ask(site, segment("bent"))
    for end, address in (("l", "not an address"), ("r", "999.1.1.1")):
        key = f"{REMOTE.key(peer='global')}wires/w-bent-{end}"
        await site.put(key, WirePeer(wire=f"w-bent-{end}", vni=104, address=address))
    await ask(site, segment("twin1", wires=[{"wire": "w-a", "vni": 7}, {"wire": "w-b", "vni": 7}],
                            left={"kind": "wire", "name": "w-a"},
                            right={"kind": "wire", "name": "w-b"}))  # fmt: skip
    for wire in ("w-a", "w-b"):
        key = f"{REMOTE.key(peer='global')}wires/{wire}"
        await site.put(key, WirePeer(wire=wire, vni=7, address="10.9.9.9"))
    await admitted(site, "bent", "twin1")
    await site.apply(chain())
    await site.until("acme", "web", "running")
    status = await eventually(lambda: site.status("acme", "bent"), "the bent chain has a status")
    assert status is not None
    assert status.phase.value != "running"


# ---- local


async def test_a_circuit_serves_one_chain(site: HollowSite) -> None:
    """Why: packets that arrive at a circuit cannot tell whose they are; the second asker is told who has it."""
    await site.apply(chain("first"))
    await site.until("acme", "first", "running")
    await site.apply(chain("second", "h2-a h1-b"))
    status = await site.until("acme", "second", "refused")
    assert "'h1-b'" in status.reason
    assert "acme/first" in status.reason
    await site.apply(chain("third", "h1-a h2-b", tenant="rival"))
    status = await site.until("rival", "third", "refused")
    assert "another tenant" in status.reason
    assert "first" not in status.reason
    await site.apply(chain("loop", "h2-a h2-a"))
    assert "both ingress and egress" in (await site.until("acme", "loop", "refused")).reason
    await site.until("acme", "first", "running")
    await site.store.delete(f"{ROOT}requests/local/acme/first")
    await site.until("acme", "second", "running")


async def test_a_host_without_a_data_plane_is_named_in_the_refusal() -> None:
    """Why: "does not fit" is not why, when the kernel refused namespaces to the site."""

    class Powerless(HollowCompute):
        async def probe(self) -> Capability:
            return Capability("none", "none", ("network namespace: operation not permitted",))

    site = HollowSite(MemoryStore(), compute={"h1": Powerless()})
    site.start()
    try:
        await site.apply(chain())
        status = await site.until("acme", "web", "refused")
        assert "h1 has no data plane" in status.reason
        assert "not permitted" in status.reason
    finally:
        await site.stop()


async def test_a_hollow_infrastructure_is_labelled(site: HollowSite) -> None:
    """Why: nobody may take a simulation for a network."""
    await site.apply(chain())
    status = await site.until("acme", "web", "running")
    assert "no packets are carried" in status.reason


# ---- garbage

GARBAGE = (
    b"", b"\xff\xfe\x00", b"null", b"[]", b"{}", b'{"schema":"ChainPlan/1"}', b"9" * 70_000,
    b'{"schema":"ChainRecord/1","body":{"segment":{"tenant":"../..","chain":"x"}}}',
    seal(SegmentIntent(segment=segment("elsewhere")), STAMP, as_of=0.0),
)  # fmt: skip
ODD_KEYS = (
    "remote/global/intents/x", "remote/global/intents/a/b/c", "remote/global/intents//",
    "remote/global/wires/", "remote/global/", "remote/global/intents/UPPER/case",
    "remote/stranger/intents/acme/web", "specs/onlyone", "specs/a/b/c", "plans//", "desired/h1/",
    "instances/x", "instances/i-000000000000/applied/more", "unheard/of",
)  # fmt: skip


async def test_foreign_garbage_stops_no_controller(site: HollowSite) -> None:
    """Why: a reader that falls over a value it cannot read gives its writer power over it (attack 13)."""
    await site.until_ready()
    names = {"tenant": "junk", "chain": "junk", "host": "h1", "instance": "i-0123456789ab"}
    for family in FAMILIES[Tier.SITE]:
        if family.retention == "lease":
            continue
        parts = [
            names.get(part[1:-1], "junk") if part.startswith("{") else part
            for part in family.pattern.rstrip("/").split("/")
        ]
        for value in GARBAGE:
            await site.store.put(ROOT + "/".join(parts), value)
    for key in ODD_KEYS:
        await site.store.put(ROOT + key, GARBAGE[-1])
    await site.apply(chain())
    await site.until("acme", "web", "running")
    await site.store.delete(f"{ROOT}requests/local/acme/web")
    await eventually(lambda: not site.panels["h1"].panel.cords, "the chain is taken down")
    for name, task in site.tasks.items():
        assert not task.done(), f"{name} ended"
    for name, runner in site.runners.items():
        assert runner.health.ready, f"{name}: {runner.health.problems}"
