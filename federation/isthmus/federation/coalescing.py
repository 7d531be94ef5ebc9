"""What waits to be sent: the newest change of each key, never the history of it (DESIGN section 6, G7).

A slow peer costs memory by the number of changed keys, not by the number of changes; and the values among it are
bounded by bytes: over the budget only the key waits, and the edge reads its value when its turn comes. Each watched
root is a lane of its own, because two watches promise no order between them. ``through`` is what a resume token
may say: every change up to that revision has been taken.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

Ready = Callable[[str], bool]
"""May this key go now?"""


class Change(NamedTuple):
    """The newest state of one key. ``fetch``: the value was not kept, read it now."""

    key: str
    value: bytes | None
    revision: int
    fetch: bool = False

    @property
    def is_delete(self) -> bool:
        """True when the key is gone."""
        return self.value is None and not self.fetch

    @property
    def size(self) -> int:
        """Bytes of key and value."""
        return len(self.key) + (len(self.value) if self.value is not None else 0)


@dataclass(slots=True)
class _Waiting:
    first_revision: int
    change: Change


@dataclass(slots=True)
class _Lane:
    covered: int = 0
    waiting: OrderedDict[str, _Waiting] = field(default_factory=OrderedDict)

    def through(self) -> int:
        """Everything up to here has been taken from this lane."""
        first = next(iter(self.waiting.values()), None)
        return self.covered if first is None else min(first.first_revision - 1, self.covered)


class Outbox:
    """The lanes of one exporter."""

    def __init__(self, lanes: int, *, value_budget_bytes: int) -> None:
        self._lanes = [_Lane() for _ in range(lanes)]
        self._budget_bytes = value_budget_bytes
        self._turn = 0
        self.value_bytes = 0

    def __len__(self) -> int:
        return sum(len(lane.waiting) for lane in self._lanes)

    @property
    def through(self) -> int:
        """The revision up to which nothing is missing in what was taken."""
        return min((lane.through() for lane in self._lanes), default=0)

    @property
    def covered(self) -> int:
        """The revision up to which every lane has been heard."""
        return min((lane.covered for lane in self._lanes), default=0)

    def add(self, lane: int, key: str, value: bytes | None, revision: int) -> None:
        """A put (``value``) or a delete (None). A key that waits already keeps its place."""
        waiting = self._lanes[lane].waiting
        old = waiting.get(key)
        if old is not None:
            if old.change.revision > revision:
                return
            self._release(old.change)
        change = Change(key, value, revision)
        if value is not None:
            if self.value_bytes + len(value) > self._budget_bytes:
                change = Change(key, None, revision, fetch=True)
            else:
                self.value_bytes += len(value)
        first = revision if old is None else old.first_revision
        waiting[key] = _Waiting(first, change)  # an OrderedDict keeps the place of a known key

    def cover(self, lane: int, revision: int) -> None:
        """All changes of ``lane`` up to ``revision`` have been added."""
        self._lanes[lane].covered = max(self._lanes[lane].covered, revision)

    def drop_older(self, key: str, revision: int) -> None:
        """``key`` has just been sent in its state at ``revision``: what waits and is not newer need not go."""
        for lane in self._lanes:
            waiting = lane.waiting.get(key)
            if waiting is not None and waiting.change.revision <= revision:
                self._release(waiting.change)
                del lane.waiting[key]

    def waits(self, key: str) -> bool:
        """True when a change of ``key`` waits in any lane."""
        return any(key in lane.waiting for lane in self._lanes)

    def newest(self, lane: int, key: str) -> int:
        """The revision of the change of ``key`` that waits, 0 when none does."""
        waiting = self._lanes[lane].waiting.get(key)
        return 0 if waiting is None else waiting.change.revision

    def keep(self, wanted: Callable[[Change], bool]) -> None:
        """Let go of what is not ``wanted``."""
        for lane in self._lanes:
            for key, waiting in list(lane.waiting.items()):
                if not wanted(waiting.change):
                    self._release(waiting.change)
                    del lane.waiting[key]

    def keys(self) -> Iterator[str]:
        """All that waits."""
        for lane in self._lanes:
            yield from lane.waiting

    def take(self, max_items: int, max_bytes: int, ready: Ready | None = None) -> list[Change]:
        """The next changes, oldest first, lanes in turn; at least one if any waits. Keys that are not ``ready`` keep
        their place, and with it what ``through`` may say."""
        taken: list[Change] = []
        size = 0
        for offset in range(len(self._lanes)):
            lane = self._lanes[(self._turn + offset) % len(self._lanes)].waiting
            due = None if ready is None else iter([key for key in lane if ready(key)])
            while lane and len(taken) < max_items:
                key = next(iter(lane) if due is None else due, None)
                if key is None:
                    break
                change = lane[key].change
                if taken and size + change.size > max_bytes:
                    break
                del lane[key]
                self._release(change)
                size += change.size
                taken.append(change)
        self._turn = (self._turn + 1) % max(1, len(self._lanes))
        return taken

    def clear(self, covered: Sequence[int]) -> None:
        """Start again: nothing waits, and each lane stands at its revision in ``covered``."""
        self._lanes = [_Lane(revision) for revision in covered]
        self.value_bytes = 0
        self._turn = 0

    def _release(self, change: Change) -> None:
        if change.value is not None:
            self.value_bytes -= len(change.value)
