"""Who else writes below a mirror's destination? (Issue 7, point 9: equal, whoever changed it.)

An importer knows what it stored, not what somebody else did to it since. In a store of our own nobody may write there;
a foreign one has no such rule. As long as each revision of the store is one that we wrote, nobody else did
anything: that costs one small question a second. From the first other revision on, a watch tells which keys were
touched; what is believed of them is spoilt, so that the digests differ and the next repair sends them again.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

from isthmus.federation.digest import DigestMap
from isthmus.federation.errors import LinkLost
from isthmus.kv.errors import StoreError
from isthmus.kv.port import WatchBatch
from isthmus.kv.raw_range import RawRange

REPLAYED = 1000
"""Of our own writes at most so many are watched again when somebody else turns up; for more we start afresh."""
UNSURE = "somebody else writes into the destination: it is read again"


class Strangers:
    """``relative`` gives the relative name of an absolute key, None when it is not ours to keep equal."""

    def __init__(self, raw: RawRange, relative: Callable[[str], str | None]) -> None:
        self._raw = raw
        self._relative = relative
        self._known = DigestMap()
        self._own: set[int] = set()
        self._seen = 0
        self._heard: list[tuple[int, str]] = []
        self._watch: asyncio.Task[None] | None = None

    def begin(self, known: DigestMap, revision: int) -> None:
        """``known`` is what the store held at ``revision``, and what the importer believes from now on."""
        self._known, self._seen = known, revision

    def wrote(self, revision: int) -> None:
        """A transaction of ours."""
        self._own.add(revision)

    async def look(self) -> None:
        """With none of our writes under way: spoil what others touched. Raises LinkLost when that cannot be known."""
        if self._watch is None:
            await self._count()
        elif self._watch.done():
            raise LinkLost(UNSURE)
        heard, self._heard = self._heard, []
        for revision, key in heard:
            if revision not in self._own:
                # Nobody has this value: whatever the source has, also nothing at all, differs and is sent again.
                self._known.put(key, secrets.token_bytes(16))
        if heard:
            self._own = {revision for revision in self._own if revision > heard[-1][0]}

    async def _count(self) -> None:
        """Is each revision since the last look one of ours?"""
        before, now = self._seen, await self._raw.revision()
        ours = sum(1 for revision in self._own if before < revision <= now)
        if ours < now - before:
            if ours > REPLAYED:
                raise LinkLost(UNSURE)
            self._watch = asyncio.get_running_loop().create_task(self._follow(before + 1))
            return
        self._seen = now
        self._own.clear()

    async def _follow(self, start_revision: int) -> None:
        """Until stopped; a store that cannot tell any more ends it, and the next look the link."""
        try:
            async for batch in self._raw.watch(start_revision):
                self.heard(batch)
        except StoreError:
            return

    def heard(self, batch: WatchBatch) -> None:
        """Remember who may have been touched. Whether it was by us is known once our writes are answered: in look()."""
        for event in batch.events:
            relative = self._relative(event.key)
            if relative is not None:
                self._heard.append((event.revision, relative))

    def stop(self) -> None:
        """The link ends."""
        if self._watch is not None:
            self._watch.cancel()
