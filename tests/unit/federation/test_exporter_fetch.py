"""A value that was read late must not be followed by what the watch tells late: found by exploring the link (G5)."""

from __future__ import annotations

from isthmus.chaos.exploration.explorer import Broken
from isthmus.chaos.exploration.link_world import LinkWorld, Scene

SMALL = Scene(puts=5, deletes=1, value_budget=7, lazy=False)
"""Room for one value: the second that waits is fetched when its turn comes."""


def _play(*moves: str) -> LinkWorld:
    """The world after ``moves`` (how many steps an export takes is not the question: impossible ones are left out),
    when all was told and the mirror equals its source."""
    world = LinkWorld(SMALL)
    try:
        for move in moves:
            if move in world.moves():
                world.step(move)
        world.settle()
    except Broken as broken:
        raise AssertionError("\n".join([str(broken), *world.story])) from None
    return world


def test_an_older_event_after_a_fetched_value() -> None:
    """The floor below which events are old was taken away by the next batch of any key."""
    writes = ("put a", "put b", "put b", "put b", "put b")
    watches = ("watch", "watch", "export", "export", "export", "export", "watch", "watch")
    world = _play(*writes, *watches)
    assert int(world.mirror["b"]) == 6


def test_an_older_event_after_a_fetched_absence() -> None:
    """A key that was gone when it was read had no floor at all: its last value came back to life for a moment."""
    moves = ("put b", "put a", "put a", "delete a", "watch", "watch")
    world = _play(*moves, "export", "export", "export", "export", "watch")
    assert "a" not in world.mirror


def test_an_event_heard_while_the_value_is_being_read() -> None:
    """It waits in the outbox already when the newer value comes back: it must not be sent behind it."""
    moves = ("put b", "put a", "put a", "put a", "watch", "watch", "export", "export")
    world = _play(*moves, "export", "watch", "export", "watch")
    assert int(world.mirror["a"]) == 5
