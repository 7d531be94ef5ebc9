"""G5 and G6 against a tiny model: every honest mirror passes, and one planted lie does not."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import assume, given
from hypothesis import strategies as st
from tests.unit.proving.tale import Tale

from isthmus.chaos.history.verdict import Outcome

KEYS = ("a", "b", "c")
Moves = list[tuple[str, str]]
MOVES: st.SearchStrategy[Moves] = st.lists(
    st.tuples(
        st.sampled_from(("put", "delete", "look", "backup", "restore")), st.sampled_from(KEYS)
    ),
    max_size=40,
)


@dataclass
class Model:
    """A source that changes, and an honest reader who looks at single keys now and then."""

    tale: Tale = field(default_factory=Tale)
    source: dict[str, str] = field(default_factory=dict)
    shown: dict[str, str] = field(default_factory=dict)
    rev: int = 0
    inc: int = 1
    value: int = 0
    kept: tuple[int, str, dict[str, str]] | None = None

    def __post_init__(self) -> None:
        self.tale.say.reader("r", store="s", peer="m")

    def play(self, moves: Moves) -> None:
        for move, key in moves:
            getattr(self, move)(key)

    def put(self, key: str) -> None:
        self.value += 1
        self.source[key] = str(self.value)
        self._held("put", key, str(self.value))

    def delete(self, key: str) -> None:
        if self.source.pop(key, None) is not None:
            self._held("delete", key, None)

    def _held(self, verb: str, key: str, value: str | None) -> None:
        self.rev += 1
        self.tale.say.note(
            "store",
            "held",
            {
                "store": "s",
                "verb": verb,
                "key": key,
                "value": value,
                "rev": self.rev,
                "inc": str(self.inc),
            },
        )

    def backup(self, _: str) -> None:
        self.kept = (self.rev, str(self.inc), dict(self.source))

    def restore(self, _: str) -> None:
        if self.kept is None:
            return
        self.rev, backup_inc, held = self.kept
        self.source = dict(held)
        self.inc += 1
        self.tale.say.held(
            "store",
            store="s",
            verb="restore",
            rev=self.rev,
            inc=str(self.inc),
            backup_inc=backup_inc,
        )

    def look(self, key: str) -> None:
        """The mirror takes the source's state of one key over, if it differs."""
        value = self.source.get(key)
        if value == self.shown.get(key):
            return
        self.show(key, value)

    def show(self, key: str, value: str | None) -> None:
        if value is None:
            self.shown.pop(key, None)
            self.tale.say.shown("r", store="s", peer="m", verb="delete", key=key)
        else:
            self.shown[key] = value
            self.tale.say.shown("r", store="s", peer="m", verb="put", key=key, value=value)

    def converge(self) -> None:
        for key in KEYS:
            self.look(key)

    def outcome(self, promise: str) -> Outcome:
        return self.tale.judge(promise).outcome


@given(MOVES)
def test_an_honest_mirror_is_never_accused(moves: Moves) -> None:
    """Through restores from any older history: looking at the source as it is, is always a way forward."""
    model = Model()
    model.play(moves)
    model.converge()
    assert model.outcome("G5") is not Outcome.BROKEN, model.tale.judge("G5").text
    assert model.outcome("G6") is not Outcome.BROKEN, model.tale.judge("G6").text


@given(MOVES, st.sampled_from(KEYS))
def test_a_hole_is_always_found(moves: Moves, key: str) -> None:
    """One removal that the source did not make, at any moment, healed at once: G6 sees it. (One that it did make, in a
    history that a restore took back, may be shown late: that is no hole.)"""
    model = Model()
    model.play([move for move in moves if move != ("delete", key)])
    model.converge()
    assume(key in model.shown)
    value = model.shown[key]
    model.show(key, None)
    model.show(key, value)
    assert model.outcome("G6") is Outcome.BROKEN


@given(MOVES, st.sampled_from(KEYS))
def test_going_back_is_always_found(moves: Moves, key: str) -> None:
    """The value before the newest one, shown once more at the end: G5 sees it."""
    model = Model()
    model.play(moves)
    model.put(key)
    older = model.source[key]
    model.put(key)
    model.converge()
    model.show(key, older)
    assert model.outcome("G5") is Outcome.BROKEN
    assert model.outcome("G6") is Outcome.BROKEN


@given(MOVES, st.sampled_from(KEYS))
def test_a_change_that_never_comes_is_always_found(moves: Moves, key: str) -> None:
    """The last change of a key is lost: missing or a ghost at the end."""
    model = Model()
    model.play(moves)
    model.converge()
    (model.delete if key in model.source else model.put)(key)
    for other in KEYS:
        if other != key:
            model.look(other)
    assert model.outcome("G6") is Outcome.BROKEN
