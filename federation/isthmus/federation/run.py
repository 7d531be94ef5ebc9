"""Running a gateway or a site's link until cancelled, with its status told every second."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

from isthmus.contract.envelope import utc_seconds
from isthmus.federation.dialer import SiteLink
from isthmus.federation.gateway import Gateway
from isthmus.federation.link import Clocks, Tap
from isthmus.federation.settings import GatewaySettings, SiteLinkSettings
from isthmus.federation.status import LinkStatus, write_status
from isthmus.federation.tap import FileTap
from isthmus.kv.port import KeyValueStore

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

    try:
        await gateway.start()
        if on_listening is not None:
            on_listening(gateway.port)
        async with contextlib.AsyncExitStack() as stack:
            for uplink in uplinks:
                await stack.enter_async_context(_task(uplink.run()))
            await _tell(status, settings.status_file, settings.status_every_s, on_status, refused)
    finally:
        await gateway.stop()
        taps.close()
        with contextlib.suppress(OSError):
            _tell_once(status, settings.status_file, on_status, refused)


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

    try:
        async with _task(link.run()):
            await _tell(status, settings.status_file, settings.status_every_s, on_status)
    finally:
        taps.close()
        with contextlib.suppress(OSError):
            _tell_once(status, settings.status_file, on_status)


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


async def _tell(
    status: Callable[[], tuple[LinkStatus, ...]],
    path: Path | None,
    every_s: float,
    on_status: OnStatus | None,
    refused: Callable[[], Mapping[str, int]] = dict,
) -> None:
    """For ever."""
    while True:
        _tell_once(status, path, on_status, refused)
        await asyncio.sleep(every_s)


def _tell_once(
    status: Callable[[], tuple[LinkStatus, ...]],
    path: Path | None,
    on_status: OnStatus | None,
    refused: Callable[[], Mapping[str, int]] = dict,
) -> None:
    """Now; also as the last thing: a process that has ended must not be told as connected."""
    links = status()
    if on_status is not None:
        on_status(links)
    if path is not None:
        write_status(path, links, refused())


@contextlib.asynccontextmanager
async def _task(work) -> AsyncIterator[None]:  # type: ignore[no-untyped-def]
    """``work`` beside the block; whichever fails first ends both."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work)
        try:
            yield
        finally:
            task.cancel()
