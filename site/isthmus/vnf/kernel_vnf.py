"""The life of one kernel-ruleset instance: follow the configuration, put it in force, say so, count (R24, R25).

The function itself does this, not the manager: with every microcontroller stopped, a put of a configuration still
changes the packets (DESIGN section 5). Order is the promise: ``applied`` is written only after the kernel accepted
the ruleset, and before the first configuration everything is dropped. A configuration that is refused leaves the
old one in force and says which field was wrong. A namespace that vanished is reported; when it is back without
our rules it is closed first, and then gets the ruleset it had.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass

from isthmus.contract.instance import Applied, InstanceState, InstanceStats
from isthmus.vnf.client import Configuration, VnfClient
from isthmus.vnf.descriptor import Registry
from isthmus.vnf.errors import KernelRefused, NamespaceMissing, TypeUnknown, VnfError
from isthmus.vnf.kernel import Kernel, Reading
from isthmus.vnf.outbox import Outbox
from isthmus.vnf.program import Mark, Program, closed

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class VnfIdentity:
    """Which instance this is, in which life, of which type."""

    instance: str
    incarnation: int
    type: str
    version: str


@dataclass(frozen=True, slots=True)
class VnfSettings:
    """``stats_interval_s``: how often counters are read; written when they moved, else every ``refresh_s``."""

    stats_interval_s: float = 1.0
    refresh_s: float = 10.0
    kernel_retry_s: float = 0.2


class KernelVnf:
    """Runs until cancelled. ``monotonic`` gives seconds for intervals."""

    def __init__(
        self,
        identity: VnfIdentity,
        registry: Registry,
        kernel: Kernel,
        client: VnfClient,
        *,
        monotonic: Callable[[], float],
        settings: VnfSettings | None = None,
    ) -> None:
        self._identity = identity
        self._registry = registry
        self._kernel = kernel
        self._client = client
        self._monotonic = monotonic
        self._settings = settings or VnfSettings()
        self._program: Program | None = None
        self._outbox = Outbox(client)
        self._applied = Applied(incarnation=identity.incarnation)
        self._state: InstanceState | None = None
        self._stats: InstanceStats | None = None
        self._begun = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        self._pending: Configuration | None = None
        """Valid, but the kernel did not take it; tried again at each look."""

    @property
    def applied(self) -> Applied:
        """What this life last said is in force."""
        return self._applied

    async def run(self) -> None:
        """Close (or adopt what an earlier agent left in force), then follow configuration and count, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._outbox.run())
            tasks.create_task(
                self._configure()
            )  # connecting takes as long as closing: side by side
            await self._begin()
            self._begun.set()
            tasks.create_task(self._observe())

    # ---- putting in force

    async def _begin(self) -> None:
        """Until the kernel has a ruleset of this very life: adopted, or closed."""
        while True:
            try:
                rules = await self._kernel.read()  # far cheaper than asking for the mark
                mark = None if rules is None else await self._kernel.in_force()
                if mark is not None and mark.incarnation == self._identity.incarnation:
                    self._applied = replace_applied(self._applied, mark)
                else:
                    await self._kernel.apply(closed(self._identity.incarnation))
                return
            except (NamespaceMissing, KernelRefused, TimeoutError) as error:
                self._say(healthy=False, detail=str(error) or "the kernel does not answer")
            await asyncio.sleep(self._settings.kernel_retry_s)

    async def _configure(self) -> None:
        async with contextlib.aclosing(self._client.configurations()) as configurations:
            async for configuration in configurations:
                await self._begun.wait()
                async with self._one_at_a_time:
                    await self._take(configuration)

    async def _take(self, configuration: Configuration) -> None:
        """Put ``configuration`` in force or refuse it; either way say so."""
        self._pending = None
        try:
            program = self._render(configuration)
            await self._apply_patiently(program)
        except VnfError as error:
            if isinstance(error, KernelRefused):
                self._pending = configuration
            self._refuse(configuration, str(error))
            return
        self._program = program
        self._applied = replace_applied(self._applied, program.mark, owner=configuration.owner)
        _LOG.info("%s: in force: %s", self._identity.instance, program.mark)
        self._outbox.leave(self._applied)
        self._say(healthy=True)

    def _render(self, configuration: Configuration) -> Program:
        if configuration.config is None:
            raise VnfError(configuration.error)
        config, identity = configuration.config, self._identity
        if (config.type, config.version) != (identity.type, identity.version):
            raise TypeUnknown(
                f"type: {config.type[:63]}/{config.version[:63]} is refused; "
                f"this instance is {identity.type}/{identity.version}"
            )
        function = self._registry.find(config.type, config.version)
        mark = Mark(identity.incarnation, configuration.generation, configuration.revision)
        return function.render(function.descriptor.check(config.parameters), mark)

    async def _apply_patiently(self, program: Program) -> None:
        """A missing namespace is waited for; a refusal of the kernel is raised."""
        while True:
            try:
                return await self._kernel.apply(program)
            except NamespaceMissing as error:
                self._say(healthy=False, detail=str(error))
                await self._begin()

    def _refuse(self, configuration: Configuration, error: str) -> None:
        applied = self._applied.model_copy(
            update={
                "error": error[:500],
                "refused_generation": configuration.generation,
                "refused_revision": configuration.revision,
            }
        )
        if applied != self._applied:
            _LOG.info("%s: configuration refused: %s", self._identity.instance, error)
            self._applied = applied
            self._outbox.leave(applied)
        self._say_how_it_is()

    # ---- watching over it

    async def _observe(self) -> None:
        """Counters at an interval; what is missing is put back."""
        written_s = state_s = self._monotonic()
        while True:
            await asyncio.sleep(self._settings.stats_interval_s)
            reading = await self._look()
            now_s = self._monotonic()
            if now_s - state_s >= self._settings.refresh_s and self._state is not None:
                state_s = now_s
                self._outbox.leave(self._state)
            if reading is None:
                continue
            stats = _stats(self._identity.incarnation, reading)
            if stats != self._stats or now_s - written_s >= self._settings.refresh_s:
                self._stats, written_s = stats, now_s
                self._outbox.leave(stats)

    async def _look(self) -> Reading | None:
        try:
            reading = await self._kernel.read()
            if reading is None:
                await self._restore()
                return None
        except (NamespaceMissing, KernelRefused, TimeoutError) as error:
            self._say(healthy=False, detail=str(error) or "the kernel does not answer")
            return None
        async with self._one_at_a_time:
            if self._pending is not None:
                await self._take(self._pending)
        self._say_how_it_is()
        return reading

    async def _restore(self) -> None:
        """The namespace has no rules of ours: it was made anew under us. Closed first, as at the beginning."""
        async with self._one_at_a_time:
            if await self._kernel.read() is not None:
                return  # a configuration was put in force meanwhile
            await self._kernel.apply(closed(self._identity.incarnation))
            if self._program is not None:
                await self._kernel.apply(self._program)
            elif self._applied.config_revision:
                self._applied = Applied(incarnation=self._identity.incarnation)
                self._outbox.leave(self._applied)
        _LOG.warning("%s: rules were gone and are back", self._identity.instance)

    def _say_how_it_is(self) -> None:
        healthy = self._pending is None
        self._say(healthy=healthy, detail="" if healthy else self._applied.error)

    def _say(self, *, healthy: bool, detail: str = "") -> None:
        """Publish the state when it is another one than before."""
        facts = {
            "type": self._identity.type,
            "version": self._identity.version,
            "incarnation": self._identity.incarnation,
            "open": self._applied.config_revision > 0,
        }
        state = InstanceState(healthy=healthy, detail=detail, facts=facts)
        if state != self._state:
            self._state = state
            self._outbox.leave(state)


def replace_applied(applied: Applied, mark: Mark, *, owner: str = "") -> Applied:
    """``applied`` with what ``mark`` says in force, and no complaint."""
    return Applied(
        incarnation=mark.incarnation,
        config_generation=mark.generation,
        config_revision=mark.revision,
        owner=owner or applied.owner,
    )


def _stats(incarnation: int, reading: Reading) -> InstanceStats:
    return InstanceStats(
        source="vnf",
        incarnation=incarnation,
        packets_forward=reading.forward.packets,
        packets_reverse=reading.reverse.packets,
        packets_dropped=reading.dropped.packets + reading.queue_drops,
        bytes_forward=reading.forward.bytes,
        bytes_reverse=reading.reverse.bytes,
    )
