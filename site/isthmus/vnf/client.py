"""What a network function does with the store, for authors in Python (R24, R25, R28; others: docs/vnf-authors.md).

Read who owns the configuration, follow that owner's key, apply, say what is in force, publish state and counters. The
configuration is read again whenever one of the two keys moved: a notice is a reason to look, never a command.
A store that is away, a user that does not exist yet, a right that is about to be granted: all are waited out with
jittered pauses; a function must outlive its store.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from isthmus.contract.envelope import Body, Stamp, seal, unseal
from isthmus.contract.errors import ContractError
from isthmus.contract.families import APPLIED, CONFIG, CONFIG_OWNERS, STATE, VNF_STATS
from isthmus.contract.family import Family
from isthmus.contract.instance import (
    Applied,
    ConfigOwner,
    InstanceConfig,
    InstanceState,
    InstanceStats,
)
from isthmus.kv.backoff import Backoff
from isthmus.kv.errors import StoreError
from isthmus.kv.etcd import EtcdStore
from isthmus.kv.port import Entry, KeyValueStore
from isthmus.kv.settings import EtcdSettings
from isthmus.policy.errors import KeyRefused

_LOG = logging.getLogger(__name__)
DEFAULT_OWNER = "configurator"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the owner's key says at ``revision``. ``config`` None: the value breaks the contract, see ``error``."""

    owner: str
    revision: int
    generation: int = 0
    config: InstanceConfig | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """``least_pause_s`` to ``most_pause_s`` between attempts; a state or statistics older than its time to live reads
    "unknown", so they are repeated well before."""

    least_pause_s: float = 0.05
    most_pause_s: float = 5.0
    call_timeout_s: float = 5.0
    state_ttl_s: float = 90.0
    stats_ttl_s: float = 30.0


def connect(socket: Path, *, chance: random.Random) -> EtcdStore:
    """The store behind an instance's relay socket. Connects by itself with the first call.

    An instance's relay is on its own host: a slow heartbeat finds a stopped store soon enough, and hundreds of
    instances stay cheap.
    """
    settings = EtcdSettings(endpoints=(f"unix:{socket}",), heartbeat_s=5.0, silence_s=15.0)
    return EtcdStore.connect(settings, chance=chance)


