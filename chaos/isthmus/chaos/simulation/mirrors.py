"""Observers of mirrors: what each source held and what each mirror showed, in commit order, into the history.

They sit where the stores commit, so they miss nothing and cost no task. A link direction is named
``<source>><target>``; keys are the relative ones under which they cross.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from zlib import crc32

from isthmus.chaos.history import Recorder
from isthmus.chaos.simulation.carriage import DOWN, TIER, UP
from isthmus.chaos.simulation.stores import StoreServer
from isthmus.contract.scopes import ExportRoot, import_root, site_exports, tier_exports
from isthmus.federation.digest import META
from isthmus.kv.port import Entry, Event
from isthmus.policy.scopes import Scope, Verb


@dataclass(frozen=True, slots=True)
class Direction:
    """One direction of one link."""

    source: str
    target: str
    roots: tuple[ExportRoot, ...]
    scope: Scope

    @property
    def name(self) -> str:
        """``<source>><target>``."""
        return f"{self.source}>{self.target}"

    @property
    def into(self) -> str:
        """Where the target keeps it."""
        return import_root(self.source)

    def relative(self, key: str) -> str | None:
        """The name under which a source key crosses."""
        for root in self.roots:
            if root.source.endswith("/"):
                if key.startswith(root.source):
                    return root.relative + key[len(root.source) :]
            elif key == root.source:
                return root.relative
        return None


def directions(sites: Iterable[str]) -> tuple[Direction, ...]:
    """Both directions of the link of each site."""
    found = []
    for site in sites:
        found.append(Direction(site, TIER, site_exports(TIER), UP))
        found.append(Direction(TIER, site, tier_exports(site), DOWN))
    return tuple(found)


class MirrorObserver:
    """Of all ``ways`` of a world."""

    def __init__(self, record: Recorder, ways: Sequence[Direction]) -> None:
        self._record = record
        self.ways = tuple(ways)
        self._out: dict[str, list[Direction]] = {}
        self._in: dict[str, list[Direction]] = {}
        for way in ways:
            self._out.setdefault(way.source, []).append(way)
            self._in.setdefault(way.target, []).append(way)

    def committed(self, server: StoreServer, events: Iterable[Event]) -> None:
        """``server`` has committed these."""
        for event in events:
            if event.key.startswith(_REMOTE):
                self._shown(server, event.key, event.entry)
            else:
                self._held(server, event.key, event.entry, event.revision)

    def _held(self, server: StoreServer, key: str, entry: Entry | None, revision: int) -> None:
        for way in self._out.get(server.name, ()):
            relative = way.relative(key)
            if relative is not None and way.scope.decide(Verb.PUT, relative):
                self._record.held(
                    f"store.{server.name}",
                    store=way.name,
                    verb="delete" if entry is None else "put",
                    key=relative,
                    value=None if entry is None else _text(entry.value),
                    rev=revision,
                    inc=str(server.incarnation),
                )

    def _shown(self, server: StoreServer, key: str, entry: Entry | None) -> None:
        for way in self._in.get(server.name, ()):
            if key.startswith(way.into):
                relative = key[len(way.into) :]
                if not relative.startswith(META):
                    self._record.shown(
                        f"store.{server.name}",
                        store=way.name,
                        peer=server.name,
                        verb="delete" if entry is None else "put",
                        key=relative,
                        value=None if entry is None else _text(entry.value),
                    )
                return

    def begin(self) -> None:
        """Every mirror has a reader from the start."""
        for way in self.ways:
            self._record.reader(f"store.{way.target}", store=way.name, peer=way.target)

    def restored(self, server: StoreServer) -> None:
        """``server`` came back from a backup: its readers begin again with what it holds now."""
        for way in self._out.get(server.name, ()):
            self._record.held(
                f"store.{server.name}",
                store=way.name,
                verb="restore",
                rev=server.backup_revision,
                inc=str(server.incarnation),
                backup_inc=str(server.backup_incarnation),
            )
        for way in self._in.get(server.name, ()):
            self._record.reader(f"store.{server.name}", store=way.name, peer=way.target)
            for entry in server.mvcc.snapshot(way.into).entries:
                self._shown(server, entry.key, entry)


_REMOTE = import_root("x").removesuffix("x/")


def _text(value: bytes) -> str:
    return value.decode("ascii", "replace") if len(value) <= 16 else f"{hash_of(value):08x}"


def hash_of(value: bytes) -> int:
    """Short and the same in every process."""
    return crc32(value)
