"""A process of the simulation: tasks that begin with nothing but their store and may end between any two steps.

Whatever runs in it knows whose it is (a context variable that tasks, timers and callbacks inherit), so the loop can
hold all of it back (SIGSTOP, a suspended machine) or end it (kill -9) at an await, after so many steps, at a failpoint.
What a dead process had open is closed before its tasks are told: their last words reach nobody.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any

from isthmus.chaos.simulation.loop import OWNER, VirtualLoop


class Process:
    """``main`` makes what it runs, at each start anew. ``on_error`` gets what a task of it raised, and never should."""

    def __init__(
        self,
        name: str,
        main: Callable[[Process], Coroutine[Any, Any, object]],
        on_error: Callable[[Process, BaseException], None],
    ) -> None:
        self.name = name
        self._main = main
        self._on_error = on_error
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self._parked: list[asyncio.Handle] = []
        self._frozen = 0
        self._doomed_in = 0
        self._closers: list[Callable[[], None]] = []
        self.alive = False
        self.lives = 0
        self.steps = 0
        self.outside_calls = 0
        """To another machine's store."""
        self.doomed_at = ""
        """The failpoint at which it ends next."""
        self.quiet = False
        """Its end is not told to its peers: the machine went with it."""

    # ---- the loop asks

    def admit(self, handle: asyncio.Handle) -> bool:
        """See :class:`isthmus.chaos.simulation.loop.Owner`."""
        if self._frozen:
            self._parked.append(handle)
            return False
        self.steps += 1
        if self._doomed_in:
            self._doomed_in -= 1
            if not self._doomed_in and self.alive:
                self.kill()
        return True

    # ---- its life

    def start(self) -> None:
        """Begin, with nothing kept from the life before."""
        if self.alive:
            return
        self.alive = True
        self.lives += 1
        self.run(self._main(self))

    def run(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A task of this process, from wherever it is called."""
        context = contextvars.Context()
        context.run(OWNER.set, self)
        task = asyncio.get_running_loop().create_task(work, context=context)
        self._tasks[task] = None
        task.add_done_callback(self._ended, context=context)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and self.alive:
            self._on_error(self, error)

    def on_death(self, close: Callable[[], None]) -> Callable[[], None]:
        """``close`` is called when it ends, before anything of it runs again; gives back what undoes this."""
        self._closers.append(close)
        return lambda: self._closers.remove(close) if close in self._closers else None

    def kill(self) -> None:
        """As kill -9."""
        if not self.alive:
            return
        self.alive = False
        self._doomed_in = 0
        self.doomed_at = ""
        closers, self._closers = self._closers, []
        for close in closers:
            close()
        for task in list(self._tasks):
            task.cancel()
        self.thaw(all_=True)

    def kill_after(self, steps: int) -> None:
        """End between two steps, ``steps`` from now (0: not at all)."""
        self._doomed_in = steps

    # ---- SIGSTOP and SIGCONT

    def freeze(self) -> None:
        """No step of it runs until :meth:`thaw`; frozen twice needs two."""
        self._frozen += 1

    def thaw(self, *, all_: bool = False) -> None:
        """Go on: what was due meanwhile is due now, in its order."""
        self._frozen = 0 if all_ else max(0, self._frozen - 1)
        if not self._frozen and self._parked:
            parked, self._parked = self._parked, []
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualLoop)
            loop._ready.extend(parked)

    @property
    def frozen(self) -> bool:
        """Is it held back?"""
        return self._frozen > 0

    async def gone(self) -> None:
        """Wait until the last task of a killed process has ended."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))


def current() -> Process | None:
    """The process whose code this is."""
    owner = OWNER.get()
    return owner if isinstance(owner, Process) else None
