"""An event loop whose clock jumps to the next timer when nothing is left to do, and whose order is a seed's.

A minute of beats, time-outs and back-off takes as long as its arithmetic, and a run is the same every time: there is
no thread, socket or real time in it (FoundationDB's and TigerBeetle's way of testing; GUARANTEES.md G13). With a
``chance`` it permutes, at each turn, the steps of *different* tasks: nobody promised an order among them, and a
real store or network would not keep it. Callbacks that are no task's step, and two steps of one task, keep theirs.
It also knows whose step each one is (:mod:`.processes`), so a process may be frozen or end between any two.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import random
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

TURN_S = 1e-6
"""A turn of the loop takes that long: who waits for the rest of a rounding error gets there, as in reality."""
STANDSTILL_STEPS = 200_000
"""So many steps without a pause are a spin, not work."""


class SimulationError(Exception):
    """A run that cannot go on; the text says who waits or spins."""


class Deadlock(SimulationError):
    """Everything waits and no timer is set."""


class Standstill(SimulationError):
    """Steps without end and without a pause."""


class RealWorld(SimulationError):
    """Something asked for a thread, a socket or real time."""


class Owner(Protocol):
    """Whose step it is."""

    def admit(self, handle: asyncio.Handle) -> bool:
        """May it run now? An owner that says no keeps the handle or lets it go."""
        ...


OWNER: contextvars.ContextVar[Owner | None] = contextvars.ContextVar("owner", default=None)
"""The process whose code is running; inherited by tasks, timers and callbacks."""


class VirtualLoop(asyncio.BaseEventLoop):
    """See the module. ``chance`` None: strictly first in, first out."""

    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]
    _timer_cancelled_count: int

    def __init__(self, chance: random.Random | None = None) -> None:
        super().__init__()
        self._now_s = 0.0
        self._chance = chance
        self._steps_on_end = 0
        self.steps = 0
        self.outside = contextvars.Context()

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now_s

    def at(self, when_s: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        """``callback`` at ``when_s``, on behalf of nobody (the network, a disk, the schedule)."""
        return self.call_at(when_s, callback, context=self.outside)

    # ---- one turn

    def _run_once(self) -> None:
        ready = self._ready
        self._now_s += TURN_S
        if not ready:
            self._jump()
        elif self._scheduled and self._scheduled[0].when() <= self._now_s:
            self._release_due()
        count = len(ready)
        if self._chance is not None and count > 1:
            self._permute(self._chance)
        self._steps_on_end += count
        self.steps += count
        if self._steps_on_end > STANDSTILL_STEPS:
            raise Standstill(f"no pause is made at {self._now_s:.3f} s: {self.who_waits()}")
        for _ in range(count):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            owner = handle._context.get(OWNER)  # type: ignore[attr-defined]
            if owner is None or owner.admit(handle):
                handle._run()

    def _jump(self) -> None:
        scheduled = self._scheduled
        while scheduled and scheduled[0]._cancelled:
            self._forget(heapq.heappop(scheduled))
        if not scheduled:
            if self._stopping:  # type: ignore[attr-defined]
                return
            raise Deadlock(f"everything waits and no timer is set: {self.who_waits()}")
        self._now_s = max(self._now_s, scheduled[0].when())
        self._steps_on_end = 0
        self._release_due()

    def _release_due(self) -> None:
        scheduled = self._scheduled
        while scheduled and scheduled[0].when() <= self._now_s:
            handle = heapq.heappop(scheduled)
            if handle._cancelled:
                self._forget(handle)
                continue
            handle._scheduled = False  # type: ignore[attr-defined]
            self._ready.append(handle)

    def _forget(self, handle: asyncio.TimerHandle) -> None:
        self._timer_cancelled_count -= 1
        handle._scheduled = False  # type: ignore[attr-defined]

    def _permute(self, chance: random.Random) -> None:
        """Shuffle the places that task steps have among themselves; one task's steps stay in order."""
        ready = self._ready
        places: list[int] = []
        steps: list[asyncio.Handle] = []
        seen: set[int] = set()
        for place, handle in enumerate(ready):
            task = getattr(handle._callback, "__self__", None)  # type: ignore[attr-defined]
            if isinstance(task, asyncio.Task) and id(task) not in seen:
                seen.add(id(task))
                places.append(place)
                steps.append(handle)
        if len(steps) > 1:
            chance.shuffle(steps)
            for place, handle in zip(places, steps, strict=True):
                ready[place] = handle

    # ---- who waits

    def who_waits(self) -> str:
        """Every task that has not ended, with the place in its code where it waits."""
        found = sorted(_place(task) for task in asyncio.all_tasks(self))
        return "; ".join(found[:12]) or "nobody"

    # ---- what there is not

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        raise RealWorld(f"{func!r} asked for a thread; a simulated run has none")

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Any, *args: Any, context: Any = None
    ) -> Any:
        return self.call_soon(callback, *args, context=context)  # asyncio's own: generators let go

    def _process_events(self, event_list: Any) -> None:
        raise RealWorld("there are no sockets in a simulated run")

    def _write_to_self(self) -> None:
        """There is no other thread to wake us from."""

    def _make_socket_transport(self, *args: Any, **options: Any) -> Any:
        raise RealWorld("a socket was asked for; a simulated run has none")

    async def sock_connect(self, sock: Any, address: Any) -> None:
        raise RealWorld(f"a connection to {address} was asked for; a simulated run has none")


def _place(task: asyncio.Task[Any]) -> str:
    coroutine = task.get_coro()
    name = getattr(coroutine, "__qualname__", "?")
    while True:
        inner = getattr(coroutine, "cr_await", None) or getattr(coroutine, "ag_await", None)
        if inner is None or not hasattr(inner, "cr_frame"):
            break
        coroutine = inner
    frame = getattr(coroutine, "cr_frame", None)
    return name if frame is None else f"{name} (in {frame.f_code.co_name}:{frame.f_lineno})"


def run_virtually(work: Coroutine[Any, Any, T], *, chance: random.Random | None = None) -> T:
    """``work`` to its end in virtual time."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(chance)) as runner:
        return runner.run(work)
