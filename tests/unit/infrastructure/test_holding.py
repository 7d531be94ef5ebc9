"""The holder of namespaces: what it holds stays open exactly as long as it should (a leaked one is never freed)."""

from __future__ import annotations

import os
from pathlib import Path

from isthmus.infrastructure.linux.holding import Holder


def open_files() -> set[str]:
    """What this process has open now."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.add(os.readlink(entry))
        except OSError:
            continue
    return found


def test_a_held_name_can_be_deleted_and_is_still_open(tmp_path: Path) -> None:
    """Why: that is the whole purpose; the name goes, the thing stays until it is released."""
    name = tmp_path / "life-1"
    name.touch()
    holder = Holder(tmp_path)
    holder.hold("i-1", "life-1")
    name.unlink()
    assert f"{name} (deleted)" in open_files()
    holder.release("i-1")
    assert f"{name} (deleted)" not in open_files()
    assert not holder.held


def test_a_name_that_was_made_anew_is_held_anew(tmp_path: Path) -> None:
    """Why: the file behind an old name is another namespace; to hold that one would protect nothing."""
    name = tmp_path / "life-1"
    name.touch()
    holder = Holder(tmp_path)
    holder.hold("i-1", "life-1")
    other = tmp_path / "other"
    other.touch()
    other.replace(name)
    holder.hold("i-1", "life-1")
    assert str(name) in open_files()
    assert f"{name} (deleted)" not in open_files()
    holder.release("i-1")


def test_release_spares_the_present_life_and_other_instances(tmp_path: Path) -> None:
    """Why: a healed instance lets its earlier lives go and keeps its own."""
    holder = Holder(tmp_path)
    for instance, netns in (("i-1", "life-1"), ("i-1", "life-2"), ("i-2", "life-9")):
        (tmp_path / netns).touch()
        holder.hold(instance, netns)
        holder.hold(instance, netns)
    holder.release("i-1", but="life-2")
    assert holder.held == {"life-2", "life-9"}
    for instance in ("i-1", "i-2"):
        holder.release(instance)
    assert not [path for path in open_files() if path.startswith(str(tmp_path))]


def test_an_absent_name_is_no_error(tmp_path: Path) -> None:
    """Why: it may vanish between a look and the hold; the next look finds that out."""
    holder = Holder(tmp_path)
    holder.hold("i-1", "never")
    holder.release("i-1")
    assert not holder.held
