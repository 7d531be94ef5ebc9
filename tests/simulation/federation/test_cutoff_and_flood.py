"""G8, G9 and G11 in virtual time, judged from recorded histories: who is cut goes silent, who floods starves nobody.

Three peers share one tier: two sites of the carrier and a partner. The links, importers, quotas and the standing with
its files of revocations are the shipped ones; a store that takes one transaction at a time makes contention real.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest
from tests.support_certificates import CARRIER, NOW_S, PARTNER, Operator

from isthmus.chaos.history import Header, Memory
from isthmus.chaos.history.judge import judge_all
from isthmus.chaos.history.verdict import Outcome, Verdict
from isthmus.chaos.simulation.loop import run_virtually
from isthmus.contract.envelope import Stamp
from isthmus.contract.scopes import (
    SITE_TO_TIER,
    TIER_TO_SITE,
    import_root,
    site_exports,
    tier_exports,
)
from isthmus.federation import link_pb2 as pb
from isthmus.federation.channel import pair
from isthmus.federation.limits import LinkLimits
from isthmus.federation.link import Clocks, Link, LinkPlan, peer_ends
from isthmus.federation.standing import Standing
from isthmus.kv.memory import MemoryStore
from isthmus.kv.port import Txn, TxnResult
from isthmus.policy.quotas import Quota
from isthmus.policy.scopes import Scope
from isthmus.trust.revocation import RevocationList

HUB, HONEST, FLOODER = "global", "milan", "alps"
LIMITS = LinkLimits(beat_s=1.0, lost_after_s=5.0)
TIGHT = Quota(max_keys=100, max_total_bytes=4 << 20, max_changes_per_s=200.0, burst_changes=500)
WAYS = {"sent": "out", "received": "in"}
Flood = Callable[["Tier"], Coroutine[None, None, None]]


class _OneAtATime(MemoryStore):
    """2 ms a transaction and 20 us an operation, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self._turn = asyncio.Lock()

    async def txn(self, txn: Txn, *, timeout_s: float = 5.0) -> TxnResult:
        async with self._turn:
            await asyncio.sleep(0.002 + 2e-5 * len(txn.then))
            return await super().txn(txn, timeout_s=timeout_s)


class Tier:
    """The hub, its peers' stores, their links, and what is recorded of it."""

    def __init__(self, folder: Path, quota: Quota, *, guarded: bool = True) -> None:
        self._loop = asyncio.get_running_loop()
        self._quota, self._guarded = quota, guarded
        self._numbers = itertools.count(1)
        self.clocks = Clocks(
            self._loop.time, self.utc_s, lambda: f"id-{next(self._numbers)}", self._next
        )
        self.memory = Memory(Header("simulation", 1, "-", "cutoff-and-flood"), self._loop.time)
        self.say = self.memory.recorder
        self.hub = _OneAtATime()
        self.stores = {name: MemoryStore() for name in (HONEST, FLOODER)}
        self.revocations = folder / "revoked.json"
        operators = {HONEST: Operator(CARRIER, NOW_S), FLOODER: Operator(PARTNER, NOW_S)}
        paths = {}
        for operator in operators.values():
            path = folder / f"{operator.domain.name}.pem"
            path.write_bytes(operator.bundle_pem)
            path.chmod(0o644)
            paths[operator.domain.name] = path
        self.standing = Standing(paths, self.revocations, self.utc_s, own_domain=CARRIER)
        self.peers = {
            name: self.standing.verify(operator.issue()[1], 1)
            for name, operator in operators.items()
        }
        self.links: dict[str, Link] = {}
        self.tasks: list[asyncio.Task[None]] = []

    def utc_s(self) -> float:
        return NOW_S + self._loop.time()

    def _next(self) -> int:
        return next(self._numbers)

    def join(self, name: str) -> None:
        """A link of that peer, both ends."""
        channels = pair()
        stamp = Stamp(origin=name, incarnation="1")
        up, down = (
            Scope.mirror("up", SITE_TO_TIER),
            Scope.mirror("down", TIER_TO_SITE),
        )
        site = LinkPlan(name, HUB, site_exports(HUB), up, down, Quota(), stamp, LIMITS)
        tier = LinkPlan(HUB, name, tier_exports(name), down, up, self._quota, stamp, LIMITS)

        async def guard() -> None:
            if self._guarded:
                self.standing.check(self.peers[name], 1)

        def tap(way: str, frame: pb.Frame) -> None:
            kind = frame.WhichOneof("kind") or ""
            self.say.frame("hub", peer=name, direction=WAYS[way], code=kind)  # type: ignore[arg-type]

        there = peer_ends(site, self.stores[name], self.clocks)
        here = peer_ends(tier, self.hub, self.clocks)
        self.links[name] = Link(
            here, channels[1], self.clocks, greets_first=False, guard=guard, tap=tap
        )
        ends = (Link(there, channels[0], self.clocks), self.links[name])
        self.tasks += [self._loop.create_task(link.run()) for link in ends]

    def revoke(self, name: str) -> None:
        """As an operator's tool leaves the list; from here on it is known."""
        identities = frozenset({str(self.peers[name].identity)})
        self.revocations.write_bytes(RevocationList(2, NOW_S, identities=identities).to_json())
        self.revocations.chmod(0o644)
        self.say.note("hub", "policy", {"peer": name, "phase": "revoked"})

    async def crosses_s(self, number: int) -> float:
        """How long one change of the honest peer takes to be readable above."""
        began_s, value = self._loop.time(), b"%d" % number
        await self.stores[HONEST].put(up_key("wires/w-1"), value)
        key = import_root(HONEST) + "summary/wires/w-1"
        while (entry := await self.hub.get(key)) is None or entry.value != value:
            await asyncio.sleep(0.001)
            assert self._loop.time() - began_s < 60, self.links[HONEST].status()
        return self._loop.time() - began_s

    def denied(self, name: str) -> int:
        return sum(self.links[name].status().denied.values())

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def judged(self, promise: str) -> Verdict:
        return judge_all(self.memory.records, [promise])[0]


