"""What a controller believes: the mirror, own writes under way, and never what a restored store took back."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.unit.microcontroller.toys import KEY, STAMP, Verdict

from isthmus.contract import seal
from isthmus.contract.families import HEALTH
from isthmus.kv.port import Entry
from isthmus.microcontroller import State


@dataclass
class Still:
    """A mirror that moves when told."""

    entries: dict[str, Entry] = field(default_factory=dict)
    revision: int = 10


def entry(text: str, revision: int, key: str = KEY) -> Entry:
    return Entry(key, seal(Verdict(text=text), STAMP, as_of=0), 1, revision, 1)


def seen(state: State) -> str | None:
    body = state.body(KEY, Verdict)
    return None if body is None else body.text


def world() -> tuple[State, Still]:
    mirror = Still()
    return State({HEALTH.prefix(): mirror}), mirror


def test_an_own_write_is_seen_before_it_comes_back() -> None:
    """Why: otherwise a controller decides on its own past and orders everything twice."""
    state, mirror = world()
    state.wrote(KEY, 12, entry("mine", 12))
    assert seen(state) == "mine"
    assert state.keys(HEALTH.prefix()) == [KEY]
    mirror.entries[KEY], mirror.revision = entry("mine", 12), 12
    assert seen(state) == "mine"
    mirror.entries[KEY], mirror.revision = entry("theirs", 13), 13
    assert seen(state) == "theirs"


def test_an_own_deletion_is_seen_before_it_comes_back() -> None:
    """Why: what was just withdrawn must not be counted as in use."""
    state, mirror = world()
    mirror.entries[KEY] = entry("old", 9)
    state.wrote(KEY, 12, None)
    assert seen(state) is None
    assert state.keys(HEALTH.prefix()) == []
    mirror.revision = 11  # something else happened before
    assert seen(state) is None


def test_a_store_that_went_back_in_time_wins_over_an_own_write() -> None:
    """Why: after a restore an overlay at a revision that never comes again would hide the truth for ever (G6)."""
    state, mirror = world()
    state.wrote(KEY, 12, entry("mine", 12))
    mirror.entries[KEY], mirror.revision = entry("restored", 5), 6
    assert seen(state) == "restored"


def test_an_overlay_nobody_reads_ends_with_its_echo() -> None:
    """Why: the same restore, long after: a write that came back must leave nothing behind."""
    state, mirror = world()
    state.wrote(KEY, 12, entry("mine", 12))
    mirror.entries[KEY] = entry("mine", 12)
    state.changed([KEY])
    mirror.entries.pop(KEY)
    mirror.revision = 11  # restored to just behind what the mirror had seen when we wrote
    assert seen(state) is None


def test_an_older_event_does_not_end_an_overlay() -> None:
    """Why: events come in order; one from before the write says nothing about it."""
    state, mirror = world()
    state.wrote(KEY, 12, None)
    mirror.entries[KEY], mirror.revision = entry("before", 11), 11
    state.changed([KEY])
    assert seen(state) is None


def test_the_same_revision_with_another_value_is_another_value() -> None:
    """Why: a restored store uses revisions again; a cache by revision would answer from the lost history (G6)."""
    state, mirror = world()
    mirror.entries[KEY] = entry("lost", 12)
    assert seen(state) == "lost"
    mirror.entries[KEY] = entry("found", 12)
    assert seen(state) == "found"


def test_a_value_is_decoded_as_what_is_asked_for() -> None:
    """Why: two readers of one key may ask with two models; the first one's answer is not the second one's."""

    class Other(Verdict):
        pass

    state, mirror = world()
    mirror.entries[KEY] = entry("a", 12)
    assert seen(state) == "a"
    assert state.body(KEY, Other) is None
    assert KEY in state.refused


def test_what_is_gone_is_forgotten() -> None:
    """Why: decoded values of a hundred thousand dead chains are a leak."""
    state, mirror = world()
    for number in range(100):
        key = f"{HEALTH.prefix()}i-{number}"
        mirror.entries[key] = entry("x", 20 + number, key)
        assert state.body(key, Verdict) is not None
    mirror.entries[KEY] = Entry(KEY, b"garbage", 1, 150, 1)
    assert state.body(KEY, Verdict) is None
    gone = list(mirror.entries)
    mirror.entries.clear()
    state.changed(gone)
    assert not state._decoded
    assert not state.refused


def test_a_foreign_mistake_is_left_out_and_told() -> None:
    """Why: one bad value must not stop a reader, and must not go unnoticed (R10)."""
    state, mirror = world()
    mirror.entries[KEY] = Entry(KEY, b"{}", 1, 12, 1)
    assert seen(state) is None
    assert "schema" in state.refused[KEY]
    mirror.entries[KEY] = entry("mended", 13)
    assert seen(state) == "mended"
    assert not state.refused
