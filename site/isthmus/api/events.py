"""What happened, as a list and as a stream that resumes (server-sent events, WHATWG HTML section 9.2).

The id of an event is the store's revision, so a listener that was cut off says the last one it saw and misses nothing
that the janitor has not removed yet. Several events may share a revision: only the last of them carries the id, so
that a cut in between repeats events and never loses one. A stream begins with one snapshot and goes on from its
revision; a resume behind the store's compaction therefore needs no special case.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Any

from isthmus.api.auth import Principal
from isthmus.api.desk import Desk
from isthmus.api.errors import from_store
from isthmus.api.facts import fact
from isthmus.api.models import EventList, EventView
from isthmus.contract.instance import OperationalEvent
from isthmus.kv.errors import StoreError
from isthmus.kv.port import Entry, EventKind, WatchBatch

RETRY_MS = 2_000


async def listing(desk: Desk, principal: Principal, *, limit: int, since: int) -> EventList:
    """The newest ``limit`` events behind revision ``since``, oldest first."""
    snapshot = await desk.snapshot(desk.families.events.prefix())
    found = [item for item in views(desk, snapshot.entries, principal) if item.revision > since]
    return EventList(
        revision=snapshot.revision,
        events=tuple(found[-limit:]),
        more=len(found) > limit,
    )


def views(desk: Desk, entries: Sequence[Entry], principal: Principal) -> list[EventView]:
    """The events in ``entries`` that the caller may see, in order of revision."""
    found = []
    for entry in entries:
        parts = desk.families.events.parse(entry.key)
        item = fact(entry, OperationalEvent)
        if parts is None or item is None or not visible_to(principal, item.body.subject):
            continue
        found.append(
            EventView(
                revision=item.revision,
                time=item.envelope.as_of,
                component=parts["component"],
                kind=item.body.kind,
                subject=item.body.subject,
                message=item.body.message,
                severity=item.body.severity,
            )
        )
    return sorted(found, key=lambda item: item.revision)


def visible_to(principal: Principal, subject: str) -> bool:
    """The operator sees all; a tenant only what is about ``<tenant>/<chain>`` of its own."""
    if principal.tenant is None:
        return True
    tenant, slash, chain = subject.partition("/")
    return bool(slash) and tenant == principal.tenant and bool(chain) and "/" not in chain


def frames(events: Sequence[EventView]) -> str:
    """Events as server-sent events; the id stands on the last one of each revision."""
    text = []
    for index, event in enumerate(events):
        last = index + 1 == len(events) or events[index + 1].revision != event.revision
        text.append(_frame("event", event.model_dump_json(), event.revision if last else None))
    return "".join(text)


def _frame(kind: str, data: str, identity: int | None = None) -> str:
    head = f"id: {identity}\n" if identity is not None else ""
    return f"{head}event: {kind}\ndata: {data}\n\n"


class Follower:
    """One open stream. ``still_welcome`` is asked before anything is sent: a revoked token ends the stream."""

    def __init__(
        self,
        desk: Desk,
        principal: Principal,
        *,
        closing: asyncio.Event,
        beat_s: float,
        still_welcome: Callable[[], bool],
    ) -> None:
        self._desk = desk
        self._principal = principal
        self._closing = closing
        self._beat_s = beat_s
        self._still_welcome = still_welcome
        self._first = ""
        self._from = 0

    async def open(self, last_seen: int | None) -> None:
        """Take the snapshot that the stream begins with; raises StoreAway while there is still time for a status."""
        snapshot = await self._desk.snapshot(self._desk.families.events.prefix())
        self._from = snapshot.revision + 1
        self._first = (
            f"retry: {RETRY_MS}\n: events of {self._desk.tier.value} {self._desk.name}\n\n"
        )
        if last_seen is None:
            return
        if last_seen > snapshot.revision:
            restored = json.dumps({"revision": snapshot.revision})
            self._first += _frame("reset", restored, snapshot.revision)
            last_seen = 0
        found = views(self._desk, snapshot.entries, self._principal)
        self._first += frames([item for item in found if item.revision > last_seen])

    async def stream(self) -> AsyncIterator[str]:
        """The text of the stream until the listener leaves, the API closes, or the store ends the watch."""
        yield self._first
        watch = self._desk.store.watch(
            self._desk.families.events.prefix(), start_revision=self._from
        )
        closing = asyncio.ensure_future(self._closing.wait())
        batch: asyncio.Future[WatchBatch] = asyncio.ensure_future(anext(watch))
        try:
            while not self._closing.is_set():
                await asyncio.wait(
                    (batch, closing),
                    timeout=self._beat_s,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if not self._still_welcome():
                    return
                if not batch.done():
                    yield ": beat\n\n"
                    continue
                text = self._text(batch.result())
                batch = asyncio.ensure_future(anext(watch))
                if text:
                    yield text
        except (StoreError, StopAsyncIteration) as error:
            yield _frame("error", json.dumps(from_store(error).body()["error"]))
        finally:
            await _settle(batch, closing)
            await _close(watch)

    def _text(self, batch: WatchBatch) -> str:
        entries = [
            event.entry
            for event in batch.events
            if event.kind is EventKind.PUT and event.entry is not None
        ]
        return frames(views(self._desk, entries, self._principal))


async def _close(watch: AsyncIterator[WatchBatch]) -> None:
    """End a watch that is an asynchronous generator (all are; the port promises an iterator only)."""
    if isinstance(watch, AsyncGenerator):
        await watch.aclose()


async def _settle(*futures: asyncio.Future[Any]) -> None:
    """Cancel what still waits and take every result, so that nothing is left unheard."""
    for future in futures:
        future.cancel()
    await asyncio.gather(*futures, return_exceptions=True)
