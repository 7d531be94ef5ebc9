"""What must never cross: planted values, searched on every wire and in every store; refusals, written down (G8).

Foreign values lie where an exporter comes by them, below its own roots under names that no scope has, and where it
never looks. Both ends are told apart: a value in a frame got past the sender, one in a store past the receiver, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from isthmus.chaos.history import Recorder
from isthmus.chaos.simulation.carriage import TIER
from isthmus.chaos.simulation.mirrors import Direction
from isthmus.chaos.simulation.stores import StoreServer
from isthmus.federation import link_pb2 as pb
from isthmus.federation.filters import DenialLog
from isthmus.policy.keys import ROOT
from isthmus.policy.scopes import Decision, Verb

FOREIGN = b"foreign:"
"""What every planted value begins with."""


class ScopeObserver:
    """Of all ``ways`` of a world."""

    def __init__(
        self, record: Recorder, servers: Mapping[str, StoreServer], ways: Sequence[Direction]
    ) -> None:
        self._record = record
        self._servers = servers
        self._ways = {way.name: way for way in ways}
        self._searched = dict.fromkeys(self._ways, 0)
        self._told: set[tuple[str, ...]] = set()
        self._planted = 0

    def plant(self) -> None:
        """Foreign values into every source that answers; again and again, so that followers come by them, too."""
        self._planted += 1
        for way in self._ways.values():
            server = self._servers[way.source]
            if server.up:
                for key in planted(way):
                    server.mvcc.put(key, b"%b%d" % (FOREIGN, self._planted))

    def crossed(self, way: str, batch: pb.Batch) -> None:
        """Somebody sent ``batch``."""
        self._searched[way] += len(batch.items)
        for item in batch.items:
            if item.value.startswith(FOREIGN):
                self._found(way, "wire", item.key.decode("utf-8", "replace"), found=True)

    def log(self, exports: str, imports: str) -> DenialLog:
        """For one end of a link: what it refuses is written down, each refusal once."""
        return _Log(self, self._ways[exports], self._ways[imports])

    def refused(
        self, way: Direction, direction: Literal["in", "out"], key: str, reason: str
    ) -> None:
        """One end of ``way`` refused ``key``."""
        told = (way.name, direction, key, reason)
        if told not in self._told:
            self._told.add(told)
            self._record.denial(
                f"link.{way.name}", peer=way.target, direction=direction, key=key, reason=reason
            )

    def conclude(self) -> None:
        """What the search says of each way at the end; a wire on which nothing was sent was not searched."""
        for name, way in self._ways.items():
            if self._searched[name]:
                self._found(name, "wire", "", found=False)
            found = [
                entry.key
                for entry in self._servers[way.target].mvcc.snapshot(way.into).entries
                if entry.value.startswith(FOREIGN)
            ]
            for key in found or [""]:
                self._found(name, "store", key, found=bool(found))

    def _found(self, way: str, where: Literal["wire", "store"], key: str, *, found: bool) -> None:
        self._record.note(
            f"link.{way}", "sentinel", {"where": where, "key": key or way, "found": found}
        )


class _Log(DenialLog):
    """As the shipped one, and tells."""

    def __init__(self, told: ScopeObserver, exports: Direction, imports: Direction) -> None:
        super().__init__()
        self._observer, self._exports, self._imports = told, exports, imports

    def add(self, direction: str, verb: Verb, key: str | bytes, decision: Decision) -> None:
        super().add(direction, verb, key, decision)
        text = key if isinstance(key, str) else key.decode("utf-8", "replace")
        if direction == "export":
            relative = self._exports.relative(text) or text
            self._observer.refused(self._exports, "out", relative, decision.code)
        else:
            self._observer.refused(self._imports, "in", text, decision.code)


def planted(way: Direction) -> Iterator[str]:
    """Where the foreign values of ``way`` lie: below what is exported, for somebody else, and for nobody."""
    if way.source == TIER:
        yield f"{ROOT}outbox/{way.target}/secrets/no"
        yield f"{ROOT}outbox/nobody/secrets/no"
    else:
        yield f"{ROOT}summary/peers/{way.target}/secrets/no"
        yield f"{ROOT}summary/peers/nobody/secrets/no"
    yield f"{ROOT}secrets/no"
