"""``isthmus bench federation-summary`` (GOALS): bytes of a summary over a real link, beside those of all keys raw.

5,000 chains of a site, a spec and a plan each: 10,000 keys that change 5,000 times a second. Once every change is
exported as it is, once the shipped summarizer tells the site's summary by the contract's rules. Both go over the
shipped gateway and dialer with mutual TLS and scopes; the stores are in memory, and the seconds are those of the
changes (a machine that measures does not also make 5,000 JSON values a second for two writers): a fifth of a second
of changes is made, summed up and sent, then the next. After each such step the told numbers at the *receiver* are
held against a truth that is counted apart from the summarizer.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from isthmus.chaos.bench_federation_rig import (
    HUB,
    SITE,
    Report,
    enroll,
    gateway_settings,
    link_settings,
    true,
    until,
)
from isthmus.contract.chain import (
    ChainPlan,
    ChainRecord,
    FunctionSpec,
    PlannedFunction,
    Resources,
    Segment,
    Terminal,
)
from isthmus.contract.envelope import Stamp, seal, unseal
from isthmus.contract.families import INVENTORY, PLANS, SITE_SUMMARY, SPECS
from isthmus.contract.instance import HostInventory, SiteSummary
from isthmus.contract.scopes import import_root, site_summary_key
from isthmus.federation.dialer import SiteLink
from isthmus.federation.gateway import Gateway
from isthmus.federation.run import real_clocks
from isthmus.federation.settings import QuotaSettings
from isthmus.kv.memory import MemoryStore
from isthmus.kv.port import Entry
from isthmus.microcontroller import Context, State, Surroundings, Writer
from isthmus.site import summarizer

STAMP = Stamp(origin="spiffe://carrier.example/site/bench/intake", incarnation="1f00aa55")
START_S = 1_800_000_000.0
RAW = f"/isthmus/v1/summary/peers/{HUB}/chains/"
"""Where a value has to stand to cross as it is: below the prefix of chains exported to that peer."""


@dataclass(frozen=True, slots=True)
class SummarySizes:
    """How much is measured; :meth:`small` is for tests. ``seconds`` are those of the changes."""

    chains: int = 5_000
    hosts: int = 20
    changes_per_s: int = 5_000
    step_s: float = 0.2
    seconds: float = 60.0

    @classmethod
    def small(cls) -> SummarySizes:
        """Enough to see that every figure is produced."""
        return cls(chains=50, hosts=4, changes_per_s=200, step_s=0.2, seconds=4.0)


@dataclass(slots=True)
class _Held:
    """A mirror without a store: what the summarizer sees of one family."""

    entries: dict[str, Entry] = field(default_factory=dict)
    revision: int = 1

    def put(self, key: str, value: bytes) -> None:
        self.revision += 1
        self.entries[key] = Entry(key, value, 1, self.revision, 1)


class Site:
    """Facts that change, and their totals counted at each change, without the summarizer."""

    def __init__(self, sizes: SummarySizes, seed: int) -> None:
        self.sizes = sizes
        self.chance = random.Random(seed)
        self.now_s = START_S
        self.mirrors = {one.prefix(): _Held() for one in (SPECS, PLANS, INVENTORY)}
        self.hosts = [f"h{number}" for number in range(sizes.hosts)]
        self.capacity = 400 * sizes.chains // sizes.hosts
        self.needs = [Resources(cpu_milli=100, memory_mib=128)] * sizes.chains
        self.where = [number % sizes.hosts for number in range(sizes.chains)]
        self.changed: list[tuple[str, bytes]] = []
        self.truth: dict[str, float] = dict.fromkeys(("cpu_milli_free", "memory_mib_free"), 0)
        for host in self.hosts:
            body = HostInventory(host=host, cpu_milli=self.capacity, memory_mib=self.capacity)
            self._keep(INVENTORY.key(host=host), seal(body, STAMP, as_of=self.now_s))
        self.changed.clear()  # hosts change with nobody's chains
        for number in range(sizes.chains):
            self._spec(number)
            self._plan(number)
        self.count()

    def step(self) -> list[tuple[str, bytes]]:
        """The changes of one step; load swings by a fifth within 40 s, and single chains grow, shrink and move."""
        self.changed = []
        for _ in range(round(self.sizes.changes_per_s * self.sizes.step_s)):
            self.now_s += 1 / self.sizes.changes_per_s
            number = self.chance.randrange(self.sizes.chains)
            if self.chance.random() < 0.5:
                swing = 1 + 0.2 * math.sin((self.now_s - START_S) * math.tau / 40)
                cpu = max(1, round(100 * swing + self.chance.randrange(-30, 31)))
                self.needs[number] = Resources(cpu_milli=cpu, memory_mib=cpu + 28)
                self._spec(number)
            else:
                self.where[number] = self.chance.randrange(self.sizes.hosts)
                self._plan(number)
        self.count()
        return self.changed

    def count(self) -> None:
        """The truth, from the facts themselves."""
        cpu, memory = [self.capacity] * len(self.hosts), [self.capacity] * len(self.hosts)
        for host, need in zip(self.where, self.needs, strict=True):
            cpu[host] -= need.cpu_milli
            memory[host] -= need.memory_mib
        free = [max(0, one) for one in cpu]
        self.truth = {
            "cpu_milli_free": sum(free),
            "memory_mib_free": sum(max(0, one) for one in memory),
            "largest_free_cpu_milli": max(free),
            "cpu_milli_total": self.capacity * len(self.hosts),
            "hosts_up": len(self.hosts),
            "chains": self.sizes.chains,
            "hottest_host_permille": max(
                1000 * (self.capacity - one) / self.capacity for one in cpu
            ),
        }

    def _spec(self, number: int) -> None:
        function = FunctionSpec(name="fw", type="firewall", resources=self.needs[number])
        ends = [Terminal(kind="attachment", name=f"c{number}-{end}") for end in ("a", "b")]
        segment = Segment(
            tenant="acme", chain=f"c{number}", functions=(function,), left=ends[0], right=ends[1]
        )
        key = SPECS.key(tenant="acme", chain=f"c{number}")
        self._keep(key, seal(ChainRecord(segment=segment), STAMP, as_of=round(self.now_s, 3)))

    def _plan(self, number: int) -> None:
        planned = PlannedFunction(
            function="fw",
            type="firewall",
            version="1",
            instance=f"i-{number:012x}",
            incarnation=1,
            host=self.hosts[self.where[number]],
        )
        key = PLANS.key(tenant="acme", chain=f"c{number}")
        body = ChainPlan(functions=(planned,))
        self._keep(key, seal(body, STAMP, as_of=round(self.now_s, 3)))

    def _keep(self, key: str, value: bytes) -> None:
        self.changed.append((key, value))
        for prefix, mirror in self.mirrors.items():
            if key.startswith(prefix):
                mirror.put(key, value)


@dataclass
class Line:
    """A link between two stores in memory, and what the site has sent over it."""

    site: MemoryStore
    hub: MemoryStore
    link: SiteLink

    def sent(self) -> tuple[int, int]:
        """Items and bytes of frames."""
        status = self.link.status()
        return status.items_sent, status.bytes_sent

    async def quiet(self, source: str, target: str) -> None:
        """What stands at ``source`` stands at ``target`` of the receiver: changes cross in their order, so everything
        written before has crossed, too."""
        written = await self.site.get(source)

        async def through() -> bool:
            status = self.link.status()
            held = await self.hub.get(target)
            same = held is not None and written is not None and held.value == written.value
            return same and not status.in_flight_bytes and not status.pending_keys

        await until(through, "what was written has crossed", every_s=0.002)


async def summary(folder: Path, sizes: SummarySizes | None = None) -> dict[str, Any]:
    """Raw, then summed up: the same changes from the same seed."""
    sizes = sizes or SummarySizes()
    report = Report("federation-summary")
    (folder / "raw").mkdir()
    async with _line(folder / "raw") as line:
        raw, items, raw_cpu_s = await _raw(line, Site(sizes, 1))
    (folder / "told").mkdir()
    async with _line(folder / "told") as line:
        told, outcome = await _told(line, Site(sizes, 1))
    share = 100 * told / raw
    report.row("bytes summed up, of the raw bytes", share, "%", "<= 1", share <= 1)
    report.row("bytes/s raw", raw / sizes.seconds, "B/s")
    report.row("bytes/s summed up", told / sizes.seconds, "B/s")
    report.row("changes exported raw", items, "")
    report.row("tellings", outcome["tellings"], "")
    report.row(
        "worst error of a bound", 100 * outcome["worst"], "%", "<= 100", outcome["worst"] <= 1
    )
    report.row("moments held against the truth", outcome["checked"], "")
    report.row("CPU of one summing up", 1e3 * outcome["cpu_s"] / outcome["steps"], "ms")
    report.row("CPU of one change exported raw, both ends", 1e6 * raw_cpu_s / max(1, items), "us")
    report.series["reasons"] = outcome["reasons"]
    return report.document(cast(Any, sizes))


async def _raw(line: Line, site: Site) -> tuple[int, int, float]:
    await _copy(line, site.changed)
    items, sent = line.sent()
    cpu_s = 0.0
    for _ in range(_steps(site.sizes)):
        changed = site.step()
        began = time.process_time()
        await _copy(line, changed)
        cpu_s += time.process_time() - began
    now_items, now = line.sent()
    return now - sent, now_items - items, cpu_s


async def _copy(line: Line, changed: list[tuple[str, bytes]]) -> None:
    relative = ""
    for key, value in changed:
        family, *_, tenant, name = key.split("/")[3:]
        relative = f"{tenant}/{family[0]}-{name}"
        await line.site.put(RAW + relative, value)
    await line.quiet(RAW + relative, f"{import_root(SITE)}summary/chains/{relative}")


async def _told(line: Line, site: Site) -> tuple[int, dict[str, Any]]:
    surroundings = Surroundings(now=lambda: site.now_s)
    state = State(dict(site.mirrors))
    writer = Writer(line.site, state, STAMP, surroundings)
    context = Context("summarizer", state, writer, surroundings)
    teller = summarizer.Summarizer(SITE)
    await teller.reconcile(summarizer.SITE, context)
    await _arrived(line)
    _, sent = line.sent()
    outcome: dict[str, Any] = {
        "tellings": 0,
        "worst": 0.0,
        "checked": 0,
        "cpu_s": 0.0,
        "reasons": {},
    }
    before: Mapping[str, Any] = {}
    for _ in range(_steps(site.sizes)):
        site.step()
        began = time.process_time()
        await teller.reconcile(summarizer.SITE, context)
        outcome["cpu_s"] += time.process_time() - began
        body = await _arrived(line)
        _judge(body, site, outcome)
        for name, one in body.told.items():
            if before and before[name] != one:
                outcome["tellings"] += 1
                outcome["reasons"][one.why] = outcome["reasons"].get(one.why, 0) + 1
        before = body.told
    outcome["steps"] = _steps(site.sizes)
    return line.sent()[1] - sent, outcome


async def _arrived(line: Line) -> SiteSummary:
    """The summary as the receiver holds it, once it holds what the site has written."""
    await line.quiet(SITE_SUMMARY.key(), site_summary_key(SITE))
    held = await line.hub.get(site_summary_key(SITE))
    assert held is not None, "it has just been seen there"
    return unseal(held.value, SiteSummary).body


def _judge(body: SiteSummary, site: Site, outcome: dict[str, Any]) -> None:
    """Each told number against the truth; the worst as a share of its bound (infinite: off where none was allowed)."""
    for name, truth in site.truth.items():
        one = body.told[name]
        off = abs(one.values[0] - truth)
        share = off / one.bound if one.bound else (math.inf if off else 0.0)
        outcome["worst"] = max(outcome["worst"], min(share, 1e6))
        outcome["checked"] += 1


def _steps(sizes: SummarySizes) -> int:
    return round(sizes.seconds / sizes.step_s)


@asynccontextmanager
async def _line(folder: Path) -> AsyncIterator[Line]:
    """Both ends of a real link, with room for everything raw."""
    bundle = enroll(folder, [SITE])
    site, hub = MemoryStore(), MemoryStore()
    settings = gateway_settings(folder, bundle, [SITE], "127.0.0.1:0", None)
    quota = QuotaSettings(max_keys=10_000_000, max_total_bytes=1 << 40, max_changes_per_s=1e6)
    peers = tuple(one.model_copy(update={"quota": quota}) for one in settings.peers)
    gateway = Gateway(settings.model_copy(update={"peers": peers}), hub, real_clocks())
    await gateway.start()
    address = f"127.0.0.1:{gateway.port}"
    link = SiteLink(
        link_settings(folder, bundle, SITE, address, None), site, real_clocks(), jitter=lambda: 0.5
    )
    task = asyncio.create_task(link.run())
    try:
        await until(lambda: true(link.status().synced), "the link stands")
        yield Line(site, hub, link)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await gateway.stop()
