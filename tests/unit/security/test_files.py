"""Secrets on disk: atomic, private, and refused with the command that mends it (attack 22)."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from isthmus.trust import FileRefused, files


def mode(path: Path) -> int:
    """Permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A private directory."""
    return files.make_directory(tmp_path / "home")


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_modes_do_not_depend_on_the_umask(home: Path, umask: int) -> None:
    """A service started by hand has another umask than by its manager."""
    old = os.umask(umask)
    try:
        files.write_secret(home / "key.pem", b"secret")
        files.write_public(home / "cert.pem", b"public")
    finally:
        os.umask(old)
    assert mode(home / "key.pem") == 0o600
    assert mode(home / "cert.pem") == 0o644
    assert files.read_secret(home / "key.pem") == b"secret"
    assert files.read_public(home / "cert.pem") == b"public"


def test_directories_are_private(tmp_path: Path) -> None:
    """Every missing level is made with 0700."""
    made = files.make_directory(tmp_path / "a" / "b" / "c")
    assert [mode(path) for path in (made, made.parent, made.parent.parent)] == [0o700] * 3


@pytest.mark.parametrize("loose", [0o640, 0o604, 0o644, 0o660, 0o601, 0o777])
def test_a_loose_key_is_refused_with_the_command_to_run(home: Path, loose: int) -> None:
    """A key others could read must be looked at by a person, not used."""
    path = home / "key.pem"
    files.write_secret(path, b"secret")
    path.chmod(loose)
    with pytest.raises(FileRefused) as caught:
        files.read_secret(path)
    assert caught.value.fix == f"chmod 600 {path}"
    assert f"{loose:04o}" in caught.value.reason
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("loose", [0o770, 0o707, 0o777])
def test_a_directory_others_can_change_is_refused(home: Path, loose: int) -> None:
    """Whoever writes the directory replaces the file."""
    files.write_secret(home / "key.pem", b"secret")
    home.chmod(loose)
    with pytest.raises(FileRefused, match="chmod 700"):
        files.read_secret(home / "key.pem")


def test_a_certificate_others_can_write_is_refused(home: Path) -> None:
    """A root swapped by somebody else would be a stranger's trust."""
    files.write_public(home / "ca.pem", b"root")
    (home / "ca.pem").chmod(0o664)
    with pytest.raises(FileRefused, match="chmod go-w"):
        files.read_public(home / "ca.pem")


def test_a_key_of_another_user_is_refused(home: Path) -> None:
    """The owner may change the mode at any time, so only ours and root's count."""
    files.write_secret(home / "key.pem", b"secret")
    os.chown(home / "key.pem", 12_345, 12_345)
    with pytest.raises(FileRefused, match="12345"):
        files.read_secret(home / "key.pem")


def test_a_link_to_a_loose_key_does_not_help(home: Path, tmp_path: Path) -> None:
    """The opened file is judged, not the name."""
    loose = tmp_path / "loose.pem"
    loose.write_bytes(b"secret")
    loose.chmod(0o644)
    (home / "key.pem").symlink_to(loose)
    with pytest.raises(FileRefused, match="0644"):
        files.read_secret(home / "key.pem")


def test_a_pipe_or_a_directory_is_no_key_and_nothing_hangs(home: Path) -> None:
    """Opening a pipe without a writer would wait for ever."""
    os.mkfifo(home / "pipe", 0o600)
    (home / "folder").mkdir(mode=0o700)
    for name in ("pipe", "folder"):
        with pytest.raises(FileRefused, match="regular file"):
            files.read_secret(home / name)


def test_missing_and_huge_files_are_told(home: Path) -> None:
    """One sentence and what to do."""
    with pytest.raises(FileRefused, match="enroll"):
        files.read_secret(home / "none.pem")
    with pytest.raises(FileRefused, match="not a directory"):
        files.read_secret(home / "nowhere" / "none.pem")
    files.write_secret(home / "huge", b"x" * (files.MAX_FILE_BYTES + 1))
    with pytest.raises(FileRefused, match="larger than"):
        files.read_secret(home / "huge")


def test_a_failed_write_leaves_the_old_file_and_no_rest(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk in mid-write must not cost the key that is there."""
    files.write_secret(home / "key.pem", b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write_secret(home / "key.pem", b"new")
    monkeypatch.undo()
    assert files.read_secret(home / "key.pem") == b"old"
    assert [path.name for path in home.iterdir()] == ["key.pem"]


def test_a_link_is_swapped_in_one_step(home: Path) -> None:
    """There is no moment without the link; the second swap replaces the first."""
    for target in ("one", "two"):
        (home / target).mkdir()
        files.swap_link(home / "current", target)
        assert (home / "current").readlink() == Path(target)
    assert sorted(path.name for path in home.iterdir()) == ["current", "one", "two"]
