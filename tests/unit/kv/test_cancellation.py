"""Who is told to end while a stream ends must end, too: gRPC alone swallows that."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

import grpc
import grpc.aio
import pytest

from isthmus.federation.transport import ClientChannel
from isthmus.kv.cancellation import cancellations, pass_on_cancellation
from isthmus.kv.etcd import EtcdStore
from isthmus.kv.ranges import KeyRange
from isthmus.kv.settings import EtcdSettings
from isthmus.kv.snapshots import SnapshotReader


@pytest.fixture
def nobody() -> Iterator[str]:
    """Where a connection is refused at once: a stream ends by itself, with a status."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


class Ending:
    """A stub whose calls, as they end, cancel the task that waits for them, before that task runs again."""

    def __init__(self, real: Any) -> None:
        self.real = real
        self.victim: list[asyncio.Task[Any]] = []

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        call = self.real(*arguments, **named)
        call.add_done_callback(lambda _: self.victim[0].cancel() if self.victim else None)
        return call


async def test_grpc_itself_swallows_it(nobody: str) -> None:
    """Why: when this fails, gRPC was mended, and our own care may go."""
    channel: Any = grpc.aio.insecure_channel(nobody)
    async with channel:
        ending = Ending(channel.stream_stream("/any/thing"))

        async def wait() -> None:
            await ending().read()

        ending.victim.append(asyncio.create_task(wait()))
        with pytest.raises(grpc.aio.AioRpcError):
            await ending.victim[0]
        assert ending.victim[0].cancelling() == 1


@pytest.mark.parametrize("what", ["watch", "snapshot"])
async def test_a_reader_of_a_store_that_dies_ends_when_it_is_told(
    nobody: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why: a leader whose lease ran out as its store died waited for its own watch, for ever (G3)."""
    store = EtcdStore.connect(EtcdSettings(endpoints=(nobody,)))
    kinds: list[Ending] = []
    calls = store._calls
    for name in ("stream_both", "stream_in"):
        ending = Ending(getattr(calls, name))
        kinds.append(ending)
        monkeypatch.setattr(calls, name, ending)

    async def read() -> None:
        keys = KeyRange.of_prefix("/a/")
        pages = SnapshotReader(calls, keys, 1, streams=True, timeout_s=60)
        source: Any = store.watch("/a/") if what == "watch" else pages.chunks()
        async with aclosing(source) as batches:
            async for _ in batches:
                pass

    task = asyncio.create_task(read())
    for ending in kinds:
        ending.victim.append(task)
    done, _ = await asyncio.wait({task}, timeout=20)
    task.cancel()
    await asyncio.wait({task}, timeout=20)
    await store.aclose()
    assert done, "it goes on trying"
    assert task.cancelled()


@pytest.mark.parametrize("way", ["send", "receive"])
async def test_an_end_of_a_link_ends_when_it_is_told(nobody: str, way: str) -> None:
    """Why: a process that is told to stop while its peer dies would dial for ever."""
    channel: Any = grpc.aio.insecure_channel(nobody)
    end = ClientChannel(channel)
    ending = Ending(channel.stream_stream("/any/thing"))

    async def work() -> None:
        end._call = ending()
        await (end.receive() if way == "receive" else end.send(b"frame"))

    ending.victim.append(asyncio.create_task(work()))
    ended = await asyncio.gather(*ending.victim, return_exceptions=True)
    await end.close()
    assert isinstance(ended[0], asyncio.CancelledError), ended


async def test_who_was_told_before_may_clean_up_and_hear_what_went_wrong() -> None:
    """Why: there a failed call is an error as everywhere; a second CancelledError would skip the rest of it."""
    heard: list[str] = []

    async def cleaning_up() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            before = cancellations()
            pass_on_cancellation(before)
            heard.append("an error")

    task = asyncio.create_task(cleaning_up())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task}, timeout=20)
    assert task.cancelled()
    assert heard == ["an error"]
