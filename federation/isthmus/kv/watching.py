"""One watch that outlives its connections (white paper section 4: "notified on change"; G5, attack 16).

Rules learned by measuring: resume behind the *last event's* revision (a catch-up's header runs ahead of
its events: resuming there loses them); a watch from a compacted revision says so once and is silent
afterwards; one from a future revision is silent from the start, and only its ``created`` answer tells
that the store went back in time; without permission the refusal comes as a reason in words. A stopped
server goes on acknowledging in TCP, so silence is answered by a question (progress request) and then by
cutting the stream. Fragments are never asked for (25 times the server's CPU), except when one answer
exceeds the message bound.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from typing import Any

import grpc
import grpc.aio

from isthmus.kv import methods
from isthmus.kv import wire_pb2 as wire
from isthmus.kv.calls import Calls
from isthmus.kv.cancellation import cancellations, pass_on_cancellation
from isthmus.kv.channel import END_OF_STREAM
from isthmus.kv.codec import event
from isthmus.kv.errors import (
    Compacted,
    FutureRevision,
    StoreError,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from isthmus.kv.port import Event, WatchBatch
from isthmus.kv.ranges import KeyRange
from isthmus.kv.translate import from_cancel_reason

_LONGEST_BEAT = 1.5
"""Times the heartbeat: what one beat may add to a silence."""

_PROGRESS = wire.WatchRequest(progress_request=wire.WatchProgressRequest())


class Watching:
    """One range, watched from ``next_revision`` on (0: from whenever the watch stands)."""

    def __init__(self, calls: Calls, keys: KeyRange, start_revision: int) -> None:
        self._calls = calls
        self._keys = keys
        self._next_revision = start_revision
        self._what = f"watch of {keys}"
        self._fragment = False
        self._resumed = False
        self._cluster_id = 0

    async def batches(self) -> AsyncGenerator[WatchBatch, None]:
        """Until closed, the store is closed, or a refusal."""
        backoff = self._calls.backoff()
        while not self._calls.closed:
            try:
                async with aclosing(self._follow()) as batches:
                    async for batch in batches:
                        backoff.reset()
                        yield batch
            except TooLarge:
                if self._fragment:
                    raise
                self._fragment = True
                continue
            except Unauthenticated:
                if self._calls.settings.user is None or self._calls.closed:
                    raise
                await self._authenticate_again()
            except Unavailable:
                pass
            self._calls.counters.watch_reconnects += 1
            await asyncio.sleep(backoff.next_s())

    async def _authenticate_again(self) -> None:
        try:
            await self._calls.authenticate(used=await self._calls.metadata())
        except Unavailable:
            return

    async def _follow(self) -> AsyncGenerator[WatchBatch, None]:
        """One connection's worth of batches; raises Unavailable when it is lost."""
        await self._calls.metadata()
        stream = await self._stand()
        try:
            resumed, self._resumed = self._resumed, True
            yield WatchBatch(self._next_revision - 1, (), resumed)
            gathered: list[wire.Event] = []
            while True:
                message = await stream.read()
                self._check_canceled(message)
                gathered.extend(self._fresh(message.events))
                if gathered and not message.fragment:
                    yield self._batch(gathered)
                    gathered = []
        finally:
            stream.close()

    def _fresh(self, events: Sequence[wire.Event]) -> Sequence[wire.Event]:
        """Without what is older than asked for; in order, so the first one tells."""
        if not events or events[0].kv.mod_revision >= self._next_revision:
            return events
        return [event for event in events if event.kv.mod_revision >= self._next_revision]

    async def _stand(self) -> _Stream:
        """A stream on which nothing from ``next_revision`` on is missing.

        First from "now": when the store stands right before ``next_revision``, that is enough, and
        signs of life work at once (a watch from a revision that has not happened yet gets none, so
        that on an idle store it could not be told from a dead one). Its answer's revision was read
        after the watch stood, so what is older may still come and is dropped.
        """
        stream, store_revision = await self._open(0)
        if not self._next_revision:
            self._next_revision = store_revision + 1
        if store_revision >= self._next_revision:
            stream.close()
            stream, store_revision = await self._open(self._next_revision)
        if store_revision < self._next_revision - 1:
            stream.close()
            await self._check_went_back()
        return stream

    async def _open(self, start_revision: int) -> tuple[_Stream, int]:
        """A stream whose watch was created, and the store's revision just after."""
        stream = _Stream(self._calls, self._what, str(self._keys))
        try:
            await stream.open(
                wire.WatchRequest(
                    create_request=wire.WatchCreateRequest(
                        key=self._keys.start,
                        range_end=self._keys.end,
                        start_revision=start_revision,
                        fragment=self._fragment,
                    )
                )
            )
            created = await stream.read()
            self._check_canceled(created)
            self._check_same_store(created.header)
        except BaseException:
            stream.close()
            raise
        return stream, created.header.revision

    def _check_same_store(self, header: wire.Header) -> None:
        if self._cluster_id and header.cluster_id != self._cluster_id:
            raise self._counted(
                FutureRevision(
                    f"{self._what}: another store answers under the same address",
                    revision=header.revision,
                )
            )
        self._cluster_id = header.cluster_id

    async def _check_went_back(self) -> None:
        """The answering member is behind us: it lags, or the whole store was restored from a backup."""
        answer = await self._calls.unary(
            methods.RANGE,
            wire.RangeRequest(key=self._keys.start, keys_only=True),
            what=self._what,
            writes=False,
            timeout_s=self._calls.settings.silence_s,
            range_=str(self._keys),
        )
        if answer.header.revision < self._next_revision - 1:
            raise self._counted(
                FutureRevision(
                    f"{self._what} from revision {self._next_revision}: the store is at "
                    f"{answer.header.revision}; it was restored from a backup",
                    revision=answer.header.revision,
                )
            )
        raise Unavailable(f"{self._what}: the member that answered lags behind")

    def _check_canceled(self, message: wire.WatchResponse) -> None:
        if message.compact_revision:
            raise self._counted(
                Compacted(
                    f"{self._what} from revision {self._next_revision}: "
                    f"compacted up to {message.compact_revision}",
                    revision=message.compact_revision,
                )
            )
        if message.canceled:
            raise self._counted(
                from_cancel_reason(message.cancel_reason, what=self._what, range_=str(self._keys))
            )

    def _counted(self, error: StoreError) -> StoreError:
        self._calls.count(error)
        return error

    def _batch(self, messages: Iterable[wire.Event]) -> WatchBatch:
        events: tuple[Event, ...] = tuple(map(event, messages))
        self._next_revision = events[-1].revision + 1
        self._calls.counters.watch_events += len(events)
        return WatchBatch(events[-1].revision, events)


