"""Runs one microcontroller against a store: mirrors, leadership, queue, workers, health (DESIGN section 5, R8, R9).

A life goes: connect mirrors and wait until they are synced; win leadership; put everything on the queue once
(a restart adopts what is there); then settle items until asked to stop or until leadership is lost, and begin again.
As a *shadow* it leads nothing and writes nothing: see :mod:`isthmus.microcontroller.shadow`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from isthmus.contract import ContractError, Stamp
from isthmus.contract.families import LEASES
from isthmus.failpoint import afailpoint
from isthmus.kv.errors import Conflict, StoreError
from isthmus.kv.mirror import Mirror
from isthmus.kv.port import KeyValueStore, Lease
from isthmus.microcontroller.clock import Surroundings
from isthmus.microcontroller.controller import DEFAULT_TRAITS, Context, Microcontroller, Traits
from isthmus.microcontroller.errors import Later, MicrocontrollerError, NotLeader
from isthmus.microcontroller.health import LIFE, Health
from isthmus.microcontroller.leadership import LeadershipSettings, lead
from isthmus.microcontroller.queue import WorkQueue
from isthmus.microcontroller.shadow import ShadowReport, ShadowWriter
from isthmus.microcontroller.state import State
from isthmus.microcontroller.writer import Fence, Writer
from isthmus.policy.errors import KeyRefused
from isthmus.policy.keys import check_key

log = logging.getLogger("isthmus.microcontroller")

CANCEL_AGAIN_S = 1.0


@dataclass(slots=True)
class Runner:
    """One controller, one store identity. ``run`` returns after :meth:`stop`. ``grace_s``: how long a reconcile that is
    running then may go on. ``report``: what a ``shadow`` would have written."""

    controller: Microcontroller
    store: KeyValueStore
    origin: str
    surroundings: Surroundings = field(default_factory=Surroundings)
    leadership: LeadershipSettings = field(default_factory=LeadershipSettings)
    sync_timeout_s: float = 30.0
    restart_s: float = 0.5
    grace_s: float = 3.0
    shadow: bool = False
    report: ShadowReport = field(default_factory=ShadowReport)
    health: Health = field(default_factory=Health)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)

    def stop(self) -> None:
        """Ask for a graceful end: running reconciles finish, leadership is given back."""
        self._stop.set()

    @property
    def component(self) -> str:
        """As in the contract; a shadow has a name, and a user, of its own."""
        return f"{'shadow.' if self.shadow else ''}{self.controller.component}"

    @property
    def traits(self) -> Traits:
        """How the controller wants to be run."""
        return getattr(self.controller, "traits", DEFAULT_TRAITS)

    async def run(self) -> None:
        """Live, and live again after every failure, until :meth:`stop`."""
        self.health.component = self.component
        while not self._stop.is_set():
            try:
                await self._life()
            except (StoreError, MicrocontrollerError, TimeoutError) as error:
                self.health.failed(LIFE, error)
                log.warning("%s: %s; beginning again", self.component, error)
                await self._pause(self.restart_s)
            except Exception as error:
                # A life that ends by a mistake of ours must not end the role: nobody would notice.
                self.health.failed(LIFE, error)
                log.exception("%s: unexpected; beginning again", self.component)
                await self._pause(self.restart_s)
            finally:
                self.health.ready = self.health.leading = False

    async def _life(self) -> None:
        stamp = Stamp(origin=self.origin, incarnation=self.surroundings.new_id())
        queue = WorkQueue(self.surroundings.random)
        state = State()
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(queue.close)
            following = await self._mirrors(stack, state, queue)
            fence: Fence | None = None
            lease: Lease | None = None
            if self.traits.leader and not self.shadow:
                led = await self._lead(stack, stamp)
                if led is None:
                    return
                fence, lease = led
                await afailpoint("runtime.lead_won")
            writer = self._writer(state, stamp, fence)
            context = Context(self.controller.component, state, writer, self.surroundings)
            self.health.alive(leading=fence is not None)
            await self._work(queue, context, lease, following)

    def _writer(self, state: State, stamp: Stamp, fence: Fence | None) -> Writer:
        if not self.shadow:
            return Writer(self.store, state, stamp, self.surroundings, fence)
        self.report.begin(state)
        return ShadowWriter(self.store, state, stamp, self.surroundings, report=self.report)

    async def _lead(
        self, stack: contextlib.AsyncExitStack, stamp: Stamp
    ) -> tuple[Fence, Lease] | None:
        key = LEASES.key(component=self.controller.component)
        entering = asyncio.ensure_future(
            stack.enter_async_context(
                lead(self.store, key, stamp, self.surroundings, self.leadership)
            )
        )
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({entering, stopping}, return_when=asyncio.FIRST_COMPLETED)
            return entering.result() if entering.done() else None
        finally:
            # Also when this very task is cancelled: a candidate left behind would lead for ever.
            stopping.cancel()
            if not entering.done():
                await _cancel(entering)

    async def _mirrors(
        self, stack: contextlib.AsyncExitStack, state: State, queue: WorkQueue
    ) -> list[asyncio.Task[None]]:
        def changed(keys: Sequence[str]) -> None:
            state.changed(keys)
            for key in keys:
                self._note(queue, key)

        mirrors, tasks = [], []
        for prefix in dict.fromkeys(self.controller.watches):
            mirror = Mirror(self.store, prefix)
            mirror.subscribe(changed)
            task = asyncio.create_task(mirror.run(), name=f"mirror {prefix}")
            stack.push_async_callback(_cancel, task)
            mirrors.append(mirror)
            tasks.append(task)
            state.mirrors[prefix] = mirror
        for mirror in mirrors:
            await mirror.wait_synced(self.sync_timeout_s)
        return tasks

    def _note(self, queue: WorkQueue, key: str) -> None:
        """Queue what ``key`` concerns; a key that a controller cannot read is its neighbour's mistake, not its end."""
        try:
            check_key(key)
            for item in self.controller.items_for(key):
                queue.add(item)
        except KeyRefused as error:
            log.debug("%s: left out: %s", self.controller.component, error)
        except Exception as error:
            self.health.failed(key, error)
            log.warning("%s: key %.200r: %s", self.component, key, error)

    async def _work(
        self,
        queue: WorkQueue,
        context: Context,
        lease: Lease | None,
        following: Sequence[asyncio.Task[None]] = (),
    ) -> None:
        workers = [
            asyncio.create_task(self._worker(queue, context)) for _ in range(self.traits.workers)
        ]
        tasks = [*workers, asyncio.create_task(self._resync(queue, context.state))]
        listen = getattr(self.controller, "listen", None)
        if listen is not None:
            tasks.append(asyncio.create_task(listen(queue.add)))
        if lease is not None:
            tasks.append(asyncio.create_task(_until_lost(lease)))
        stopping = asyncio.create_task(self._stop.wait())
        try:
            # A mirror that ends (a right was taken away) ends the life: nobody decides on old facts.
            done, _ = await asyncio.wait(
                {*tasks, *following, stopping}, return_when=asyncio.FIRST_COMPLETED
            )
            for ended in (*tasks, *following):  # not `done`: a set has another order elsewhere
                if ended in done:
                    ended.result()
            if not self._stop.is_set():
                raise MicrocontrollerError("a part of it ended by itself")
            queue.shut()
            await asyncio.wait(workers, timeout=self.grace_s)
        finally:
            for task in (*tasks, stopping):
                await _cancel(task)

    async def _resync(self, queue: WorkQueue, state: State) -> None:
        """Everything known is looked at at the start and again every ``resync_s``: no event is needed to be right."""
        while True:
            for mirror in state.mirrors.values():
                for key in list(mirror.entries):
                    self._note(queue, key)
            for item in getattr(self.controller, "standing_items", ()):
                queue.add(item)
            await asyncio.sleep(self.traits.resync_s)

    async def _worker(self, queue: WorkQueue, context: Context) -> None:
        clock_s = asyncio.get_running_loop().time
        while True:
            item = await queue.get()
            if item is None:
                return
            failed = False
            started_s = clock_s()
            try:
                after_s = await self.controller.reconcile(item, context)
                if after_s is not None:
                    queue.add_after(item, after_s)
                self.health.settled(item, clock_s() - started_s, queue.depth)
            except Later as later:
                self.health.waiting(item, later.reason)
                queue.add_after(item, later.after_s)
            except NotLeader:
                raise
            except Exception as error:
                failed = True
                self.health.failed(item, error, conflict=isinstance(error, Conflict))
                self._log(item, error)
            finally:
                queue.done(item, failed=failed)
                self.health.queue_depth = queue.depth

    def _log(self, item: str, error: Exception) -> None:
        if isinstance(error, Conflict):
            log.debug("%s %s: %s", self.component, item, error)
        elif isinstance(error, (StoreError, ContractError)):
            log.warning("%s %s: %s", self.component, item, error)
        else:
            log.exception("%s %s: unexpected", self.component, item, exc_info=error)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)


async def _until_lost(lease: Lease) -> None:
    await lease.wait_lost()
    raise NotLeader("the lease may have run out")


async def _cancel(task: asyncio.Task[object]) -> None:
    """Until it has ended: one cancellation may be swallowed by whatever the task waits for, and a life that cannot end
    is one that never begins again."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=CANCEL_AGAIN_S)
    if not task.cancelled():
        task.exception()  # it is over, and so is what it says
