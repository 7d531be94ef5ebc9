"""One seeded life of a link: churn, cuts, kills, compactions, restores, broken order; and who judges it.

The judge reads the *destination's* own history through a watch, as a consumer of the mirror would, and knows
everything the source ever held. Each value is unique, so it says which write it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from dataclasses import dataclass, field

from tests.federation_support import DOWN, FAST, HUB, SITE, Wire, below, intents_at_site, outbox

from isthmus.contract.scopes import import_root
from isthmus.federation.channel import MemoryChannel
from isthmus.federation.digest import digest, imported
from isthmus.kv.errors import StoreError
from isthmus.kv.memory import MemoryStore
from isthmus.kv.mvcc import Backup
from isthmus.kv.port import EventKind

KEYS = tuple(f"intents/t{number % 3}/c{number}" for number in range(10))
FOREIGN = "secrets/t0/key"
SMALL = FAST.model_copy(update={"batch_items": 3, "txn_ops": 4, "pending_bytes": 8})
"""So small that ten keys need several frames, several writes, and values that are fetched again."""
SENTINEL = b"SENTINEL-7d0c"


@dataclass
class Judge:
    """What the source held, and what the destination showed."""

    counter: int = 0
    held: dict[str, list[int]] = field(default_factory=dict)
    gone: dict[str, list[int]] = field(default_factory=dict)
    restores: list[int] = field(default_factory=list)
    shown: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def wrote(self, key: str) -> bytes:
        """The next unique value of ``key``."""
        self.counter += 1
        self.held.setdefault(key, []).append(self.counter)
        return b"%d" % self.counter

    def deleted(self, key: str) -> None:
        """The source lost ``key``."""
        self.counter += 1
        self.gone.setdefault(key, []).append(self.counter)

    def restored(self) -> None:
        """The source went back in time: older values may come again, others may go."""
        self.counter += 1
        self.restores.append(self.counter)

    def saw_put(self, key: str, value: bytes) -> None:
        """The destination shows ``value``."""
        number = int(value) if value.isdigit() else -1
        if number not in self.held.get(key, []):
            self.faults.append(f"{key} shows {value!r}, which the source never held there")
        before = self.shown.get(key, 0)
        if number < before and not self._undone(before):
            self.faults.append(f"broke Ordered: {key} went back from {before} to {number}")
        self.shown[key] = number

    def saw_delete(self, key: str) -> None:
        """The destination shows ``key`` no more."""
        number = self.shown.get(key, 0)
        legitimate = any(gone > number for gone in self.gone.get(key, []))
        if not legitimate and not self._undone(number):
            self.faults.append(f"broke no-blanking: {key} was removed, the source still has it")

    def _undone(self, number: int) -> bool:
        """A restore took the write with this number away."""
        return any(restore > number for restore in self.restores)


class DisturbedChannel(MemoryChannel):
    """Drops, doubles and swaps frames, as no honest transport does (attack 13)."""

    def __init__(self, depth: int, chance: random.Random, rate: float) -> None:
        super().__init__(depth)
        self._chance = chance
        self._rate = rate
        self._kept: bytes | None = None

    async def send(self, frame: bytes) -> None:
        if self._chance.random() >= self._rate:
            await super().send(frame)
            if self._kept is not None:
                kept, self._kept = self._kept, None
                await super().send(kept)
            return
        fate = self._chance.choice(("drop", "double", "swap"))
        if fate == "double":
            await super().send(frame)
            await super().send(frame)
        elif fate == "swap":
            self._kept = frame


@dataclass
class World:
    """One run of ``seed``."""

    seed: int
    restores: bool = False
    target_restores: bool = False
    disturbed: float = 0.0
    steps: int = 40
    judge: Judge = field(default_factory=Judge)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.site, self.hub = MemoryStore(), MemoryStore()
        self.wire = Wire(self.site, self.hub, limits=SMALL, tap=self._tap)
        self.backup: Backup | None = None
        self.target_backup: Backup | None = None
        self.leaked = False
        self.joins = 0

    def _tap(self, direction: str, frame: object) -> None:
        text = str(frame)
        self.leaked = self.leaked or "SENTINEL" in text

    async def run(self) -> None:
        """Live, heal, converge."""
        watching = asyncio.create_task(self._watch())
        keeping = asyncio.create_task(self._keep_joined())
        try:
            for _ in range(self.steps):
                await self._step()
            self.disturbed = 0.0
            await self._converge()
        finally:
            for task in (watching, keeping):
                task.cancel()
            await asyncio.gather(watching, keeping, return_exceptions=True)
            await self.wire.kill()
        assert not self.judge.faults, f"seed {self.seed}: {self.judge.faults[:3]}"
        assert not self.leaked, f"seed {self.seed}: a key outside the scope was on the wire"

    async def _step(self) -> None:
        action = self.chance.choices(
            (
                "put",
                "delete",
                "foreign",
                "pause",
                "cut",
                "kill",
                "compact",
                "rewire",
                "restore",
                "restore_target",
            ),
            (30, 14, 3, 20, 5, 3, 4, 3, 4 * self.restores, 4 * self.target_restores),
        )[0]
        await getattr(self, f"_{action}")()

    async def _put(self) -> None:
        for _ in range(self.chance.choice((1, 1, 5))):
            key = self.chance.choice(KEYS)
            await self.hub.put(outbox(key), self.judge.wrote(key))

    async def _delete(self) -> None:
        key = self.chance.choice(KEYS)
        if await self.hub.get(outbox(key)) is not None:
            self.judge.deleted(key)
            await self.hub.delete(outbox(key))

    async def _foreign(self) -> None:
        await self.hub.put(outbox(FOREIGN), SENTINEL)

    async def _pause(self) -> None:
        await asyncio.sleep(self.chance.choice((0.0, 0.01, 0.2, 1.0, 3.0)))

    async def _cut(self) -> None:
        if self.wire.channels is not None:
            self.wire.channels[0].cut()

    async def _kill(self) -> None:
        for task in self.wire.tasks:
            task.cancel()

    async def _compact(self) -> None:
        with contextlib.suppress(StoreError):
            await self.hub.compact(self.hub.revision - self.chance.choice((0, 0, 3)))

    async def _rewire(self) -> None:
        self.chance.choice((self.hub, self.site)).cut()

    async def _restore(self) -> None:
        if self.backup is None or self.chance.random() < 0.5:
            self.backup = self.hub.backup()
            return
        self.judge.restored()
        self.hub.restore(self.backup)

    async def _restore_target(self) -> None:
        """The destination's own store goes back; its readers see that, so only the end is judged."""
        if self.target_backup is None or self.chance.random() < 0.5:
            self.target_backup = self.site.backup()
            return
        self.site.restore(self.target_backup)

    async def _watch(self) -> None:
        root = import_root(HUB)
        if self.target_restores:
            return
        async for batch in self.site.watch(root, start_revision=1):
            for event in batch.events:
                relative = event.key[len(root) :]
                if relative.startswith("meta."):
                    continue
                if event.kind is EventKind.DELETE or event.entry is None:
                    self.judge.saw_delete(relative)
                else:
                    self.judge.saw_put(relative, event.entry.value)

    async def _keep_joined(self) -> None:
        """As the dialer: when the link ended, join again after a pause."""
        while True:
            self.wire.join()
            self.joins += 1
            if self.wire.channels is not None and self.disturbed:
                self._disturb()
            await asyncio.gather(*self.wire.tasks, return_exceptions=True)
            await asyncio.sleep(self.chance.choice((0.0, 0.1, 1.0)))

    def _disturb(self) -> None:
        one, two = (DisturbedChannel(16, self.chance, self.disturbed) for _ in range(2))
        one.join(two)
        two.join(one)
        for link, channel in zip((self.wire.site, self.wire.hub), (one, two), strict=True):
            link._channel = channel
        self.wire.channels = (one, two)

    async def _converge(self) -> None:
        async with asyncio.timeout(120):
            for pause_s in itertools.repeat(0.5):
                if await self._converged():
                    return
                await asyncio.sleep(pause_s)

    async def _converged(self) -> bool:
        wanted = await below(self.hub, f"/isthmus/v1/outbox/{SITE}/")
        wanted.pop(FOREIGN, None)
        held = await intents_at_site(self.site)
        ends = (self.wire.site, self.wire.hub)
        equal = all(link.status().digests_equal for link in ends)
        if held != wanted or not equal:
            return False
        source = await digest(self.hub, self.wire.plans[1].exports, DOWN)
        return source == await digest(self.site, imported(HUB))
