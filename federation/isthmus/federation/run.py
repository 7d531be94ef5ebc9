"""Running a gateway or a site's link until cancelled, with its status told every second."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

from isthmus.contract.envelope import Stamp, seal, utc_seconds
from isthmus.contract.families import EVENTS
from isthmus.contract.instance import OperationalEvent
from isthmus.federation.dialer import SiteLink
from isthmus.federation.gateway import Gateway
from isthmus.federation.journal import Journal
from isthmus.federation.link import Clocks, Tap
from isthmus.federation.link_metrics import link_metrics
from isthmus.federation.settings import GatewaySettings, SiteLinkSettings
from isthmus.federation.status import LinkStatus, publish, write_status
from isthmus.federation.tap import FileTap
from isthmus.kv.errors import StoreError
from isthmus.kv.port import KeyValueStore

MOST_EVENTS = 200
"""So many wait for a store that is away."""
OnStatus = Callable[[tuple[LinkStatus, ...]], None]


def real_clocks() -> Clocks:
    """The machine's clocks and its randomness."""
    return Clocks(
        monotonic_s=time.monotonic,
        utc_s=utc_seconds,
        ids=lambda: secrets.token_hex(8),
        streams=lambda: secrets.randbits(63) + 1,
    )


async def run_gateway(
    settings: GatewaySettings,
    store: KeyValueStore,
    *,
    clocks: Clocks | None = None,
    on_status: OnStatus | None = None,
    on_listening: Callable[[int], None] | None = None,
) -> None:
    """Serve sites until cancelled, and keep the links to whom this tier is asked by. ``on_listening`` gets the port."""
    taps = _Taps(settings.tap)
    gateway = Gateway(settings, store, clocks or real_clocks(), tap_of=taps.of)
    uplinks = [_link(uplink, store, clocks, taps) for uplink in settings.uplinks]

    def status() -> tuple[LinkStatus, ...]:
        return (*gateway.status(), *(uplink.status() for uplink in uplinks))

    def refused() -> Mapping[str, int]:
        return gateway.refused

    teller = _Teller(settings, on_status, status, refused, events=_Events(store, "gateway"))
    try:
        await gateway.start()
        if on_listening is not None:
            on_listening(gateway.port)
        async with contextlib.AsyncExitStack() as stack:
            for uplink in uplinks:
                await stack.enter_async_context(_task(uplink.run()))
            await teller.run()
    finally:
        await gateway.stop()
        taps.close()
        with contextlib.suppress(OSError):
            teller.once()


async def run_site_link(
    settings: SiteLinkSettings,
    store: KeyValueStore,
    *,
    clocks: Clocks | None = None,
    on_status: OnStatus | None = None,
) -> None:
    """Keep a link to the tier above until cancelled."""
    taps = _Taps(settings.tap)
    link = _link(settings, store, clocks, taps)

    def status() -> tuple[LinkStatus, ...]:
        return (link.status(),)

    teller = _Teller(settings, on_status, status, dict, events=_Events(store, "federation"))
    try:
        async with _task(link.run()):
            await teller.run()
    finally:
        taps.close()
        with contextlib.suppress(OSError):
            teller.once()


def _link(
    settings: SiteLinkSettings, store: KeyValueStore, clocks: Clocks | None, taps: _Taps
) -> SiteLink:
    tap = taps.of(settings.peer.name)
    return SiteLink(settings, store, clocks or real_clocks(), jitter=random.random, tap=tap)


class _Taps:
    """One file, all peers."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._open: list[FileTap] = []

    def of(self, peer: str) -> Tap | None:
        if self._path is None:
            return None
        tap = FileTap(self._path, peer)
        self._open.append(tap)
        return tap

    def close(self) -> None:
        for tap in self._open:
            tap.close()


class _Teller:
    """Tells every second how the links are: to a file, as metrics beside it, and what happened as events."""

    def __init__(
        self,
        settings: GatewaySettings | SiteLinkSettings,
        on_status: OnStatus | None,
        status: Callable[[], tuple[LinkStatus, ...]],
        refused: Callable[[], Mapping[str, int]],
        *,
        events: _Events,
    ) -> None:
        self._path, self._every_s = settings.status_file, settings.status_every_s
        self._on_status, self._status, self._refused = on_status, status, refused
        self._events = events

    async def run(self) -> None:
        """For ever. A store that does not answer keeps no word back from the file."""
        async with _task(self._events.run(self._every_s)):
            while True:
                self.once()
                await asyncio.sleep(self._every_s)

    def once(self) -> None:
        """Now; also as the last thing: a process that has ended must not be told as connected."""
        links, refused = self._status(), self._refused()
        if self._on_status is not None:
            self._on_status(links)
        if self._path is not None:
            write_status(self._path, links, refused)
            publish(self._path.with_suffix(".prom"), link_metrics(links, refused))
        self._events.look(links, refused)


class _Events:
    """Into our own store, below ``events/<component>/``; what it does not take waits, the oldest goes first."""

    def __init__(self, store: KeyValueStore, component: str) -> None:
        self._store, self._component = store, component
        self._journal = Journal()
        self._stamp = Stamp(origin=component, incarnation=secrets.token_hex(8))
        self._waiting: deque[tuple[str, OperationalEvent, float]] = deque(maxlen=MOST_EVENTS)

    def look(self, links: tuple[LinkStatus, ...], refused: Mapping[str, int]) -> None:
        """Note what happened."""
        now_s = utc_seconds()
        for event in self._journal.look(links, refused, time.monotonic()):
            name = f"{int(now_s * 1000):013d}-{secrets.token_hex(3)}"
            self._waiting.append((EVENTS.key(component=self._component, id=name), event, now_s))

    async def run(self, every_s: float) -> None:
        """For ever."""
        while True:
            await self.write()
            await asyncio.sleep(every_s)

    async def write(self) -> None:
        """What waits; a store that is away is asked again at the next look."""
        while self._waiting:
            key, event, as_of = self._waiting[0]
            try:
                await self._store.put(key, seal(event, self._stamp, as_of=as_of), timeout_s=2.0)
            except StoreError:
                return
            if self._waiting and self._waiting[0][0] == key:
                self._waiting.popleft()


@contextlib.asynccontextmanager
async def _task(work) -> AsyncIterator[None]:  # type: ignore[no-untyped-def]
    """``work`` beside the block; whichever fails first ends both."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work)
        try:
            yield
        finally:
            task.cancel()
