"""The federation between the simulated stores: sites that dial, gateways that serve, the real links on simulated lines.

What :mod:`isthmus.federation.dialer` and :mod:`.gateway` do around gRPC is done here around a line: dial in turn, pause
as after a loss, one seat per peer and gateway. Everything from :class:`~isthmus.federation.link.Link` down is the real
code. There are two gateways; who is redirected leaves a half-open link behind at the other one.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isthmus.chaos.simulation.links import Line, SimChannel
from isthmus.chaos.simulation.processes import Process, current
from isthmus.chaos.simulation.stores import SimStore
from isthmus.contract.envelope import Stamp
from isthmus.contract.scopes import SITE_TO_TIER, TIER_TO_SITE, site_exports, tier_exports
from isthmus.federation import link_pb2 as pb
from isthmus.federation.digest import BUCKETS
from isthmus.federation.errors import FederationError, LinkLost, ProtocolViolation, Superseded
from isthmus.federation.filters import DenialLog
from isthmus.federation.limits import LinkLimits
from isthmus.federation.link import Link, LinkPlan, peer_ends
from isthmus.kv.errors import StoreError
from isthmus.policy.quotas import Quota
from isthmus.policy.scopes import Scope

if TYPE_CHECKING:
    from isthmus.chaos.simulation.world import World

UP = Scope.mirror("site-to-tier", SITE_TO_TIER)
DOWN = Scope.mirror("tier-to-site", TIER_TO_SITE)
TIER = "global"
LIMITS = LinkLimits(
    beat_s=1.0,
    lost_after_s=3.0,
    proof_every_s=1.0,
    cursor_every_s=0.5,
    check_every_s=3.0,
    stalled_after_s=8.0,
)
"""The shipped ones in about a fifth of the time."""
TIGHT = LIMITS.model_copy(update={"batch_items": 3, "txn_ops": 4, "pending_bytes": 8})
"""So small that ten keys need several frames, several writes, and values that are fetched again."""
CONNECT_TIMEOUT_S = 1.0
BACKOFF_MIN_S, BACKOFF_MAX_S = 0.1, 1.0


def site_plan(site: str, stamp: Stamp, limits: LinkLimits) -> LinkPlan:
    """The site's end of its link."""
    return LinkPlan(site, TIER, site_exports(TIER), UP, DOWN, Quota(), stamp, limits)


def tier_plan(site: str, stamp: Stamp, limits: LinkLimits) -> LinkPlan:
    """The tier's end of the link of ``site``."""
    return LinkPlan(TIER, site, tier_exports(site), DOWN, UP, Quota(), stamp, limits)


class Gateway:
    """One gateway process of the tier."""

    def __init__(self, world: World, process: Process, limits: LinkLimits) -> None:
        self._world = world
        self._limits = limits
        self.process = process
        self._seats: dict[str, asyncio.Task[None]] = {}
        self.links: dict[str, Link] = {}

    def accept(self, site: str, channel: SimChannel) -> None:
        """A connection of ``site``, whose certificate says so. The kernel takes it: if the process dies before it has
        looked at it, because it was frozen, the caller is told all the same.
        """
        forget = self.process.on_death(_ender(self.process, channel))
        self.process.run(self._serve(site, channel, forget))

    async def _serve(self, site: str, channel: SimChannel, forget: Callable[[], None]) -> None:
        try:
            while (old := self._seats.get(site)) is not None and not old.done():
                old.cancel()
                await asyncio.gather(old, return_exceptions=True)
            tap = Tapped(self._world, f"{TIER}>{site}", f"{site}>{TIER}")
            link = self.link(site, channel, tap)
            self.links[site] = link
            self._seats[site] = seat = self.process.run(_seated(link, tap))
            await asyncio.gather(seat, return_exceptions=True)
        finally:
            forget()
            channel.cut()

    def link(self, site: str, channel: SimChannel, tap: Tapped) -> Link:
        """Our end of a link with ``site``."""
        clocks = self._world.link_clocks(TIER, self.process)
        plan = tier_plan(site, Stamp(origin="gateway", incarnation=clocks.ids()), self._limits)
        store = SimStore(self._world.servers[TIER], self.process)
        return Link(peer_ends(plan, store, clocks, tap.denials()), channel, clocks, tap=tap)


