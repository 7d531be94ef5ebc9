"""Mortal controllers: each is a life of its own that a failpoint ends without any goodbye.

A dead life is *frozen*: the task stands at its failpoint for ever, its store answers nothing any more (also not what
is under way: a write may be in the store and its writer never learns), and its lease runs out. That is what SIGKILL
leaves. Time is virtual.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol, TypeVar

from isthmus.chaos.simulation.loop import run_virtually
from isthmus.failpoint import arm, disarm
from isthmus.kv.memory import MemoryLease, MemoryStore

FOR_EVER_S = 1e9
SOON_S = 90.0
"""Virtual. Every controller looks at everything again after 30 s; after three such looks nothing comes by itself."""

LIFE: ContextVar[Life | None] = ContextVar("life", default=None)


@dataclass(eq=False)
class Life:
    """One controller of one store, from its start to its death."""

    name: str
    store: MemoryStore
    dead: bool = False
    over: bool = False
    """The test ends: whatever still stands may go."""
    leases: list[MemoryLease] = field(default_factory=list)

    def die(self) -> None:
        """No goodbye."""
        self.dead = True
        for lease in self.leases:
            lease.renewing = False


class MortalStore:
    """What a life sees of its store: everything, until it is dead; then not even the end of what it asked."""

    def __init__(self, life: Life) -> None:
        self._life, self._inner = life, life.store

    async def _alive(self) -> None:
        if self._life.dead and not self._life.over:
            await asyncio.sleep(FOR_EVER_S)

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._inner, name)

        async def mortal(*arguments: Any, **named: Any) -> Any:
            await self._alive()
            answer = await call(*arguments, **named)
            await self._alive()
            return answer

        return mortal

    async def grant_lease(self, ttl_s: int, *, timeout_s: float = 5.0) -> MemoryLease:
        """A lease that nobody gives back once its holder is dead."""
        await self._alive()
        lease = await self._inner.grant_lease(ttl_s, timeout_s=timeout_s)
        self._life.leases.append(lease)
        inner = lease.revoke

        async def revoke(*, timeout_s: float = 5.0) -> None:
            await self._alive()
            await inner(timeout_s=timeout_s)

        lease.revoke = revoke  # type: ignore[method-assign]
        return lease

    async def watch(self, prefix: str, *, start_revision: int = 0) -> AsyncGenerator[Any, None]:
        """Nothing reaches the dead."""
        inner = self._inner.watch(prefix, start_revision=start_revision)
        try:
            async for batch in inner:
                await self._alive()
                yield batch
        finally:
            await inner.aclose()

    async def stream_snapshot(self, prefix: str, **named: Any) -> AsyncGenerator[Any, None]:
        """The same."""
        async for part in self._inner.stream_snapshot(prefix, **named):
            await self._alive()
            yield part


@dataclass
class Killer:
    """Hears every failpoint; ends the life that reaches ``point`` (of ``life`` alone, when that is named)."""

    point: str = ""
    life: str = ""
    victim: Life | None = None
    reached: set[tuple[str, str]] = field(default_factory=set)

    def __call__(self, name: str) -> float | None:
        life = LIFE.get()
        if life is None:
            return None
        if life.dead:
            return FOR_EVER_S
        self.reached.add((life.name, name))
        if self.victim is None and name == self.point and self.life in ("", life.name):
            self.victim = life
            life.die()
            return FOR_EVER_S
        return None

    @contextmanager
    def listening(self) -> Iterator[Killer]:
        """While the block runs."""
        before = arm(self)
        try:
            yield self
        finally:
            disarm(before)

    def next(self, life: str, point: str) -> None:
        """Kill there, the next time."""
        self.victim, self.life, self.point = None, life, point
        self.reached.clear()


async def soon(
    condition: Callable[[], Awaitable[object]], what: str, within_s: float = SOON_S
) -> None:
    """Wait in virtual time; AssertionError with the last answer."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while (answer := await condition()) is not True:
        assert loop.time() < deadline, f"{what}: not within {within_s:.0f} s: {answer}"
        await asyncio.sleep(0.05)


class Mortal(Protocol):
    """A world whose lives can be killed one by one."""

    def next_life(self, dead: Life) -> None: ...

    async def bare(self) -> object: ...


W = TypeVar("W", bound=Mortal)
Step = Callable[[W], Awaitable[None]]
Fact = Callable[[W], Awaitable[object]]


async def walk(
    world: W,
    path: tuple[str, Step[W], Fact[W]],
    take_back: Step[W],
    killer: Killer,
    life: str,
    point: str,
) -> set[tuple[str, str]]:
    """Take the step of ``path`` (name, step, what is true after it) in a world that rests; kill ``life`` at ``point``
    on the way (empty: nobody); then take everything back. What was reached on the way, by whom."""
    name, step, after = path
    where = f"{name}, killed {life} at {point or 'nowhere'}"

    async def dead() -> object:
        return killer.victim is not None

    await asyncio.sleep(3)
    killer.next(life, point)
    await step(world)
    if life:
        await soon(dead, f"{life} reached {point}")
        assert killer.victim is not None
        await asyncio.sleep(0.3)  # the others go on with what it left
        world.next_life(killer.victim)
    await soon(lambda: after(world), where)
    came_by = set(killer.reached)
    await take_back(world)
    await soon(world.bare, f"{where}: taken back")
    return came_by


Walk = Callable[..., Coroutine[Any, Any, set[tuple[str, str]]]]
"""``live`` of a world: walk a path, kill one life at one point; who came by which point."""


@lru_cache
def reached(live: Walk, path: str) -> frozenset[tuple[str, str]]:
    """Who comes by which point of a path when nobody dies."""
    return frozenset(run_virtually(live(path, Killer())))


def unreached(live: Walk, path: str, listed: list[str]) -> set[str]:
    """What is listed for a path although nobody comes by there."""
    return set(listed) - {point for _, point in reached(live, path)}


def die_there(live: Walk, path: str, point: str, *, whose: str = "") -> None:
    """Each life that comes by ``point`` (and whose name begins like ``whose``) dies there once, in a run of its own."""
    lives = {life for life, name in reached(live, path) if name == point and life.startswith(whose)}
    assert lives, f"nobody came by {point}"
    for life in sorted(lives):
        run_virtually(live(path, Killer(), life, point))
