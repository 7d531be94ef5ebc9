"""Shadow mode: a second implementation runs on live watches and decides; nothing it decides is applied (R9).

It leads nothing and writes nothing, so it may run beside the first for as long as trust needs. Its report holds
what it would have written, and how that differs from what stands in the store. Its etcd user may only read
(:func:`isthmus.contract.roles.shadow_role`), so that the store, not this module, is what keeps it from writing.
Only for controllers that act on keys alone: what else a controller touches (a plug-in) it would touch here, too.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from isthmus.contract import Body
from isthmus.contract.families import FAMILIES
from isthmus.kv.port import Delete, Entry, Put
from isthmus.microcontroller.state import State
from isthmus.microcontroller.writer import Writer

KEPT_WRITES = 1_000
_NOT_COMPARED = frozenset({"leases", "events"})
"""Leadership is not a decision; an event's key is a fresh name."""


@dataclass(frozen=True, slots=True)
class ShadowWrite:
    """A write that was not made: the bytes at ``key`` then, and those that would have come (None: none)."""

    key: str
    old: bytes | None
    new: bytes | None


@dataclass(frozen=True, slots=True)
class Difference:
    """The bodies at ``key`` as they stand and as the shadow wants them (None: no such key)."""

    key: str
    live: Any
    shadow: Any

    def __str__(self) -> str:
        """For people: which fields, and both values."""
        if not isinstance(self.live, dict) or not isinstance(self.shadow, dict):
            return f"{self.key}: live {_short(self.live)}, shadow {_short(self.shadow)}"
        fields = sorted(
            name
            for name in {*self.live, *self.shadow}
            if self.live.get(name) != self.shadow.get(name)
        )
        told = (
            f"{name}: live {_short(self.live.get(name))}, shadow {_short(self.shadow.get(name))}"
            for name in fields
        )
        return f"{self.key}: " + "; ".join(told)


@dataclass(slots=True)
class ShadowReport:
    """``writes``: the newest that were held back. ``wanted``: the last wish per key, also where nothing was to do."""

    writes: deque[ShadowWrite] = field(default_factory=lambda: deque(maxlen=KEPT_WRITES))
    writes_total: int = 0
    wanted: dict[str, Body | None] = field(default_factory=dict)
    _state: State = field(default_factory=State)

    def begin(self, state: State) -> None:
        """A life begins with ``state``: wishes of the one before are forgotten."""
        self._state = state
        self.wanted.clear()

    def held_back(self, write: ShadowWrite) -> None:
        """Remember a write."""
        self.writes.append(write)
        self.writes_total += 1

    def differences(self, component: str) -> tuple[Difference, ...]:
        """What stands otherwise than the shadow wants, now, in key order; also keys in the families of ``component``
        that it never spoke of. A difference that lasts is one: while events are under way, each side may be ahead.
        """
        found = []
        for key in sorted({*self._keys(written_by(component)), *self.wanted}):
            live, shadow = self._live(key), self._wish(key)
            if live != shadow:
                found.append(Difference(key, live, shadow))
        return tuple(found)

    def _keys(self, prefixes: tuple[str, ...]) -> Iterable[str]:
        for mirror in self._state.mirrors.values():
            for key in mirror.entries:
                if key.startswith(prefixes):
                    yield key

    def _live(self, key: str) -> Any:
        entry = self._state.mirrored(key)
        return None if entry is None else _body(entry.value)

    def _wish(self, key: str) -> Any:
        body = self.wanted.get(key)
        return None if body is None else body.model_dump(mode="json")


@dataclass(slots=True)
class ShadowWriter(Writer):
    """A writer that keeps to itself. A wish counts as a fact for the shadow until the live facts move on."""

    report: ShadowReport = field(default_factory=ShadowReport)

    async def put(
        self,
        key: str,
        body: Body,
        *,
        ttl_s: float = 0.0,
        trace_id: str = "",
        refresh_s: float = 0.0,
    ) -> bool:
        """As :meth:`Writer.put`, but nothing is written."""
        self.report.wanted[key] = body
        return await Writer.put(
            self, key, body, ttl_s=ttl_s, trace_id=trace_id, refresh_s=refresh_s
        )

    async def delete(self, key: str) -> bool:
        """As :meth:`Writer.delete`, but nothing is written."""
        self.report.wanted[key] = None
        return await Writer.delete(self, key)

    async def _commit(self, key: str, current: Entry | None, operation: Put | Delete) -> int:
        old = None if current is None else current.value
        new = operation.value if isinstance(operation, Put) else None
        self.report.held_back(ShadowWrite(key, old, new))
        return self.state.revision_of(key) + 1


def written_by(component: str) -> tuple[str, ...]:
    """The prefixes (or keys) whose one writer is ``component``, in either tier, as far as decisions go."""
    found = set()
    for families in FAMILIES.values():
        for family in families:
            bound = family.bind(family.writer, component)
            if bound is not None and family.name not in _NOT_COMPARED:
                known = {name: value for name, value in bound.items() if name in family.variables}
                found.add(family.prefix(**known))
    return tuple(sorted(found))


def _body(value: bytes) -> Any:
    try:
        document = json.loads(value)
    except ValueError:
        return repr(value[:80])
    return document.get("body") if isinstance(document, dict) else document


def _short(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value, sort_keys=True)
    return text if len(text) <= 200 else f"{text[:200]}..."