class VnfClient:
    """One instance's view of the store. ``clock`` gives UTC seconds."""

    def __init__(
        self,
        store: KeyValueStore,
        instance: str,
        *,
        stamp: Stamp,
        clock: Callable[[], float],
        chance: random.Random,
        settings: ClientSettings | None = None,
    ) -> None:
        self._store = store
        self._instance = instance
        self._stamp = stamp
        self._clock = clock
        self._chance = chance
        self._settings = settings or ClientSettings()
        self._moved = asyncio.Event()

    # ---- reading

    async def configurations(self) -> AsyncGenerator[Configuration, None]:
        """The configuration now, then each later one, for ever; several changes in a row may come as one.

        Nothing is yielded while there is no configuration, nor when one is deleted: what is in force stays.
        Close the iterator (``contextlib.aclosing``) to end the watches.
        """
        last: Configuration | None = None
        watches: dict[str, asyncio.Task[None]] = {}
        backoff = self._backoff()
        try:
            self._follow(watches, "", CONFIG_OWNERS.key(instance=self._instance))
            while True:
                self._moved.clear()
                try:
                    owner = await self._read_owner()
                    self._follow(watches, owner, self._config_key(owner))
                    current = await self._read(owner)
                except StoreError as error:
                    _LOG.info("%s: read configuration: %s", self._instance, error)
                    await asyncio.sleep(backoff.next_s())
                    continue
                backoff.reset()
                if current is not None and not _same(current, last):
                    last = current
                    yield current
                await self._moved.wait()
        finally:
            for watch in watches.values():
                watch.cancel()
            await asyncio.gather(*watches.values(), return_exceptions=True)

    def _follow(self, watches: dict[str, asyncio.Task[None]], name: str, key: str) -> None:
        """Keep exactly the watch on the owner's key and the one on ``name``'s configuration."""
        for other in [known for known in watches if known and known != name]:
            watches.pop(other).cancel()
        if name not in watches:
            watches[name] = asyncio.create_task(self._watch(key))

    async def _watch(self, key: str) -> None:
        """Set ``moved`` when ``key`` may have moved; on any failure too, for then something may have been missed."""
        backoff = self._backoff()
        while True:
            try:
                async with contextlib.aclosing(self._store.watch(key)) as batches:
                    async for _ in batches:
                        backoff.reset()
                        self._moved.set()
            except StoreError as error:
                _LOG.debug("%s: watch %s: %s", self._instance, key, error)
            await asyncio.sleep(backoff.next_s())
            self._moved.set()

    async def _read_owner(self) -> str:
        key = CONFIG_OWNERS.key(instance=self._instance)
        entry = await self._store.get(key, timeout_s=self._settings.call_timeout_s)
        if entry is None:
            return DEFAULT_OWNER
        try:
            owner = unseal(entry.value, ConfigOwner).body.owner
            self._config_key(owner)
        except (ContractError, KeyRefused) as error:
            _LOG.warning("%s: owner of the configuration unreadable: %s", self._instance, error)
            return DEFAULT_OWNER
        return owner

    async def _read(self, owner: str) -> Configuration | None:
        entry = await self._store.get(
            self._config_key(owner), timeout_s=self._settings.call_timeout_s
        )
        return None if entry is None else read_configuration(owner, entry)

    def _config_key(self, owner: str) -> str:
        return CONFIG.key(owner=owner, instance=self._instance)

    # ---- writing

    async def publish_applied(self, applied: Applied) -> int:
        """Say what is in force (and what was refused); waits for the store as long as it takes. The revision."""
        return await self._publish(APPLIED, applied, generation=applied.config_generation)

    async def publish_state(self, state: InstanceState) -> int:
        """Publish the operational state; it is believed for ``state_ttl_s``."""
        return await self._publish(STATE, state, ttl_s=self._settings.state_ttl_s)

    async def publish_stats(self, stats: InstanceStats) -> int:
        """Publish counters; they are believed for ``stats_ttl_s``."""
        return await self._publish(VNF_STATS, stats, ttl_s=self._settings.stats_ttl_s)

    async def _publish(
        self, family: Family, body: Body, *, generation: int = 1, ttl_s: float = 0.0
    ) -> int:
        key = family.key(instance=self._instance)

        async def put() -> int:
            value = seal(body, self._stamp, as_of=self._clock(), generation=generation, ttl_s=ttl_s)
            return await self._store.put(key, value, timeout_s=self._settings.call_timeout_s)

        return await self._until_done(f"publish {family.name}", put)

    # ---- patience

    async def _until_done(self, what: str, call: Callable[[], Awaitable[T]]) -> T:
        """Repeat ``call`` (its effect is the same however often it runs) until the store answers."""
        backoff = self._backoff()
        while True:
            try:
                return await call()
            except StoreError as error:
                _LOG.info("%s: %s: %s", self._instance, what, error)
            await asyncio.sleep(backoff.next_s())

    def _backoff(self) -> Backoff:
        return Backoff(self._settings.least_pause_s, self._settings.most_pause_s, self._chance)


def read_configuration(owner: str, entry: Entry) -> Configuration:
    """``entry`` as a configuration; a value that breaks the contract becomes one with ``error``, never an exception."""
    read = Configuration(owner, entry.mod_revision)
    try:
        envelope = unseal(entry.value, InstanceConfig)
    except ContractError as error:
        return replace(read, error=f"configuration of {owner}: {error}")
    return replace(read, generation=envelope.generation, config=envelope.body)


def _same(one: Configuration, other: Configuration | None) -> bool:
    return other is not None and (one.owner, one.revision) == (other.owner, other.revision)
