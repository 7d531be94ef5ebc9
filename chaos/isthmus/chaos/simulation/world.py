"""What every simulated world has: stores, lines, clocks, processes, customers, a schedule of faults, observers.

A run has two halves. In the first the load and the faults happen; at ``lasts_s`` all faults are healed, dead processes
start again, and in the second half nothing happens any more: the world must settle in bounded virtual time. Observers
only write down what they see (:mod:`isthmus.chaos.history`); whether that kept the promises the judges say.
"""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, ClassVar

from isthmus.chaos.history import Header, Memory
from isthmus.chaos.simulation.carriage import TIER, Gateway, SiteDialer
from isthmus.chaos.simulation.clocks import SiteClock
from isthmus.chaos.simulation.faults import DISHONEST, KINDS
from isthmus.chaos.simulation.links import Line, Way
from isthmus.chaos.simulation.loop import VirtualLoop
from isthmus.chaos.simulation.mirrors import Mirrors, directions
from isthmus.chaos.simulation.processes import Process, current
from isthmus.chaos.simulation.schedule import Fault, Schedule, stream
from isthmus.chaos.simulation.scope_observer import ScopeObserver
from isthmus.chaos.simulation.stats import Stats
from isthmus.chaos.simulation.stores import StoreServer
from isthmus.federation.link import Clocks
from isthmus.kv.port import Event

SITES = ("milan", "paris", "zurich")


