"""A real API process's insides on a real Unix socket, over the in-memory twin, in a thread of its own.

The command is a process with its own event loop; so the API it talks to must run in another one. ``do`` runs a
coroutine in the API's loop, where the twin lives.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tests.api_world import api_view
from tests.support import eventually

from isthmus.api import ApiSettings, ServeSettings, TcpDoor
from isthmus.api.main import serve_store
from isthmus.contract import Body, Family, Stamp, Tier, seal, utc_seconds
from isthmus.kv.memory import MemoryStore
from isthmus.kv.settings import EtcdSettings

T = TypeVar("T")
START_S = 20.0


@dataclass(slots=True)
class LiveApi:
    """A served tier; ``view`` is the store as the API sees it (faults go there)."""

    settings: ServeSettings
    store: MemoryStore = field(init=False)
    view: MemoryStore = field(init=False)
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    failure: BaseException | None = None

    @property
    def api(self) -> str:
        """As ``--api`` takes it."""
        return f"unix:{self.settings.socket_path}"

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run ``work`` where the store lives."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(START_S)

    def write(self, family: Family, body: Body, *, ttl_s: float = 0.0, **names: Any) -> int:
        """Another component of the tier writes a fact."""
        stamp = Stamp(origin="test", incarnation="1")
        value = seal(body, stamp, as_of=utc_seconds(), ttl_s=ttl_s)
        return self.do(self.store.put(family.key(**names), value))

    async def main(self, started: Callable[[], None]) -> None:
        """Serve until stopped."""
        self.store = MemoryStore(clock=utc_seconds)
        self.view = api_view(self.store, self.settings.tier)
        serving = asyncio.ensure_future(serve_store(self.settings, self.view, stop=self.stop))

        async def ready() -> bool:
            return serving.done() or await _answers(self.settings.socket_path)

        condition: Callable[[], bool | Awaitable[bool]] = ready
        await eventually(condition, "the API answers")
        started()
        await serving


async def _answers(path: Path) -> bool:
    try:
        _, writer = await asyncio.open_unix_connection(str(path))
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


@contextmanager
def live_api(folder: Path, tier: Tier = Tier.SITE, **api: Any) -> Iterator[LiveApi]:
    """Serve ``milan`` (or ``global``) below ``folder``; on leaving it must end by itself."""
    tcp = api.pop("tcp", None)
    settings = ServeSettings(
        tier=tier,
        name="milan" if tier is Tier.SITE else "global",
        socket_path=folder / "api.sock",
        store=EtcdSettings(endpoints=("127.0.0.1:1",)),
        tcp=TcpDoor(**tcp) if tcp else None,
        api=ApiSettings(**api),
    )
    live = LiveApi(settings)
    started = threading.Event()
    thread = threading.Thread(target=_run, args=(live, started), daemon=True)
    thread.start()
    assert started.wait(START_S), "the API did not start"
    if live.failure is not None:
        raise live.failure
    try:
        yield live
    finally:
        live.loop.call_soon_threadsafe(live.stop.set)
        thread.join(START_S)
    assert not thread.is_alive(), "the API did not end"
    if live.failure is not None:
        raise live.failure
    assert not settings.socket_path.exists(), "the API left its socket behind"


def _run(live: LiveApi, started: threading.Event) -> None:
    asyncio.set_event_loop(live.loop)
    try:
        live.loop.run_until_complete(live.main(started.set))
    except BaseException as error:  # told to the test's own thread
        live.failure = error
    finally:
        live.loop.run_until_complete(live.loop.shutdown_asyncgens())
        live.loop.close()
        started.set()