def up_key(relative: str) -> str:
    """A key that a site exports to the hub as ``summary/<relative>``."""
    return f"/isthmus/v1/summary/peers/{HUB}/{relative}"


async def _revocation(folder: Path, seed: int, *, guarded: bool) -> Verdict:
    chance = random.Random(seed)
    tier = Tier(folder, Quota(), guarded=guarded)
    for name in tier.stores:
        tier.join(name)
    await asyncio.sleep(chance.uniform(1.0, 10.0))
    await tier.stores[FLOODER].put(up_key("wires/w-2"), b"1")
    await asyncio.sleep(chance.uniform(0.0, 1.5))
    tier.revoke(FLOODER)
    for number in range(20):
        await tier.stores[FLOODER].put(up_key("wires/w-2"), b"%d" % number)
        await asyncio.sleep(0.5)
    assert tier.links[HONEST].status().connected, "the others are not touched"
    await tier.stop()
    return tier.judged("G9")


@pytest.mark.parametrize("seed", range(10))
def test_who_is_revoked_is_silent_within_five_seconds(seed: int, tmp_path: Path) -> None:
    """G9 for a revocation that is locally known, whenever it falls between two ticks and two changes."""
    verdict = run_virtually(_revocation(tmp_path, seed, guarded=True), chance=random.Random(seed))
    assert verdict.outcome is Outcome.KEPT, verdict.text
    assert verdict.samples == 1


def test_a_link_without_its_watchdog_is_found(tmp_path: Path) -> None:
    """The planted mutant: gRPC itself never cuts (measured), so a forgotten guard must show."""
    verdict = run_virtually(_revocation(tmp_path, 1, guarded=False))
    assert verdict.outcome is Outcome.BROKEN, verdict.text


async def _many_keys(tier: Tier) -> None:
    """100 times as many keys as it was given room for."""
    for number in range(100 * TIGHT.max_keys):
        await tier.stores[FLOODER].put(up_key(f"wires/f-{number}"), b"x")
        if number % 100 == 0:
            await asyncio.sleep(0.01)


async def _huge_values(tier: Tier) -> None:
    """The largest that cross at all, and larger ones."""
    for number in itertools.count():
        size = 64 * 1024 if number % 2 else 1024 * 1024
        await tier.stores[FLOODER].put(up_key(f"wires/f-{number % 400}"), bytes(size))
        await asyncio.sleep(0.01)


async def _one_key_fast(tier: Tier) -> None:
    """1 kHz on one key."""
    for number in itertools.count():
        await tier.stores[FLOODER].put(up_key("wires/f"), b"%d" % number)
        await asyncio.sleep(0.001)


async def _flooded(folder: Path, flood: Flood, quota: Quota) -> tuple[Verdict, int]:
    tier = Tier(folder, quota)
    for name in tier.stores:
        tier.join(name)
    await asyncio.sleep(2.0)

    async def shares(count: int) -> None:
        for number in range(count):
            took_s = await tier.crosses_s(number + tier.hub.revision)
            _share(tier, HONEST, took_s, flooding=False)
            await asyncio.sleep(0.05)

    await shares(40)
    flooding = asyncio.create_task(flood(tier))
    _share(tier, FLOODER, 0.0, flooding=True)
    await shares(40)
    flooding.cancel()
    await asyncio.gather(flooding, return_exceptions=True)
    held = await tier.hub.snapshot(import_root(FLOODER))
    await tier.stop()
    return tier.judged("G11"), len(held.entries)


def _share(tier: Tier, peer: str, took_s: float, *, flooding: bool) -> None:
    told = {"peer": peer, "flooding": flooding, "converged_s": took_s, "denied": tier.denied(peer)}
    tier.say.note("hub", "share", told)


@pytest.mark.parametrize("flood", [_many_keys, _huge_values, _one_key_fast])
def test_a_flood_starves_nobody_and_fills_nothing(flood: Flood, tmp_path: Path) -> None:
    """G11: an honest site's changes cross as fast as before, and the store holds what the quota says."""
    verdict, held = run_virtually(_flooded(tmp_path, flood, TIGHT))
    assert verdict.outcome is Outcome.KEPT, verdict.text
    assert held <= TIGHT.max_keys + 5, "and the link's own keys"


def test_without_a_quota_the_store_fills(tmp_path: Path) -> None:
    """The planted mutant: a quota that never says no."""
    _, held = run_virtually(_flooded(tmp_path, _many_keys, Quota(max_keys=10**9)))
    assert held > TIGHT.max_keys + 5
