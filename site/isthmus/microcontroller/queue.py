"""The work queue of a microcontroller: names of things to look at, never commands (DESIGN section 5).

One flight per item: while an item is being worked on, a new reason to look at it is remembered once and it is
handed out again afterwards. Failures come back later with exponential, jittered delay; a new reason during a flight
that fails is not made to wait for the whole of it. The queue is bounded by the number of *distinct* items, waiting
ones included, so a flood of events on one key costs one slot, and what has a slot is never refused again.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class BackOff:
    """Delay before the n-th retry: ``first_s * 2**n`` up to ``limit_s``, times a jitter of 0.5..1.

    50 ms first, because most failures are a lost race; 10 s at most, because a person waits for the cure.
    """

    first_s: float = 0.05
    limit_s: float = 10.0

    def delay_s(self, failures: int, jitter: float) -> float:
        """Seconds to wait after ``failures`` in a row (>= 1); ``jitter`` is uniform in 0..1."""
        raw = min(self.limit_s, self.first_s * float(2 ** min(failures - 1, 30)))
        return raw * (0.5 + jitter / 2)


@dataclass(slots=True)
class WorkQueue:
    """Asyncio queue of distinct items. ``random`` gives uniform numbers in 0..1."""

    random: Callable[[], float]
    back_off: BackOff = field(default_factory=BackOff)
    limit: int = 100_000
    _ready: OrderedDict[str, None] = field(default_factory=OrderedDict)
    _flying: set[str] = field(default_factory=set)
    _again: set[str] = field(default_factory=set)
    _failures: dict[str, int] = field(default_factory=dict)
    _timers: dict[str, asyncio.TimerHandle] = field(default_factory=dict)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _shut: bool = False

    def add(self, item: str) -> None:
        """There is a reason to look at ``item`` now. Raises OverflowError over ``limit`` distinct items."""
        self._check_room(item)
        self._ready_now(item)

    def add_after(self, item: str, delay_s: float) -> None:
        """Look at ``item`` in ``delay_s`` seconds, unless there is a reason earlier. Raises as :meth:`add`."""
        if item in self._ready or item in self._again:
            return
        self._check_room(item)
        old = self._timers.pop(item, None)
        loop = asyncio.get_running_loop()
        when = loop.time() + delay_s
        if old is not None:
            old.cancel()
            when = min(when, old.when())
        self._timers[item] = loop.call_at(when, self._due, item)

    async def get(self) -> str | None:
        """The next item; the caller must call :meth:`done` with it. None once the queue was shut."""
        while not self._ready and not self._shut:
            self._wake.clear()
            await self._wake.wait()
        if self._shut:
            return None
        item, _ = self._ready.popitem(last=False)
        self._flying.add(item)
        return item

    def done(self, item: str, *, failed: bool = False) -> float:
        """The flight of ``item`` ended; the delay in seconds before its retry (0 when none is due to failure)."""
        again = item in self._again
        self._again.discard(item)
        delay_s = 0.0
        if failed:
            self._failures[item] = self._failures.get(item, 0) + 1
            # What failed may have failed on facts that have just changed: then only the first delay.
            count = 1 if again else self._failures[item]
            delay_s = self.back_off.delay_s(count, self.random())
            self.add_after(item, delay_s)
        else:
            self._failures.pop(item, None)
        self._flying.discard(item)
        if again and not failed:
            self._ready_now(item)
        return delay_s

    def failures(self, item: str) -> int:
        """How often in a row ``item`` has failed."""
        return self._failures.get(item, 0)

    @property
    def idle(self) -> bool:
        """Nothing ready, nothing in flight (timers may be pending)."""
        return not self._ready and not self._flying

    @property
    def depth(self) -> int:
        """Distinct items waiting or in flight."""
        return len(self._ready) + len(self._flying)

    @property
    def held(self) -> int:
        """Slots taken: waiting, in flight, or due later (one in flight and due again counts twice)."""
        return len(self._ready) + len(self._flying) + len(self._timers)

    def shut(self) -> None:
        """Hand nothing out any more: those who work finish, those who wait get None."""
        self._shut = True
        self._wake.set()

    def close(self) -> None:
        """Cancel pending timers."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _due(self, item: str) -> None:
        self._ready_now(item)

    def _ready_now(self, item: str) -> None:
        """``item`` has its slot already, or there is room."""
        timer = self._timers.pop(item, None)
        if timer is not None:
            timer.cancel()
        if item in self._flying:
            self._again.add(item)
            return
        self._ready[item] = None
        self._wake.set()

    def _check_room(self, item: str) -> None:
        if item in self._ready or item in self._flying or item in self._timers:
            return
        if self.held >= self.limit:
            raise OverflowError(f"work queue holds its limit of {self.limit} items")