class SiteDialer:
    """The link process of one site; ``gateways`` are dialled in turn."""

    def __init__(
        self, world: World, site: str, process: Process, gateways: list[str], limits: LinkLimits
    ) -> None:
        self._world = world
        self._site = site
        self._process = process
        self._gateways = gateways
        self._limits = limits
        self.link: Link | None = None
        self.channel: SimChannel | None = None

    async def run(self) -> None:
        """Dial, link, pause, for ever."""
        chance = self._world.chance(f"jitter {self._process.name} {self._process.lives}")
        monotonic_s = self._world.clocks[self._site].monotonic_s
        failures = 0
        for name in itertools.cycle(self._gateways):
            opened_at_s = monotonic_s()
            try:
                await self._once(name)
            except (FederationError, StoreError):
                lasted = monotonic_s() - opened_at_s > self._limits.beat_s
                failures = 0 if lasted else failures + 1
            ceiling_s = min(BACKOFF_MAX_S, BACKOFF_MIN_S * 2.0 ** min(failures, 10))
            await asyncio.sleep(ceiling_s * (0.5 + chance.random() / 2))

    async def _once(self, name: str) -> None:
        channel = await dial(self._world, self._world.lines[self._site], name)
        forget = self._process.on_death(_ender(self._process, channel))
        self.channel = channel
        try:
            clocks = self._world.link_clocks(self._site, self._process)
            stamp = Stamp(origin=self._site, incarnation=clocks.ids())
            store = SimStore(self._world.servers[self._site], self._process)
            tap = Tapped(self._world, f"{self._site}>{TIER}", f"{TIER}>{self._site}")
            plan = site_plan(self._site, stamp, self._limits)
            ends = peer_ends(plan, store, clocks, tap.denials())
            self.link = Link(ends, channel, clocks, tap=tap)
            await _watched(self.link, tap)
        finally:
            forget()
            await channel.close()


async def dial(world: World, line: Line, name: str) -> SimChannel:
    """A connection to the gateway ``name``, or LinkLost."""
    await asyncio.sleep(line.up.latency_s + line.down.latency_s)
    if not line.passable:
        await asyncio.sleep(CONNECT_TIMEOUT_S)
        raise LinkLost(f"{name} cannot be reached")
    process = world.processes[name]
    gateway = world.gateways.get(name)
    if gateway is None or not process.alive:
        raise LinkLost(f"{name} refuses the connection")
    site_end, tier_end = line.connect()
    gateway.accept(line.site, tier_end)
    return site_end


def _ender(process: Process, channel: SimChannel) -> Callable[[], None]:
    """What becomes of a connection when its process ends: a reset, or silence."""
    return lambda: channel.abandon() if process.quiet else channel.cut()


async def _watched(link: Link, tap: Tapped) -> None:
    """A link to its end; how it ended is counted."""
    try:
        await link.run()
    except (FederationError, StoreError) as error:
        tap.ended(error)
        raise
    except asyncio.CancelledError:
        process = current()
        if process is not None and process.alive:
            tap.ended(Superseded("a newer link of this peer"))
        raise


async def _seated(link: Link, tap: Tapped) -> None:
    with contextlib.suppress(FederationError, StoreError):
        await _watched(link, tap)


@dataclass(slots=True)
class Tapped:
    """Sees every frame of one end; counts the transitions of its exporter and importer and writes them down."""

    world: World
    exports: str
    imports: str

    def denials(self) -> DenialLog:
        """For this end; the world is told."""
        return self.world.scopes.log(self.exports, self.imports)

    def __call__(self, direction: str, frame: pb.Frame) -> None:
        if direction == "sent" and frame.HasField("batch"):
            self.world.scopes.crossed(self.exports, frame.batch)
        name = _transition(direction, frame)
        if name:
            self.world.stats.transitions[name] += 1
            self.world.record.step(
                self.exports if name.startswith("exporter") else self.imports, name=name
            )

    def ended(self, error: FederationError | StoreError) -> None:
        """The link ended by ``error``."""
        code = error.code if isinstance(error, FederationError) else "store"
        self.world.stats.transitions[f"link.{code}"] += 1
        self.world.record.step(self.exports, name=f"link.{code}")
        if isinstance(error, ProtocolViolation) and not self.world.dishonest:
            self.world.problem(f"violation on an honest transport: {self.exports}: {code}: {error}")


TRANSITIONS = (
    *(f"exporter.{name}" for name in ("asked-empty", "asked-token", "follow", "snapshot",
      "snapshot-part", "repair", "end", "compared")),
    *(f"importer.{name}" for name in ("asked-empty", "asked-token", "follow", "snapshot",
      "snapshot-part", "repair", "sweep", "compare")),
    *(f"link.{name}" for name in ("greeted", "lost", "store", "superseded", "gap")),
)  # fmt: skip
"""The arrows of the protocol that a set of seeds must walk (docs/federation-protocol.md)."""
_MODES = {
    pb.MODE_FOLLOW: "follow",
    pb.MODE_SNAPSHOT: "snapshot",
    pb.MODE_REPAIR: "repair",
}


def _transition(direction: str, frame: pb.Frame) -> str:
    """The arrow of docs/federation-protocol.md that a frame stands for; empty for the many that are none."""
    kind = frame.WhichOneof("kind")
    if kind in ("batch", "ack", "beat"):
        return ""
    sent = direction == "sent"
    if kind == "begin":
        some = frame.begin.mode == pb.MODE_SNAPSHOT and len(frame.begin.buckets) < BUCKETS
        part = "-part" if some else ""
        return f"{'exporter' if sent else 'importer'}.{_MODES[frame.begin.mode]}{part}"
    if kind == "end":
        return "exporter.end" if sent else "importer.sweep"
    if kind == "resume":
        with_token = "token" if frame.resume.HasField("token") else "empty"
        return f"{'importer' if sent else 'exporter'}.asked-{with_token}"
    if kind == "compare":
        return "importer.compare" if sent else "exporter.compared"
    if kind == "hello":
        return "" if sent else "link.greeted"
    return "" if sent else f"link.bye-{frame.bye.code}"
