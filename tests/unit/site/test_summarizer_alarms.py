"""What the shipped summarizer makes of the store: alarms by count, never by name, with the beginning that they had."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from isthmus.contract.chain import (
    ChainPlan,
    ChainRecord,
    ChainStatus,
    Explanation,
    FunctionSpec,
    Phase,
    PlannedFunction,
    Resources,
    Segment,
    Terminal,
)
from isthmus.contract.envelope import Body, Stamp, seal, unseal
from isthmus.contract.families import EXPLAIN, INVENTORY, PLANS, SITE_SUMMARY, SPECS, STATUS
from isthmus.contract.family import Family
from isthmus.contract.instance import HostInventory, SiteSummary
from isthmus.kv.memory import MemoryStore
from isthmus.kv.port import Entry
from isthmus.microcontroller import Context, State, Surroundings, Writer
from isthmus.site import summarizer

START_S = 1_800_000_000.0
STAMP = Stamp(origin="spiffe://carrier.example/site/milan/test", incarnation="1")


@dataclass
class Held:
    """A mirror without a store."""

    entries: dict[str, Entry] = field(default_factory=dict)
    revision: int = 1

    def put(self, key: str, value: bytes) -> None:
        self.revision += 1
        self.entries[key] = Entry(key, value, 1, self.revision, 1)


@dataclass
class Desk:
    """The summarizer over facts that a test writes; ``now_s`` moves when the test says so."""

    now_s: float = START_S
    store: MemoryStore = field(default_factory=MemoryStore)
    mirrors: dict[str, Held] = field(default_factory=dict)

    def say(self, family: Family, body: Body, ttl_s: float = 0.0, **names: str) -> None:
        held = self.mirrors.setdefault(family.prefix(), Held())
        held.put(family.key(**names), seal(body, STAMP, as_of=self.now_s, ttl_s=ttl_s))

    async def told(self) -> SiteSummary:
        surroundings = Surroundings(now=lambda: self.now_s)
        state = State(dict(self.mirrors))
        writer = Writer(self.store, state, STAMP, surroundings)
        context = Context("summarizer", state, writer, surroundings)
        await summarizer.Summarizer("milan").reconcile(summarizer.SITE, context)
        entry = await self.store.get(SITE_SUMMARY.key())
        assert entry is not None
        return unseal(entry.value, SiteSummary).body

    def status(self, chain: str, phase: Phase, ttl_s: float = 0.0) -> None:
        self.say(STATUS, ChainStatus(phase=phase), ttl_s, tenant="acme", chain=chain)


@pytest.fixture
def desk() -> Desk:
    """Two hosts of four cores; the second will not be heard of after 30 s."""
    made = Desk()
    for host, ttl_s in (("rack-1", 0.0), ("rack-2", 30.0)):
        made.say(
            INVENTORY, HostInventory(host=host, cpu_milli=4000, memory_mib=64), ttl_s, host=host
        )
    return made


async def test_a_calm_site_has_no_alarm(desk: Desk) -> None:
    """Why: pending and running chains are everyday life."""
    desk.status("a", Phase.RUNNING)
    desk.status("b", Phase.PENDING)
    body = await desk.told()
    assert body.alarms == ()
    assert body.told["alarms"].values == (0.0,) * 5
    assert body.free_cpu_slots == (0, 0, 0, 0, 0, 2, 0, 0)


async def test_each_trouble_is_counted_and_the_worst_comes_first(desk: Desk) -> None:
    """Why: what the site's own store shows is what the tier must see, though it gets no name of it."""
    for chain, phase in (("a", Phase.DEGRADED), ("b", Phase.REFUSED), ("c", Phase.REFUSED)):
        desk.status(chain, phase)
    desk.status("d", Phase.RUNNING, ttl_s=5.0)  # nobody will have reported it for a while
    held = Explanation(decision="held", reason="the brake holds it")
    desk.say(EXPLAIN, held, component="intake", tenant="acme", chain="a")
    desk.now_s += 60
    body = await desk.told()
    assert [(one.name, one.count, one.of) for one in body.alarms] == [
        ("hosts-down", 1, 2),
        ("chains-degraded", 1, 4),
        ("deletions-held", 1, 1),
        ("chains-refused", 2, 4),
        ("chains-unknown", 1, 4),
    ]
    assert "rack" not in body.model_dump_json()
    assert "acme" not in body.model_dump_json()


async def test_an_alarm_keeps_its_beginning_over_a_restart_and_goes_when_it_is_over(
    desk: Desk,
) -> None:
    """Why: each Desk.told is a new life of the summarizer; "since" must be the trouble's, not the process's."""
    desk.status("a", Phase.DEGRADED)
    assert (await desk.told()).alarms[0].since == START_S
    desk.now_s += 25
    desk.status("b", Phase.DEGRADED)
    desk.status("c", Phase.RUNNING)
    (one,) = (await desk.told()).alarms
    assert (one.count, one.of, one.since) == (2, 3, START_S)
    for chain in ("a", "b"):
        desk.status(chain, Phase.RUNNING)
    assert (await desk.told()).alarms == ()


async def test_the_hottest_host_counts_everybodys_chains_and_free_slots_only_ours(
    desk: Desk,
) -> None:
    """Why: a peer knows what it holds here and takes it off itself; a host burns whoever lights it."""
    end = Terminal(kind="attachment", name="x")
    for chain, source, cpu_milli in (("own", "local", 3000), ("theirs", "carrier-b", 3200)):
        needs = Resources(cpu_milli=cpu_milli, memory_mib=1)
        function = FunctionSpec(name="f", type="nat", resources=needs)
        segment = Segment(tenant="acme", chain=chain, functions=(function,), left=end, right=end)
        desk.say(SPECS, ChainRecord(segment=segment, source=source), tenant="acme", chain=chain)
        host = "rack-1" if chain == "own" else "rack-2"
        planned = PlannedFunction(
            function="f",
            type="nat",
            version="1",
            instance="i-000000000001",
            incarnation=1,
            host=host,
        )
        desk.say(PLANS, ChainPlan(functions=(planned,)), tenant="acme", chain=chain)
    body = await desk.told()
    assert body.hottest_host_permille == 800
    assert body.free_cpu_slots == (0, 0, 0, 1, 0, 1, 0, 0)
    only_theirs = Desk(mirrors=dict(desk.mirrors))
    only_theirs.mirrors.pop(PLANS.prefix())
    assert (await only_theirs.told()).hottest_host_permille == 0


async def test_a_host_with_just_enough_is_among_those_that_have_it() -> None:
    """Why: 2000m free is a slot for 2000m; one thousandth less is none."""
    desk = Desk()
    for cpu in (0, 249, 250, 1999, 2000, 15999, 16000):
        body = HostInventory(host=f"h{cpu}", cpu_milli=cpu, memory_mib=64)
        desk.say(INVENTORY, body, host=f"h{cpu}")
    assert (await desk.told()).free_cpu_slots == (2, 1, 0, 1, 1, 0, 1, 1)
