"""Secrets on disk: written whole or not at all, read only when nobody else could (GUARANTEES
attack 22).

A key in a file that others may read is not a key. Modes and owner are checked on the opened
file, not on its name, so nothing can be swapped in between; the refusal is the ``chmod`` to run.
Certificates are public and only need to be unwritable by others.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path
from typing import Final

from isthmus.trust.errors import FileRefused

SECRET_MODE: Final = 0o600
PUBLIC_MODE: Final = 0o644
DIRECTORY_MODE: Final = 0o700
MAX_FILE_BYTES: Final = 1024 * 1024
"""A key is 250 bytes, a bundle of a hundred operators 100 kB: what is larger is something else."""

_READABLE_BY_OTHERS: Final = 0o077
_WRITABLE_BY_OTHERS: Final = 0o022


def make_directory(path: Path) -> Path:
    """``path`` as a directory of ours with mode 0700; parents are made likewise."""
    for missing in [*reversed(path.parents), path]:
        if not missing.exists():
            missing.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
    _check_directory(path)
    return path


def write_secret(path: Path, data: bytes) -> None:
    """``data`` at ``path`` with mode 0600, atomically and on disk when this returns."""
    _write(path, data, SECRET_MODE)


def write_public(path: Path, data: bytes) -> None:
    """``data`` at ``path``, readable by all and writable by us, atomically."""
    _write(path, data, PUBLIC_MODE)


def read_secret(path: Path) -> bytes:
    """The bytes of a file that only we (or root) own and can read, in a directory only we can
    change.
    """
    _check_directory(path.parent)
    return _read(path, _READABLE_BY_OTHERS, "chmod 600")


def read_public(path: Path) -> bytes:
    """The bytes of a file that nobody else can change."""
    return _read(path, _WRITABLE_BY_OTHERS, "chmod go-w")


def swap_link(link: Path, target: str) -> None:
    """Point the symbolic link ``link`` at ``target`` in one step: readers see the old or the
    new, never none.
    """
    temporary = link.with_name(f".{link.name}.{secrets.token_hex(6)}")
    os.symlink(target, temporary)
    os.replace(temporary, link)
    _sync_directory(link.parent)


def _write(path: Path, data: bytes, mode: int) -> None:
    make_directory(path.parent)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def _read(path: Path, forbidden: int, fix: str) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise FileRefused(path, "it is missing", "enroll this process, or restore it") from None
    except OSError as error:
        reason = error.strerror or "it cannot be opened"
        raise FileRefused(path, reason, f"make it readable for uid {os.geteuid()}") from None
    try:
        _check_file(path, os.fstat(descriptor), forbidden, fix)
        data = _read_bounded(descriptor)
    finally:
        os.close(descriptor)
    if len(data) > MAX_FILE_BYTES:
        raise FileRefused(path, f"larger than {MAX_FILE_BYTES} bytes", "put the right file there")
    return data


def _check_file(path: Path, status: os.stat_result, forbidden: int, fix: str) -> None:
    """Kind, owner and mode of an opened file."""
    if not stat.S_ISREG(status.st_mode):
        raise FileRefused(path, "it is not a regular file", "put the PEM file itself there")
    if status.st_uid not in (0, os.geteuid()):
        raise FileRefused(
            path, f"it belongs to uid {status.st_uid}", f"chown {os.geteuid()} {path}"
        )
    mode = stat.S_IMODE(status.st_mode)
    if mode & forbidden:
        raise FileRefused(path, f"mode {mode:04o} lets others in", f"{fix} {path}")


def _read_bounded(descriptor: int) -> bytes:
    """At most one byte more than allowed."""
    with os.fdopen(descriptor, "rb", closefd=False) as file:
        return file.read(MAX_FILE_BYTES + 1)


def _check_directory(path: Path) -> None:
    """Whoever can write the directory can replace the file, whatever the file's own mode."""
    status = path.stat() if path.exists() else None
    if status is None or not stat.S_ISDIR(status.st_mode):
        raise FileRefused(path, "it is not a directory", f"mkdir -m 700 {path}")
    mode = stat.S_IMODE(status.st_mode)
    if mode & _WRITABLE_BY_OTHERS and not mode & stat.S_ISVTX:
        raise FileRefused(path, f"mode {mode:04o} lets others replace files", f"chmod 700 {path}")


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
