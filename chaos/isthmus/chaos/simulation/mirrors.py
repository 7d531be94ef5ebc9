"""Observers of mirrors: what each source held and what each mirror showed, in commit order, into the history.

They sit where the stores commit, so they miss nothing and cost no task. A link direction is named
``<source>><target>``; keys are the relative ones under which they cross. :class:`Mirrors` compares both ends of all of
them at one moment, for the worlds in which links carry something (G4 to G6).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

from isthmus.chaos.history import Recorder
from isthmus.chaos.simulation.carriage import DOWN, TIER, UP
from isthmus.chaos.simulation.stores import StoreServer
from isthmus.contract.scopes import ExportRoot, import_root, site_exports, tier_exports
from isthmus.federation.digest import META, DigestMap
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


Held = dict[str, bytes]
"""Values by relative key."""


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


class Mirrors:
    """Every mirror of a world, both ends; the stores are read at once, so that nothing moves between two looks."""

    def __init__(
        self, record: Recorder, servers: Mapping[str, StoreServer], ways: Sequence[Direction]
    ) -> None:
        self._record = record
        self._servers = servers
        self.observer = MirrorObserver(record, ways)
        self.ways = self.observer.ways
        self._equal: set[str] = set()

    def sets(self, way: Direction) -> tuple[Held, Held]:
        """What must be there and what is."""
        want = {
            relative: value
            for relative, value in self._exported(way)
            if way.scope.decide(Verb.PUT, relative)
        }
        cut = len(way.into)
        have = {
            entry.key[cut:]: entry.value
            for entry in self._servers[way.target].mvcc.snapshot(way.into).entries
            if not entry.key[cut:].startswith(META)
        }
        return want, have

    def _exported(self, way: Direction) -> Iterator[tuple[str, bytes]]:
        mvcc = self._servers[way.source].mvcc
        for root in way.roots:
            if root.is_prefix:
                cut = len(root.source)
                for entry in mvcc.snapshot(root.source).entries:
                    yield root.relative + entry.key[cut:], entry.value
            elif (one := mvcc.get(root.source)) is not None:
                yield root.relative, one.value

    def healed(self, but: Collection[str] = ()) -> None:
        """From here on every link could work again; those of the sites ``but`` at a pace of their own."""
        for way in self.ways:
            if way.source in but or way.target in but:
                continue
            want, have = self.sets(way)
            backlog = len(dict(want.items() ^ have.items()))
            self._record.heal("sim", link=way.name, backlog=backlog)

    def equal(self) -> bool:
        """Is every mirror now what its source is? Each link says so once, when it first is: sources that go on
        changing are equal again and again, but not all at once while they are loaded."""
        whole = True
        for way in self.ways:
            want, have = self.sets(way)
            if want != have:
                whole = False
            elif way.name not in self._equal:
                self._equal.add(way.name)
                self._tell(way, want, have)
        return whole

    def conclude(self) -> None:
        """Both digests of all of them, as they are at the end."""
        for way in self.ways:
            self._tell(way, *self.sets(way))

    def differences(self) -> Iterator[str]:
        """For people: which keys differ, by way."""
        for way in self.ways:
            want, have = self.sets(way)
            keys = sorted(dict(want.items() ^ have.items()))
            if keys:
                yield f"mirror {way.name} differs in {len(keys)} keys: {', '.join(keys[:3])}"

    def _tell(self, way: Direction, want: Held, have: Held) -> None:
        self._record.digest(
            "sim", link=way.name, source=_digest(want), target=_digest(have), keys=len(want)
        )


def _digest(held: Held) -> str:
    """As the federation's own code computes it."""
    known = DigestMap()
    for key, value in held.items():
        known.put(key, value)
    return known.root().hex()


_REMOTE = import_root("x").removesuffix("x/")


def _text(value: bytes) -> str:
    return value.decode("ascii", "replace") if len(value) <= 16 else f"{hash_of(value):08x}"


def hash_of(value: bytes) -> int:
    """Short and the same in every process."""
    return crc32(value)
