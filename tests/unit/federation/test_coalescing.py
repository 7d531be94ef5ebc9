"""What waits for a slow peer: bounded by keys and bytes, newest first by key, oldest first by place (G7)."""

from __future__ import annotations

from isthmus.federation.coalescing import Outbox


def test_one_key_changed_a_thousand_times_waits_once() -> None:
    """Memory is by keys, not by events; the newest value goes."""
    outbox = Outbox(1, value_budget_bytes=1000)
    for revision in range(1, 1001):
        outbox.add(0, "k", b"%d" % revision, revision)
    (change,) = outbox.take(10, 1000)
    assert (change.value, change.revision) == (b"1000", 1000)
    assert outbox.value_bytes == 0


def test_values_over_the_budget_are_fetched_later() -> None:
    """The key is never lost, its value is read when its turn comes."""
    outbox = Outbox(1, value_budget_bytes=10)
    outbox.add(0, "a", b"12345678", 1)
    outbox.add(0, "b", b"12345678", 2)
    first, second = outbox.take(10, 1000)
    assert (first.fetch, second.fetch) == (False, True)
    assert second.value is None
    assert not second.is_delete


def test_through_never_runs_ahead_of_what_waits() -> None:
    """A resume token must not skip a change: it stands before the oldest that waits, on every lane."""
    outbox = Outbox(2, value_budget_bytes=1000)
    outbox.add(0, "a", b"1", 5)
    outbox.add(0, "b", b"1", 7)
    outbox.cover(0, 9)
    outbox.cover(1, 20)
    assert outbox.through == 4
    outbox.add(0, "a", b"2", 9)
    assert outbox.through == 4, "a newer value keeps the key's old place"
    outbox.take(1, 1000)
    assert outbox.through == 6
    outbox.take(1, 1000)
    assert outbox.through == 9


def test_deletion_after_put_waits_as_a_deletion() -> None:
    """And an older event arriving late changes nothing."""
    outbox = Outbox(1, value_budget_bytes=1000)
    outbox.add(0, "a", b"1", 5)
    outbox.add(0, "a", None, 6)
    outbox.add(0, "a", b"late", 4)
    (change,) = outbox.take(10, 1000)
    assert change.is_delete
    assert change.revision == 6


def test_take_respects_items_and_bytes_but_always_moves() -> None:
    """A single item larger than a frame's budget still goes, alone."""
    outbox = Outbox(1, value_budget_bytes=10_000)
    for number in range(5):
        outbox.add(0, f"k{number}", b"x" * 100, number + 1)
    assert len(outbox.take(2, 10_000)) == 2
    assert len(outbox.take(10, 150)) == 1
    assert len(outbox.take(10, 1)) == 1


def test_lanes_take_turns() -> None:
    """A busy root cannot starve a quiet one."""
    outbox = Outbox(2, value_budget_bytes=10_000)
    for number in range(100):
        outbox.add(0, f"busy{number}", b"x", number + 1)
    outbox.add(1, "quiet", b"x", 500)
    taken = outbox.take(5, 1000) + outbox.take(5, 1000)
    assert "quiet" in {change.key for change in taken}


def test_what_a_snapshot_already_told_waits_no_longer() -> None:
    """Only what is newer than the snapshot's state of the key still has to go."""
    outbox = Outbox(1, value_budget_bytes=1000)
    outbox.add(0, "a", b"1", 5)
    outbox.add(0, "b", b"1", 9)
    outbox.drop_older("a", 6)
    outbox.drop_older("b", 6)
    assert [change.key for change in outbox.take(10, 1000)] == ["b"]
