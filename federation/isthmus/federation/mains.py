"""What both main programs share: settings from a file, our own store, a clean end on SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import gc
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from isthmus.federation.errors import FederationError, SettingsRefused
from isthmus.kv.errors import StoreError
from isthmus.kv.etcd import EtcdStore
from isthmus.kv.port import KeyValueStore
from isthmus.kv.settings import EtcdSettings
from isthmus.trust.errors import TrustError

S = TypeVar("S")


def arguments(description: str) -> argparse.Namespace:
    """``SETTINGS [--tap FILE] [--status FILE]``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("settings", type=Path, help="settings as a JSON file")
    parser.add_argument("--tap", type=Path, help="append every frame in clear (leak tests)")
    parser.add_argument("--status", type=Path, help="write the links' status here every second")
    return parser.parse_args()


def calm_collector() -> None:
    """A copy makes millions of short-lived objects without cycles: looking for cycles among them after every 700 costs
    15 % of the CPU of a first copy (measured), and finds nothing."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def run(store: EtcdSettings | None, work: Callable[[KeyValueStore], Awaitable[None]]) -> int:
    """``work`` with our own store until SIGTERM or SIGINT; 0, or 1 with one line that says why."""
    if store is None:
        return _failed(SettingsRefused("store: is needed: endpoints and certificate of our etcd"))
    calm_collector()
    try:
        asyncio.run(_until_told(store, work))
    except (FederationError, StoreError, TrustError, ValueError, OSError) as error:
        return _failed(error)
    return 0


def _failed(error: Exception) -> int:
    print(f"error: {error}", file=sys.stderr)
    return 1


async def _until_told(
    settings: EtcdSettings, work: Callable[[KeyValueStore], Awaitable[None]]
) -> None:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    store = EtcdStore.connect(settings)
    working = asyncio.ensure_future(work(store))
    telling = asyncio.ensure_future(told.wait())
    try:
        done, _ = await asyncio.wait({working, telling}, return_when=asyncio.FIRST_COMPLETED)
        if working in done:
            working.result()
    finally:
        for task in (working, telling):
            task.cancel()
        await asyncio.gather(working, telling, return_exceptions=True)
        await store.aclose()
