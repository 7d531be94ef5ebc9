"""One run on real processes: lab, load, faults, records; everything put right at the end, then judged (issue 5).

    lab -> standing chain, packets at rest -> load and faults by the schedule -> all put right
        -> settle -> what became of every ask -> judges

Every wait has an end. What cannot be put right is told as the run's own failure, not as a promise's.
"""

from __future__ import annotations

import asyncio
import contextlib
import platform
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from isthmus.chaos.demo.facts import Facts
from isthmus.chaos.demo.stage import TENANT, Late, Probe, Stage, eventually
from isthmus.chaos.history import Recorder
from isthmus.chaos.proving.ages import Ages
from isthmus.chaos.proving.doors import door
from isthmus.chaos.proving.eyes import Eyes
from isthmus.chaos.proving.faults import Hands
from isthmus.chaos.proving.kills import KILLS, plan
from isthmus.chaos.proving.load import Customer
from isthmus.chaos.proving.schedule import CALM, GLOBAL, KINDS, SITES, Fault
from isthmus.chaos.toxics import Toxics
from isthmus.contract.families import RUNTIME
from isthmus.contract.ids import instance_id
from isthmus.deploy.lab.addresses import TOXIPROXY_API
from isthmus.deploy.lab.engine import Lab
from isthmus.deploy.lab.spec import LabLink, LabSite, LabSpec
from isthmus.kv.etcd import EtcdStore

WEB = "web"
BASELINE_S = 4.0
SETTLE_S = 120.0
LAST_LOOK_S = 3.0
LAST_WORDS_S = 5.0
"""What changes at the very end has as long to cross as a link has to be equal again (G4)."""
CALM_S = 6.0
PROBE_PATH = "milan-a>paris-a"
Tell = Callable[[str], None]


def spec() -> LabSpec:
    """Two own sites and a partner, as the two-tier tests have them: letters name circuits."""

    def site(name: str, country: str, **more: object) -> LabSite:
        circuits = tuple(f"{name}-{letter}" for letter in "abcdefg")
        return LabSite.model_validate(
            {"site": name, "country": country, "attachments": circuits, **more}
        )

    partner = {"owner": "helvetia", "trust_domain": "helvetia.example", "tenants": (TENANT,)}
    return LabSpec(
        name="proving",
        sites=(site("milan", "it"), site("paris", "fr"), site("zurich", "ch", **partner)),
        links=(
            LabLink(a="milan", b="paris", latency_us=3000),
            LabLink(a="milan", b="zurich", latency_us=2000),
            LabLink(a="zurich", b="paris", latency_us=2500),
        ),
    )


