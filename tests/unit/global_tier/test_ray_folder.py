"""Where a private Ray cluster lives: its sockets have paths, and the kernel takes 107 bytes of them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from isthmus.global_tier import ray_pool
from isthmus.global_tier.ray_pool import RayPool, short_folder, too_long_by
from isthmus.global_tier.runtime import RuntimeFailed


def test_a_long_temporary_folder_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A TMPDIR of CI systems has a hundred characters; Ray then failed with words about AF_UNIX."""
    long = tmp_path / ("x" * 60)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    folder = short_folder()
    try:
        assert not folder.is_relative_to(long)
        assert too_long_by(folder / "t") == 0
        assert folder.stat().st_mode & 0o077 == 0
    finally:
        folder.rmdir()


def test_a_short_one_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sets TMPDIR means it."""
    with tempfile.TemporaryDirectory(prefix="i", dir="/tmp") as short:
        monkeypatch.setattr(tempfile, "tempdir", short)
        assert short_folder().parent == Path(short)


def test_where_all_are_long_the_answer_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what to set, and to what."""
    long = tmp_path / ("x" * 60)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    monkeypatch.setattr(ray_pool, "SHORT_PLACES", ())
    with pytest.raises(RuntimeFailed, match=r"set TMPDIR to one of at most 24"):
        short_folder()


def test_the_limit_is_the_kernels() -> None:
    """One byte decides; it is counted with this process's own number, as Ray does."""
    room = 107 - len(f"/session_2026-11-23_12-00-00_000000_{os.getpid()}/sockets/plasma_store")
    assert too_long_by(Path("/" + "x" * (room - 1))) == 0
    assert too_long_by(Path("/" + "x" * room)) == 1


async def test_a_tier_in_a_long_folder_is_told_so(tmp_path: Path) -> None:
    """Before Ray is imported, which takes seconds and says it in its own words."""
    with pytest.raises(RuntimeFailed, match="shorter state folder"):
        await RayPool(tmp_path / ("y" * 60)).start()
