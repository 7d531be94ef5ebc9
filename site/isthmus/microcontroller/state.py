"""What a microcontroller knows: mirrors of the prefixes it watches, overlaid with what it wrote itself.

A write comes back through the watch a few milliseconds later; in between the overlay keeps the controller from
deciding on its own past. Values are decoded once per revision. A value that does not keep the contract is left
out and counted: a foreign mistake never stops a reader.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from isthmus.contract import Body, ContractError, Envelope, Family, unseal
from isthmus.kv.port import Entry
from isthmus.policy.errors import KeyRefused
from isthmus.policy.keys import ROOT, check_key

B = TypeVar("B", bound=Body)
_BELOW = len(ROOT)


class MirrorLike(Protocol):
    """The part of :class:`isthmus.kv.mirror.Mirror` that is read here."""

    @property
    def entries(self) -> Mapping[str, Entry]: ...

    @property
    def revision(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Known:
    """One decoded value: its key, the variables of its family, its envelope and its revision."""

    key: str
    variables: Mapping[str, str]
    envelope: Envelope[Any]
    mod_revision: int


@dataclass(frozen=True, slots=True)
class _Own:
    """An own write at ``revision`` (None: deletion), made while the mirror stood at ``seen``."""

    revision: int
    seen: int
    entry: Entry | None


@dataclass(slots=True)
class State:
    """Read-only view for reconcilers. ``mirrors`` maps watched prefix to its mirror."""

    mirrors: dict[str, MirrorLike] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    _overlay: dict[str, _Own] = field(default_factory=dict)
    _decoded: dict[str, tuple[Entry, type[Body], Envelope[Any]]] = field(default_factory=dict)
    _places: dict[str, list[str]] = field(default_factory=dict)
    """Watched prefixes by their first segment: each read of a key asks which mirror holds it."""
    _placed: int = 0

    @property
    def revision(self) -> int:
        """The lowest revision all mirrors have reached."""
        return min((mirror.revision for mirror in self.mirrors.values()), default=0)

    def wrote(self, key: str, revision: int, entry: Entry | None) -> None:
        """Remember an own write (None: deletion) until the mirror has caught up; keys that nobody mirrors here are not
        kept."""
        mirror = self._mirror(key)
        if mirror is not None:
            self._overlay[key] = _Own(revision, mirror.revision, entry)

    def changed(self, keys: Iterable[str]) -> None:
        """The mirrors say that ``keys`` changed: let go of what was kept about those that are gone, and of own writes
        that have come back (an overlay nobody asks for must not outlive a restored store)."""
        for key in keys:
            mirror = self._mirror(key)
            now = None if mirror is None else mirror.entries.get(key)
            own = self._overlay.get(key)
            if own is not None and (
                own.entry is None if now is None else now.mod_revision >= own.revision
            ):
                del self._overlay[key]
            if now is None:
                self._decoded.pop(key, None)
                self.refused.pop(key, None)

    def mirrored(self, key: str) -> Entry | None:
        """The entry at ``key`` as the mirror has it, own writes under way left out."""
        mirror = self._mirror(key)
        return None if mirror is None else mirror.entries.get(key)

    def revision_of(self, key: str) -> int:
        """How far the mirror of ``key`` has come; 0 where nothing is mirrored."""
        mirror = self._mirror(key)
        return 0 if mirror is None else mirror.revision

    def covers(self, key: str) -> bool:
        """True when a mirror holds the range of ``key``."""
        return self._mirror(key) is not None

    def entry(self, key: str) -> Entry | None:
        """The newest entry known at ``key``."""
        mirror = self._mirror(key)
        entry = mirror.entries.get(key) if mirror is not None else None
        overlaid = self._overlay.get(key)
        if overlaid is None:
            return entry
        if mirror is not None and not overlaid.seen <= mirror.revision < overlaid.revision:
            # It came back, or the store went back in time (G6): the mirror knows better.
            del self._overlay[key]
            return entry
        return overlaid.entry

    def envelope(self, key: str, model: type[B]) -> Envelope[B] | None:
        """The decoded value at ``key``, or None when absent or refused."""
        entry = self.entry(key)
        return None if entry is None else self._decode(entry, model)

    def body(self, key: str, model: type[B]) -> B | None:
        """The body at ``key``, or None."""
        envelope = self.envelope(key, model)
        return None if envelope is None else envelope.body

    def fresh(self, key: str, model: type[B], now: float) -> B | None:
        """The body at ``key`` unless it is older than its time to live (G12)."""
        envelope = self.envelope(key, model)
        return None if envelope is None or envelope.expired(now) else envelope.body

    def get(self, family: Family, **variables: str) -> Any:
        """The body at a family's key, or None; typed by the family's model."""
        assert family.model is not None, f"{family.name} has no model of its own"
        return self.body(family.key(**variables), family.model)

    def items(self, family: Family, **bound: str) -> Iterator[Known]:
        """All decoded values of a family (with some variables bound), in key order."""
        assert family.model is not None, f"{family.name} has no model of its own"
        for key in self.keys(family.prefix(**bound)):
            variables = family.parse(key)
            entry = self.entry(key)
            if variables is None or entry is None:
                continue
            envelope = self._decode(entry, family.model)
            if envelope is not None:
                yield Known(key, variables, envelope, entry.mod_revision)

    def below(self, prefix: str, model: type[B]) -> Iterator[tuple[str, Envelope[B], Entry]]:
        """Decoded values below an absolute prefix (for the open sub-trees of ``remote``)."""
        for key in self.keys(prefix):
            entry = self.entry(key)
            if entry is None:
                continue
            envelope = self._decode(entry, model)
            if envelope is not None:
                yield key, envelope, entry

    def keys(self, prefix: str) -> list[str]:
        """Sorted keys below ``prefix`` (or the one key, when it does not end in ``/``)."""
        if not prefix.endswith("/"):
            return [prefix] if self.entry(prefix) is not None else []
        mirrors: Iterable[MirrorLike] = (
            mirror
            for watched, mirror in self.mirrors.items()
            if watched.startswith(prefix) or prefix.startswith(watched)
        )
        found = {key for mirror in mirrors for key in mirror.entries if key.startswith(prefix)}
        for key in list(self._overlay):
            if key.startswith(prefix):
                if self.entry(key) is None:
                    found.discard(key)
                else:
                    found.add(key)
        return sorted(found)

    def _mirror(self, key: str) -> MirrorLike | None:
        if self._placed != len(self.mirrors):
            self._places.clear()
            for watched in self.mirrors:
                self._places.setdefault(_family(watched), []).append(watched)
            self._placed = len(self.mirrors)
        for watched in (*self._places.get(_family(key), ()), *self._places.get("", ())):
            if key.startswith(watched) if watched.endswith("/") else key == watched:
                return self.mirrors[watched]
        return None

    def _decode(self, entry: Entry, model: type[B]) -> Envelope[B] | None:
        cached = self._decoded.get(entry.key)
        # By value, not by revision alone: a restored store uses revisions a second time.
        if cached is not None and cached[0] == entry and cached[1] is model:
            return cached[2]
        try:
            check_key(entry.key)
            envelope = unseal(entry.value, model)
        except (ContractError, KeyRefused) as error:
            self.refused[entry.key] = str(error)
            return None
        self.refused.pop(entry.key, None)
        self._decoded[entry.key] = (entry, model, envelope)
        return envelope


def _family(key: str) -> str:
    """The first segment below the root; of a key outside it, nothing."""
    return key[_BELOW : key.find("/", _BELOW)] if key.startswith(ROOT) else ""
