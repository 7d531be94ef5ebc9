"""The world "partners": a tier, one honest site, and two partners whose right ends or who flood it (G9, G11).

The links, importers, quotas and the verdict on a peer's right (:func:`isthmus.trust.watchdog.judge`) are the shipped
ones; the list of who is revoked is a value here and not a file. The tier's store takes one transaction at a time, so
who floods really stands in the way of the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Coroutine, Sequence
from typing import Any

from isthmus.chaos.simulation.carriage import DOWN, TIER, UP, Gateway, Tapped
from isthmus.chaos.simulation.fault_partners import HUGE_VALUES, MANY_KEYS
from isthmus.chaos.simulation.links import SimChannel
from isthmus.chaos.simulation.processes import Process
from isthmus.chaos.simulation.schedule import Schedule
from isthmus.chaos.simulation.stores import SimStore, StoreServer
from isthmus.chaos.simulation.world import SITES
from isthmus.chaos.simulation.world_links import GATEWAYS, LinksWorld
from isthmus.contract.envelope import Stamp
from isthmus.contract.quarantine import mark_key
from isthmus.contract.scopes import import_root, tier_exports
from isthmus.federation import link_pb2 as pb
from isthmus.federation.destination import quarantine
from isthmus.federation.digest import META
from isthmus.federation.errors import CutOff
from isthmus.federation.link import TICK_S, Link, LinkPlan, peer_ends
from isthmus.identity import Identity, TrustDomain, Validity
from isthmus.kv.errors import StoreError
from isthmus.kv.port import Event, Txn, TxnResult
from isthmus.policy.quotas import Quota
from isthmus.trust import RevocationList, VerifiedPeer
from isthmus.trust.watchdog import Cut, judge

HONEST, PARTNERS = SITES[0], SITES[1:]
KNOWN_S = 5.0
"""G9: within this time of being locally known a right that ended has ended."""
RETURNS = {"revoked": "admitted", "expired": "rotated"}
ROOT = "/isthmus/v1/"
WAYS = {"sent": "out", "received": "in"}


class PartnersWorld(LinksWorld):
    """See the module."""

    name = "partners"
    lasts_s = 14.0
    settles_s = 90.0
    promises = ("G4", "G5", "G8", "G9", "G11")

    def __init__(self, schedule: Schedule, commit: str = "") -> None:
        super().__init__(schedule, commit)
        chance = self.chance("quota")
        self.quota = Quota(
            max_keys=chance.choice((40, 100)),
            max_total_bytes=chance.choice((64 << 10, 4 << 20)),
            max_changes_per_s=chance.choice((100.0, 300.0)),
            burst_changes=chance.choice((100, 500)),
        )
        self.turn = asyncio.Lock()
        self.guarded = True
        self._ended: dict[str, dict[str, float]] = {site: {} for site in PARTNERS}
        self._floods: dict[str, asyncio.Task[None]] = {}
        self._ebbed = False
        self._awaited: tuple[bytes, asyncio.Event] = (b"", asyncio.Event())

    @classmethod
    def targets(cls) -> dict[str, Sequence[str]]:
        """The partners, and their ways to us. Nothing hits the honest site: what it gets is the measure."""
        return {"partner": PARTNERS, "line": PARTNERS}

    async def _gateway(self, process: Process) -> None:
        self.gateways[process.name] = gateway = GuardedGateway(self, process, self.limits)
        await gateway.judge_absent()

    def load(self) -> Sequence[Coroutine[Any, Any, None]]:
        return [*super().load(), self._honest()]

    # ---- rights

    def cut(self, site: str) -> Cut | None:
        """What the tier knows now of the right of ``site`` to its link."""
        ended, now_s = self._ended.get(site, {}), self.clocks[TIER].wall_s()
        peer = VerifiedPeer(
            Identity.of_site(TrustDomain("partner.example"), site, "federation"),
            Validity(0.0, ended.get("expired", now_s + 3600.0)),
            serial=1,
            authorities=(),
        )
        revoked = {str(peer.identity)} if "revoked" in ended else set()
        return judge(peer, now_s, RevocationList(1, 0.0, identities=frozenset(revoked)), 0)

    def revoked(self, site: str) -> bool:
        """Is its identity on the list, whatever else is wrong with it?"""
        return "revoked" in self._ended[site]

    def end_right(self, site: str, why: str) -> bool:
        """From now on it is locally known; True when there was a link to cut."""
        linked = self._open(site)
        self._ended[site][why] = self.clocks[TIER].wall_s() - 1e-3
        self.record.note(TIER, "policy", {"peer": site, "phase": why})
        return linked

    def give_right(self, site: str, why: str) -> None:
        """It may come back, unless something else is in the way."""
        lasted_s = self.clocks[TIER].wall_s() - self._ended[site].pop(why)
        marked = self.servers[TIER].mvcc.get(mark_key(site)) is not None
        if why == "revoked" and lasted_s > KNOWN_S and not marked:
            self.problem(f"{site} is {why} for {lasted_s:.1f} s and what is held of it is unmarked")
        if not self._ended[site]:
            self.record.note(TIER, "policy", {"peer": site, "phase": RETURNS[why]})

    def _open(self, site: str) -> bool:
        links = (gateway.links.get(site) for gateway in self.gateways.values())
        return any(link is not None and link.status().connected for link in links)

    # ---- floods

    def begin_flood(self, site: str, how: str) -> bool:
        """It asks for more than it was given; True when it has a link for it."""
        self._floods[site] = asyncio.get_running_loop().create_task(self._flood(site, how))
        self._share(site, 0.0, flooding=True)
        return self._open(site)

    def end_flood(self, site: str) -> None:
        """What it wrote stays until the end of the faults, and counts against its quota only."""
        self._floods[site].cancel()
        self._ebbed = True
        self._within(site)

    async def _flood(self, site: str, how: str) -> None:
        store = SimStore(self.servers[site], None)
        for number in itertools.count():
            with contextlib.suppress(StoreError):
                if how == MANY_KEYS:
                    for one in range(5 * number, 5 * number + 5):
                        await store.put(_flood_key(one), b"x")
                elif how == HUGE_VALUES:
                    await store.put(_flood_key(number % 30), bytes(32 << 10))
                else:
                    await store.put(_flood_key(0), b"%d" % number)
            await asyncio.sleep(0.004 if how != HUGE_VALUES else 0.02)

    def _within(self, site: str) -> None:
        root = import_root(site)
        entries = self.servers[TIER].mvcc.snapshot(root).entries
        held = sum(not entry.key.removeprefix(root).startswith(META) for entry in entries)
        if held > self.quota.max_keys:
            self.problem(f"{site} has {held} keys with us, {self.quota.max_keys} are its quota")

    def healed(self) -> None:
        """Who flooded works off at the rate of its quota; that it does is asked by :meth:`unsettled`."""
        self.mirrors.healed(but=self._floods)

    def unsettled(self) -> None:
        """The judges do not say it of who flooded."""
        ways = ", ".join(self.mirrors.differences())
        self.problem(f"not equal {self.settles_s:g} s after the flood was taken back: {ways}"[:300])

    async def rest(self) -> None:
        """The flood is taken back: what it was refused must not stay away for ever."""
        for task in self._floods.values():
            task.cancel()
        await asyncio.gather(*self._floods.values(), return_exceptions=True)
        for site in self._floods:
            self._within(site)
            for entry in self.servers[site].mvcc.snapshot(f"{_PEERS}wires/").entries:
                if "/f-" in entry.key:
                    self.servers[site].mvcc.delete(entry.key)

    # ---- what the honest site gets

    async def _honest(self) -> None:
        """One change after the other, each timed, until a flood is over: what drains after it is no calm."""
        store = SimStore(self.servers[HONEST], None)
        for number in itertools.count():
            if self._ebbed:
                return
            value, seen = b"honest-%d" % number, asyncio.Event()
            self._awaited = (value, seen)
            began_s = self.now_s()
            await store.put(f"{_PEERS}wires/honest", value)
            await seen.wait()
            self._share(HONEST, self.now_s() - began_s, flooding=False)
            await asyncio.sleep(0.05)

    def on_events(self, server: StoreServer, revision: int, events: tuple[Event, ...]) -> None:
        super().on_events(server, revision, events)
        value, seen = self._awaited
        for event in events if server.name == TIER else ():
            if event.entry is not None and event.entry.value == value:
                seen.set()

    def _share(self, site: str, took_s: float, *, flooding: bool) -> None:
        links = (gateway.links.get(site) for gateway in self.gateways.values())
        denied = sum(
            count
            for link in links
            if link is not None
            for why, count in link.status().denied.items()
            if "quota" in why
        )
        told = {"peer": site, "flooding": flooding, "converged_s": took_s, "denied": denied}
        self.record.note(TIER, "share", told)


class GuardedGateway(Gateway):
    """A gateway that knows whose right has ended."""

    _world: PartnersWorld

    def accept(self, site: str, channel: SimChannel) -> None:
        """Who may not is refused at the handshake."""
        cut = self._world.cut(site)
        if cut is not None:
            self._world.stats.transitions[f"refused.{cut.code}"] += 1
            channel.cut()
            return
        super().accept(site, channel)

    async def judge_absent(self) -> None:
        """What is held of one that was revoked while it was away is marked, too. One whose certificate has ended may
        have a newer one that nobody has seen: what it told ages (G12)."""
        while True:
            await asyncio.sleep(TICK_S)
            for site in PARTNERS:
                seat = self._seats.get(site)
                here = seat is not None and not seat.done()
                if here or not self._world.revoked(site):
                    continue
                if self._world.servers[TIER].mvcc.get(mark_key(site)) is None:
                    await self._mark(site, "revoked")

    def link(self, site: str, channel: SimChannel, tap: Tapped) -> Link:
        world = self._world
        clocks = world.link_clocks(TIER, self.process)
        stamp = Stamp(origin="gateway", incarnation=clocks.ids())
        plan = LinkPlan(TIER, site, tier_exports(site), DOWN, UP, world.quota, stamp, self._limits)
        store = TurnStore(world, self.process)

        async def guard() -> None:
            cut = world.cut(site) if world.guarded else None
            if cut is not None:
                self.process.run(self._mark(site, cut.code))
                raise CutOff(cut.code, cut.detail)

        def heard(way: str, frame: pb.Frame) -> None:
            tap(way, frame)
            kind = frame.WhichOneof("kind") or ""
            world.record.note(TIER, "frame", {"peer": site, "direction": WAYS[way], "code": kind})

        ends = peer_ends(plan, store, clocks, tap.denials())
        return Link(ends, channel, clocks, guard=guard, tap=heard)

    async def _mark(self, site: str, code: str) -> None:
        """As the shipped gateway, when the link has ended (G9)."""
        stamp = Stamp(origin="gateway", incarnation="mark")
        now_s = self._world.clocks[TIER].wall_s()
        await quarantine(TurnStore(self._world, self.process), site, code, stamp=stamp, as_of=now_s)


class TurnStore(SimStore):
    """The tier's store: 2 ms a transaction and 20 us an operation, one after the other."""

    def __init__(self, world: PartnersWorld, process: Process) -> None:
        super().__init__(world.servers[TIER], process)
        self._turn = world.turn

    async def txn(self, txn: Txn, *, timeout_s: float = 5.0) -> TxnResult:
        """When it is its turn."""
        async with self._turn:
            await asyncio.sleep(0.002 + 2e-5 * len(txn.then))
            return await super().txn(txn, timeout_s=timeout_s)


_PEERS = f"{ROOT}summary/peers/{TIER}/"


def _flood_key(number: int) -> str:
    return f"{_PEERS}wires/f-{number}"


__all__ = ["GATEWAYS", "HONEST", "PARTNERS", "PartnersWorld"]