class World(ABC):
    """One run of ``schedule``."""

    name: ClassVar[str]
    lasts_s: ClassVar[float]
    settles_s: ClassVar[float]
    """Within how much virtual time all must be at rest after the faults."""
    process_names: ClassVar[Sequence[str]]
    promises: ClassVar[Sequence[str]]
    """Judged on a history of this world."""

    def __init__(self, schedule: Schedule, commit: str = "") -> None:
        self.schedule = schedule
        self.stats = Stats()
        self.problems: list[str] = []
        """What no part of a carrier may do, whatever the judges say: an exception nobody expected."""
        header = Header("simulation", schedule.seed, commit, self.name)
        self.memory = Memory(header, self.now_s)
        self.record = self.memory.recorder
        self.dishonest = any(fault.kind in DISHONEST for fault in schedule.faults)
        """Does a transport break its word? Only then may a peer see the protocol broken."""
        network = stream(schedule.seed, "network")
        self.lines = {site: Line(site, network) for site in SITES}
        self.clocks = {site: SiteClock(self.now_s) for site in (TIER, *SITES)}
        self.servers = {
            name: StoreServer(name, self.now_s, stream(schedule.seed, name), self.on_events)
            for name in (TIER, *SITES)
        }
        self.mirrors = Mirrors(self.record, self.servers, directions(SITES))
        self.scopes = ScopeObserver(self.record, self.servers, self.mirrors.ways)
        self.processes: dict[str, Process] = {}
        self.gateways: dict[str, Gateway] = {}
        self.dialers: dict[str, SiteDialer] = {}
        self._ids: dict[str, random.Random] = {}
        self._gone_s = 0.0

    @classmethod
    def targets(cls) -> dict[str, Sequence[str]]:
        """Whom a fault can hit."""
        return {
            "line": SITES,
            "store": (TIER, *SITES),
            "site": (TIER, *SITES),
            "edge": SITES,
            "tier": (TIER,),
            "process": cls.process_names,
        }

    def now_s(self) -> float:
        """Virtual seconds."""
        try:
            return asyncio.get_running_loop().time()
        except RuntimeError:
            return self._gone_s

    def chance(self, name: str) -> random.Random:
        """A stream of its own for ``name``."""
        return stream(self.schedule.seed, name)

    def ids_of(self, process: str) -> random.Random:
        """Where ``process`` draws its names from; goes on through its lives."""
        return self._ids.setdefault(process, self.chance(f"ids {process}"))

    def link_clocks(self, machine: str, process: Process) -> Clocks:
        """What a link sees of its machine."""
        clock, ids = self.clocks[machine], self.ids_of(process.name)
        return Clocks(
            monotonic_s=clock.monotonic_s,
            utc_s=clock.wall_s,
            ids=lambda: f"{ids.getrandbits(64):016x}",
            streams=lambda: ids.getrandbits(63) + 1,
        )

    # ---- what a world adds

    @abstractmethod
    def populate(self) -> Iterator[Process]:
        """The processes; they are started in this order."""

    @abstractmethod
    def load(self) -> Sequence[Coroutine[Any, Any, None]]:
        """The customers; cancelled when the faults end."""

    @abstractmethod
    def on_events(self, server: StoreServer, revision: int, events: tuple[Event, ...]) -> None:
        """A store has committed ``events``: write down what a reader of it sees."""

    @abstractmethod
    async def settled(self) -> bool:
        """Is everything at rest and right?"""

    @abstractmethod
    def restored(self, name: str) -> None:
        """The store ``name`` came back from a backup: its readers see what it holds now."""

    @abstractmethod
    def healed(self) -> None:
        """The faults are over; write down what waits."""

    @abstractmethod
    async def conclude(self) -> None:
        """Write down the end state."""

    # ---- the run

    async def run(self) -> None:
        """Live, heal, settle; never raises for what the carrier does."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.set_exception_handler(self._nobody_caught)
        for process in self.populate():
            self.processes[process.name] = process
            process.start()
        for fault in self.schedule.faults:
            loop.at(fault.at_s, self._begin(fault))
        load = [loop.create_task(work) for work in self.load()]
        try:
            await asyncio.sleep(self.schedule.lasts_s)
            await self._end(load)
            self._heal_all()
            await self._settle()
        finally:
            self._gone_s = loop.time()
            await self._end(load)
            for process in self.processes.values():
                process.kill()
            for process in self.processes.values():
                await process.gone()
            self.stats.steps, self.stats.virtual_s = loop.steps, loop.time()
            self.stats.records = len(self.memory.records)

    def _nobody_caught(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is not None:
            self.problem(f"nobody caught {type(error).__name__}: {error}")

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                self.problem(f"a customer failed: {outcome!r}")
        tasks.clear()

    def _begin(self, fault: Fault) -> Callable[[], None]:
        def begin() -> None:
            kind = KINDS[fault.kind]
            self.record.fault(
                "sim",
                kind=fault.kind,
                target=fault.target,
                phase="begin",
                detail=fault.figures() or None,
            )
            if kind.begin(self, fault):
                self.stats.faults[fault.kind] += 1
            if fault.for_s:
                loop = asyncio.get_running_loop()
                assert isinstance(loop, VirtualLoop)
                loop.at(fault.ends_s, end)

        def end() -> None:
            KINDS[fault.kind].end(self, fault)
            self.record.fault("sim", kind=fault.kind, target=fault.target, phase="end")

        return begin

    def _heal_all(self) -> None:
        for process in self.processes.values():
            if not process.alive:
                process.start()
        self.healed()

    async def rest(self) -> None:  # noqa: B027  (most worlds have nobody who speaks then)
        """What the customers still have to say."""

    def reached(self, name: str) -> float | None:
        """A failpoint: counted, and the end of who was told to end there."""
        process = current()
        if process is None or not process.alive:
            return None
        self.stats.failpoints[name] += 1
        if process.doomed_at == name:
            self.record.step(process.name, name=name)
            process.kill()
            raise asyncio.CancelledError
        return None

    def doom(self, machine: str, point: str) -> None:
        """Whoever of ``machine`` reaches the failpoint ``point`` first ends there (empty: nobody)."""
        for process in self.on_machine(machine):
            process.doomed_at = point

    async def _settle(self) -> None:
        await self.rest()
        try:
            async with asyncio.timeout(self.settles_s):
                while not await self.settled():  # noqa: ASYNC110  (virtual: it costs nothing)
                    await asyncio.sleep(0.25)
        except TimeoutError:
            self.record.step("sim", name="not settled")
            self.unsettled()
        await self.conclude()

    def unsettled(self) -> None:
        """It did not come to rest."""
        self.problem(f"not at rest {self.settles_s:g} s after the last fault was healed")

    # ---- what faults and processes call

    def problem(self, text: str) -> None:
        """Something that must never be."""
        self.problems.append(text)

    wrong: Sequence[str] = ()

    def failed(self, process: Process, error: BaseException) -> None:
        """A task of a living process raised: no part of a carrier does that."""
        self.problem(f"{process.name}: unexpected {type(error).__name__}: {error}")

    def way(self, fault: Fault) -> Way:
        """The direction that a fault hits."""
        line = self.lines[fault.target]
        return line.up if fault.detail["way"] == "up" else line.down

    def crash(self, name: str, *, quietly: bool) -> bool:
        """Kill -9 of a process; ``quietly``: with its machine, so nobody is told."""
        process = self.processes[name]
        process.quiet = quietly
        was_alive = process.alive
        process.kill()
        return was_alive

    def redial(self, site: str) -> bool:
        """The site's network was moved: it dials the other gateway; the first hears nothing of it."""
        dialer = self.dialers.get(site)
        if dialer is None or dialer.channel is None or dialer.channel.broken:
            return False
        dialer.channel.abandon()
        return True

    def lose_instance(self, site: str, pick: float) -> bool:
        """A sandbox of ``site`` breaks; False where there is none."""
        return False

    def on_machine(self, machine: str) -> list[Process]:
        """The processes of a site or the tier."""
        return [one for one in self.processes.values() if one.name.startswith(f"{machine}.")]

    def restore(self, store: str, *, bump: int) -> None:
        """A store comes back from its newest backup."""
        self.servers[store].restore(bump=bump)
        self.restored(store)
