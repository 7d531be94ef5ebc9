"""What a source held over time, key by key, through restores: the truth that mirrors are judged against (G5, G6).

A mirror of a key may skip states, since changes coalesce, but what it shows must be a way *forward* through the
list of states that the source's key had. A restore takes every key back to a state it had once: that state counts
again, as a new step, so a mirror may follow the source back in time, and nobody else may go there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from isthmus.chaos.history.record import Record

State = str | None
"""The value; None: the key does not exist."""


@dataclass(slots=True)
class _Incarnation:
    """One unbroken history: the set it began with, and its changes with their revisions."""

    name: str
    parent: _Incarnation | None
    began_at_rev: int
    base: dict[str, str]
    changes: list[tuple[int, str, State]] = field(default_factory=list)

    def at(self, rev: int) -> dict[str, str]:
        """The set at ``rev``; before the beginning it is the parent's."""
        if rev < self.began_at_rev and self.parent is not None:
            return self.parent.at(rev)
        found = dict(self.base)
        for changed_at, key, value in self.changes:
            if changed_at <= rev:
                _apply(found, key, value)
        return found


@dataclass(slots=True)
class Timeline:
    """Of one mirrored set. ``states[key]`` begins with "absent"; ``now`` is what it holds at the end."""

    states: dict[str, list[State]] = field(default_factory=dict)
    now: dict[str, str] = field(default_factory=dict)
    restores: int = 0
    _incarnations: dict[str, _Incarnation] = field(default_factory=dict)
    _current: _Incarnation | None = None

    def add(self, record: Record) -> None:
        """The next `held` record."""
        if record.text("verb") == "restore":
            self._restore(record)
            return
        current = self._current or self._begin(record.text("inc"), None, 0, {})
        key = record.text("key")
        value = record.text("value") if record.text("verb") == "put" else None
        current.changes.append((record.whole("rev"), key, value))
        _apply(self.now, key, value)
        self._states_of(key).append(value)

    def _begin(
        self, name: str, parent: _Incarnation | None, rev: int, base: dict[str, str]
    ) -> _Incarnation:
        self._current = self._incarnations[name] = _Incarnation(name, parent, rev, base)
        return self._current

    def _restore(self, record: Record) -> None:
        self.restores += 1
        rev = record.whole("rev")
        origin = self._incarnations.get(record.text("backup_inc"), self._current)
        base = origin.at(rev) if origin is not None else {}
        for key in self.states.keys() | base.keys():
            if self.now.get(key) != base.get(key):
                self._states_of(key).append(base.get(key))
        self.now = dict(base)
        self._begin(record.text("inc"), origin, rev, base)

    def _states_of(self, key: str) -> list[State]:
        return self.states.setdefault(key, [None])


def _apply(found: dict[str, str], key: str, value: State) -> None:
    if value is None:
        found.pop(key, None)
    else:
        found[key] = value


def timelines(history: Sequence[Record]) -> dict[str, Timeline]:
    """Mirrored set -> what it held."""
    found: dict[str, Timeline] = {}
    for record in history:
        if record.what == "held":
            found.setdefault(record.text("store"), Timeline()).add(record)
    return found


@dataclass(frozen=True, slots=True)
class Misstep:
    """A `shown` record that is no way forward. ``known``: the source did have that state once, earlier."""

    record: Record
    known: bool
    repeated: bool


@dataclass(slots=True)
class Walk:
    """What one reader was shown of one mirrored set, and where it left the source's way."""

    timeline: Timeline
    shown: dict[str, str] = field(default_factory=dict)
    steps: int = 0
    missteps: list[Misstep] = field(default_factory=list)
    last: dict[str, Record] = field(default_factory=dict)
    _at: dict[str, int] = field(default_factory=dict)

    def begin_again(self) -> None:
        """The reader starts from nothing (his own store was restored): what he was shown before is past."""
        self.shown.clear()
        self.last.clear()
        self._at.clear()

    def see(self, record: Record) -> None:
        """The next `shown` record of this reader."""
        self.steps += 1
        key = record.text("key")
        value = record.text("value") if record.text("verb") == "put" else None
        states = self.timeline.states.get(key, [None])
        start = self._at.get(key, 0)
        found = next((i for i in range(start + 1, len(states)) if states[i] == value), None)
        if found is None:
            again = self.shown.get(key) == value
            self.missteps.append(Misstep(record, value in states[: start + 1], again))
        else:
            self._at[key] = found
        _apply(self.shown, key, value)
        self.last[key] = record


def walks(history: Sequence[Record]) -> dict[tuple[str, str], Walk]:
    """(mirrored set, reader) -> its walk, of the sets whose source was recorded, too. The whole source is read first:
    in a real run its own record may come later than the mirror's."""
    truth = timelines(history)
    found: dict[tuple[str, str], Walk] = {}
    for record in history:
        store = record.text("store")
        if record.what not in ("reader", "shown") or store not in truth:
            continue
        name = (store, record.text("peer"))
        if name not in found:
            found[name] = Walk(truth[store])
        elif record.what == "reader":
            found[name].begin_again()
        if record.what == "shown":
            found[name].see(record)
    return found


def unjudgeable(history: Sequence[Record]) -> list[str]:
    """What cannot be judged: mirrors of sets whose source nobody recorded."""
    truth = timelines(history)
    stores = {r.text("store") for r in history if r.what in ("reader", "shown")}
    return [f"not judged: no `held` records of {store}" for store in sorted(stores - truth.keys())]