@dataclass
class Run:
    """A lab that is up, with everybody who does something to it or looks at it."""

    stage: Stage
    recorder: Recorder
    hands: Hands
    eyes: Eyes
    stores: dict[str, EtcdStore]
    seed: int
    tell: Tell
    kinds: Sequence[str] = KINDS
    customers: list[Customer] = field(default_factory=list)

    # -- the play

    async def play(self, seconds: float) -> None:
        """Load and faults; then all is put right, and looked at."""
        address = self.stage.lab.addresses.customer("paris-a")
        stop = asyncio.Event()
        async with self.stage.serving("paris-a", (8080,)):
            if KILLS not in self.kinds:  # no sandbox is lost there, nothing is compared with it
                await self._packets("baseline", BASELINE_S, address)
            self._hire()
            looking = asyncio.create_task(self.eyes.look())
            ages = Ages(self.recorder, self.stores[GLOBAL], self.stage.api)
            aging = asyncio.create_task(ages.live())
            living = [asyncio.create_task(one.live(stop)) for one in self.customers]
            try:
                await self._guarded(self._faults(seconds, address), looking, aging, *living)
                self.tell("all faults are over; putting everything right")
                await self.hands.put_right()
                stop.set()
                aging.cancel()
                await ages.close()
                await asyncio.wait_for(asyncio.gather(*living), SETTLE_S)
                await self._settle()
                await asyncio.sleep(LAST_LOOK_S)
                self.eyes.once()
            finally:
                for task in (looking, aging, *living):
                    task.cancel()
                await asyncio.gather(looking, aging, *living, return_exceptions=True)
        await self._became()
        await self.eyes.close(LAST_WORDS_S)

    async def _guarded(self, work: Awaitable[None], *others: asyncio.Task[None]) -> None:
        """``work``, unless one of ``others`` fails first."""
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait({task, *others}, return_when=asyncio.FIRST_COMPLETED)
            for one in others:
                if one.done():
                    one.result()
            await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _hire(self) -> None:
        for name, tier, *ends in (
            ("far-c", GLOBAL, "milan-c", "paris-c"),
            ("far-d", GLOBAL, "milan-d", "paris-d"),
            ("swiss", GLOBAL, "paris-b", "zurich-b"),
            ("milan", "milan", "milan-e", "milan-f"),
            ("paris", "paris", "paris-e", "paris-f"),
        ):
            customer = Customer(
                name, tier, (ends[0], ends[1]), self.stage, self.recorder,
                random.Random(f"{self.seed} {name}"),
            )  # fmt: skip
            if tier != GLOBAL:
                customer.cut = lambda tier=tier: self.hands.cut(tier)  # type: ignore[misc]
                customer.hit = lambda tier=tier: self.hands.hit(tier)  # type: ignore[misc]
                customer.pause_s = 1.5
            self.customers.append(customer)

    async def _faults(self, seconds: float, address: str) -> None:
        planned = plan(self.seed, seconds, self.kinds)
        self.tell(f"{len(planned)} faults in {seconds:.0f} s, seed {self.seed}")
        began, calm = time.monotonic(), False
        running: list[asyncio.Task[None]] = []
        try:
            for fault in planned:
                if running and calm:
                    # Late on a busy machine: a link has its 5 s all the same, or the next death is blamed on it (G4).
                    await asyncio.gather(*running)
                    began = max(began, time.monotonic() + CALM_S - fault.at_s)
                calm = fault.detail == CALM
                await asyncio.sleep(max(0.0, began + fault.at_s - time.monotonic()))
                running.append(asyncio.create_task(self._one(fault, address)))
                for task in running:
                    if task.done():
                        task.result()
            await asyncio.gather(*running)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _one(self, fault: Fault, address: str) -> None:
        words = f"{fault.kind} {fault.target} {fault.detail}".strip()
        self.tell(f"{fault.at_s:6.1f} s  {words} for {fault.duration_s:.1f} s")
        healing = fault.kind == "lost"
        async with contextlib.AsyncExitStack() as stack:
            probe: Probe | None = None
            if healing:
                probe = await stack.enter_async_context(self.stage.probing("milan-a", address))
            await self.hands.begin(fault)
            try:
                await asyncio.sleep(fault.duration_s)
            finally:
                await self.hands.end(fault)
        if probe is not None:
            self._probed("heal", probe)

    # -- packets

    async def _packets(self, phase: Literal["baseline"], seconds: float, address: str) -> None:
        async with self.stage.probing("milan-a", address) as probe:
            await asyncio.sleep(seconds)
        self._probed(phase, probe)

    def _probed(self, phase: Literal["baseline", "heal"], probe: Probe) -> None:
        self.recorder.note(
            "probe.web", "probe",
            {"path": PROBE_PATH, "sent": probe.sent, "lost": probe.lost, "phase": phase,
             "longest_gap_ms": probe.longest_gap_ms},
        )  # fmt: skip
        self.tell(
            f"packets, {phase}: {probe.lost} of {probe.sent} lost, gap {probe.longest_gap_ms} ms"
        )

    # -- the end

    async def _settle(self) -> None:
        """Until every chain asked for is running or gone and all mirrors are equal; if not, the judges say so."""

        async def calm() -> bool:
            self.eyes.once()
            phases = [await self._phase(one.tier, name) for one, name in self._asked()]
            return all(phase in ("running", "gone") for phase in phases) and all(
                mirror.equal for mirror in self.eyes.mirrors.values()
            )

        with contextlib.suppress(Late):
            await eventually(calm, "everything is calm", timeout_s=SETTLE_S, every_s=0.5)

    def _asked(self) -> list[tuple[Customer, str]]:
        return [(one, name) for one in self.customers for name in sorted(one.asked)]

    async def _phase(self, tier: str, chain: str) -> str:
        document = await self.stage.chain(chain, tier)
        return str(document["row"]["phase"]) if document else "gone"

    async def _became(self) -> None:
        """The end state of every chain, and how many times each of its instances exists."""
        there: Counter[str] = Counter()
        for site in SITES:
            snapshot = await self.stores[site].snapshot(RUNTIME.prefix(), timeout_s=30)
            there.update(entry.key.rpartition("/")[2] for entry in snapshot.entries)
        for customer, name in self._asked():
            document = await self.stage.chain(name, customer.tier)
            row = document.get("row", {})
            counts = [there[instance_id(TENANT, name, function)] for function in ("fw", "nat")]
            self.recorder.effect(
                "reader", tier=customer.tier, chain=f"{TENANT}/{name}",
                phase=str(row.get("phase", "gone")), reason=str(row.get("reason", "")) or None,
                count=max(counts),
            )  # fmt: skip

    def load(self) -> str:
        """How much was asked."""
        asks = sum(one.asks for one in self.customers)
        repeats = sum(one.repeats for one in self.customers)
        return f"{asks} asks acknowledged, {repeats} repeated by their key"


@asynccontextmanager
async def running(
    base: Path, recorder: Recorder, seed: int, tell: Tell, kinds: Sequence[str] = KINDS
) -> AsyncIterator[Run]:
    """The lab with its standing chain, and everything that looks at it; gone when the block ends."""
    async with AsyncExitStack() as stack:
        lab = await stack.enter_async_context(Lab(spec(), base, tell, fallible=True))
        stage = Stage(lab, Facts(lambda _: None))
        stack.push_async_callback(stage.close)
        stores = {
            tier: await stack.enter_async_context(door(lab, tier)) for tier in lab.addresses.tiers
        }
        eyes = Eyes(lab, stores, recorder)
        hands = Hands(lab, Toxics(TOXIPROXY_API), recorder, stores, eyes.restored, eyes.backlog)
        eyes.slow = hands.cut
        run = Run(stage, recorder, hands, eyes, stores, seed, tell, kinds)
        web = Customer(WEB, GLOBAL, ("milan-a", "paris-a"), stage, recorder, random.Random(seed))
        await stage.apply(web._spec(WEB, "203.0.113.8"))
        await stage.phase(WEB, "running", timeout_s=90)
        await eyes.open()
        try:
            yield run
        finally:
            await eyes.close()
            await lab.supervisor.stop_all(0)  # the world ends anyway


def versions() -> dict[str, str]:
    """What the figures depend on."""
    return {"python": platform.python_version(), "kernel": platform.release()}