class _Stream:
    """One watch stream and its watchdog: no answer, however long, goes unquestioned."""

    def __init__(self, calls: Calls, what: str, range_: str) -> None:
        self._calls = calls
        self._what = what
        self._range = range_
        self._call: Any = None
        self._watchdog: asyncio.Task[None] | None = None
        self._heard = True  # since the watchdog looked
        self._awaited = False  # only a read that waits can tell silence from a slow consumer
        self._silent = False

    async def open(self, create: wire.WatchRequest) -> None:
        self._call = self._calls.stream_both(methods.WATCH)
        watching_over = self._watch_over(self._call, create)
        self._watchdog = asyncio.create_task(watching_over, name=self._what)

    async def read(self) -> wire.WatchResponse:
        """The next message; Unavailable when the stream was lost, refused or silent."""
        self._heard = self._awaited = True
        cancelled = cancellations()
        try:
            message = await self._call.read()
        except grpc.aio.AioRpcError as error:
            pass_on_cancellation(cancelled)
            raise self._lost(error) from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._silent and not (task is not None and task.cancelling()):
                self._calls.counters.watch_silences += 1
                raise Unavailable(f"{self._what}: the server gave no sign of life") from None
            self._calls.raise_if_channel_closed(self._what, writes=False)
            raise
        finally:
            self._awaited = False
            self._heard = True
        if message is END_OF_STREAM:
            raise Unavailable(f"{self._what}: the stream ended")
        response: wire.WatchResponse = message
        return response

    def _lost(self, error: grpc.aio.AioRpcError) -> StoreError:
        return self._calls.translated(error, what=self._what, writes=False, range_=self._range)

    async def _watch_over(self, call: Any, create: wire.WatchRequest) -> None:
        """Write the request, then ask for a sign of life in silence and cut a stream that has none.

        Silence is counted in beats that came on time: a process that was itself stopped or starved
        for long finds one long beat, not a dead server.
        """
        settings = self._calls.settings
        loop = asyncio.get_running_loop()
        pending = loop.create_task(_write(call, create))
        silent_s, looked_s = 0.0, loop.time()
        try:
            while silent_s < settings.silence_s:
                await asyncio.sleep(settings.heartbeat_s)
                beat_s, looked_s = loop.time() - looked_s, loop.time()
                if self._heard or not self._awaited:
                    silent_s = 0.0
                else:
                    silent_s += min(beat_s, settings.heartbeat_s * _LONGEST_BEAT)
                    if pending.done():
                        pending = loop.create_task(_write(call, _PROGRESS))
                self._heard = False
            self._silent = True
            call.cancel()
        finally:
            pending.cancel()

    def close(self) -> None:
        if self._watchdog is not None:
            self._watchdog.cancel()
        if self._call is not None:
            self._call.cancel()


async def _write(call: Any, request: wire.WatchRequest) -> None:
    """Write; a stream that is already lost is the reader's business."""
    try:
        await call.write(request)
    except (grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.InvalidStateError):
        return
