"""Everything in a range at exactly one revision, in bounded messages (etcd >= 3.7: RangeStream).

Only status OK proves that nothing is missing. A stream that was cut, grew over the message bound, fell
silent or was ended by a change of users goes on behind the last key at the same revision; servers
without RangeStream are asked for pages. The header of the last chunk names the *newest* revision, so
the pinned one is kept here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import grpc
import grpc.aio

from isthmus.kv import methods
from isthmus.kv import wire_pb2 as wire
from isthmus.kv.calls import Calls
from isthmus.kv.cancellation import cancellations, pass_on_cancellation
from isthmus.kv.channel import END_OF_STREAM
from isthmus.kv.codec import entry
from isthmus.kv.errors import DeadlineExceeded, StoreError, TooLarge, Unauthenticated, Unavailable
from isthmus.kv.port import Entry
from isthmus.kv.ranges import KeyRange

_MORE_TRIES_WHEN_TOO_LARGE = 16


class Unstreamable(Exception):
    """This server has no RangeStream."""


class SnapshotReader:
    """Reads one range at one revision; ``position`` is the next key to ask for."""

    def __init__(
        self, calls: Calls, keys: KeyRange, revision: int, *, streams: bool, timeout_s: float
    ) -> None:
        self._calls = calls
        self._keys = keys
        self._revision = revision
        self._timeout_s = timeout_s
        self._limit = calls.settings.page_keys
        self._position = keys.start
        self._too_large = 0
        self._last_progress_s = 0.0
        self._backoff = calls.backoff()
        self._what = f"snapshot of {keys} at revision {revision}"
        self.streams = streams

    async def chunks(self) -> AsyncGenerator[Sequence[Entry], None]:
        """Lists of entries in key order, each key once."""
        loop = asyncio.get_running_loop()
        self._last_progress_s = loop.time()
        while True:
            try:
                source = self._stream() if self.streams else self._pages()
                async with aclosing(source):
                    async for kvs in source:
                        yield [entry(kv) for kv in kvs]
                        self._last_progress_s = loop.time()
                return
            except Unstreamable:
                self.streams = False
            except StoreError as error:
                await self._recover(error)

    async def _recover(self, error: StoreError) -> None:
        """Return when it is worth going on from ``position``; else raise."""
        if isinstance(error, TooLarge) and self._too_large < _MORE_TRIES_WHEN_TOO_LARGE:
            self._too_large += 1  # a new stream begins with 10 keys again; a page must shrink
            self._limit = max(1, self._limit // 8)
            return
        if isinstance(error, Unauthenticated) and self._calls.settings.user is not None:
            await self._calls.authenticate(used=await self._calls.metadata())
            return
        if not isinstance(error, Unavailable | DeadlineExceeded) or self._calls.closed:
            raise error
        pause_s = self._backoff.next_s()
        silent_s = asyncio.get_running_loop().time() - self._last_progress_s
        if silent_s + pause_s > self._timeout_s:
            raise error
        self._calls.counters.snapshot_resumes += 1
        await asyncio.sleep(pause_s)

    def _advance(self, kvs: Sequence[wire.KeyValue]) -> None:
        self._position = kvs[-1].key + b"\0"
        self._too_large = 0
        self._backoff.reset()

    def _request(self, limit: int = 0) -> wire.RangeRequest:
        return wire.RangeRequest(
            key=self._position, range_end=self._keys.end, revision=self._revision, limit=limit
        )

    async def _stream(self) -> AsyncGenerator[Sequence[wire.KeyValue], None]:
        await self._calls.metadata()
        call = self._calls.stream_in(methods.RANGE_STREAM, self._request())
        try:
            while (message := await self._read(call)) is not None:
                kvs = message.range_response.kvs
                if kvs:
                    self._advance(kvs)
                    yield kvs
        finally:
            call.cancel()

    async def _read(self, call: Any) -> wire.RangeStreamResponse | None:
        """The next chunk; None at the end *with status OK*."""
        wait_s = min(self._timeout_s, self._calls.settings.chunk_timeout_s)
        cancelled = cancellations()
        try:
            async with asyncio.timeout(wait_s):
                message = await call.read()
        except grpc.aio.AioRpcError as error:
            pass_on_cancellation(cancelled)
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                raise Unstreamable from None
            raise self._calls.translated(
                error, what=self._what, writes=False, range_=str(self._keys)
            ) from None
        except TimeoutError:
            raise DeadlineExceeded(
                f"{self._what}: no chunk within {wait_s} s", maybe_applied=False
            ) from None
        except asyncio.CancelledError:
            self._calls.raise_if_channel_closed(self._what, writes=False)
            raise
        if message is END_OF_STREAM:
            return None
        chunk: wire.RangeStreamResponse = message
        return chunk

    async def _pages(self) -> AsyncGenerator[Sequence[wire.KeyValue], None]:
        more = True
        while more:
            answer = await self._calls.unary(
                methods.RANGE,
                self._request(self._limit),
                what=self._what,
                writes=False,
                timeout_s=self._timeout_s,
                range_=str(self._keys),
            )
            more = answer.more
            if answer.kvs:
                self._advance(answer.kvs)
                yield answer.kvs
            self._limit = min(self._calls.settings.page_keys, self._limit * 2)
