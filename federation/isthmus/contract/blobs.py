"""The local store of large data: files named by the hash of what is in them (R41).

Atomic: a file appears under its name only when it is whole (written beside, fsynced, renamed), so a crash leaves at
most a nameless rest, which the next start removes. Bounded: over ``limit_bytes`` nothing more is taken, and
:meth:`FileStore.sweep` removes what nobody points to. Content-addressed: the same data is stored once, and a file
that does not match its name any more is refused, not returned.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Collection
from pathlib import Path

from isthmus.contract.errors import PointerRefused

_HASH = re.compile(r"[0-9a-f]{64}")
_PARTIAL = ".partial-"


class FileStore:
    """In ``folder`` (made when absent, mode 0700); one process writes, any number may read."""

    def __init__(self, folder: Path, *, limit_bytes: int) -> None:
        if limit_bytes < 1:
            raise PointerRefused(f"limit_bytes={limit_bytes}: a store holds at least one byte")
        self._folder = folder
        self._limit_bytes = limit_bytes
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for rest in folder.glob(f"{_PARTIAL}*"):
            rest.unlink(missing_ok=True)

    @property
    def size_bytes(self) -> int:
        """What all contents take."""
        return sum(path.stat().st_size for path in self._files())

    def put(self, data: bytes) -> str:
        """Keep ``data``; its sha256. Raises PointerRefused when the store has no room for it."""
        digest = hashlib.sha256(data).hexdigest()
        path = self._path(digest)
        if self._is(path, digest):
            os.utime(path)
            return digest
        path.unlink(missing_ok=True)
        taken = self.size_bytes
        if taken + len(data) > self._limit_bytes:
            raise PointerRefused(
                f"{len(data)} bytes: the store at {self._folder} holds {taken} of "
                f"{self._limit_bytes}; remove what nobody points to (sweep), or raise the limit"
            )
        self._write(path, data)
        return digest

    def get(self, sha256: str, *, limit_bytes: int) -> bytes:
        """What was kept under this hash, checked; raises PointerRefused."""
        path = self._path(sha256)
        try:
            with path.open("rb") as file:
                data = file.read(limit_bytes + 1)
        except OSError:
            raise PointerRefused(f"no content with hash {sha256} in {self._folder}") from None
        if len(data) > limit_bytes:
            raise PointerRefused(f"content {sha256} has more than the {limit_bytes} bytes allowed")
        if hashlib.sha256(data).hexdigest() != sha256:
            raise PointerRefused(f"content {sha256} is damaged; write it again")
        return data

    def sweep(self, pointed_to: Collection[str], *, keep_bytes: int = 0) -> int:
        """Remove contents whose hash is not in ``pointed_to``, oldest first, until at most ``keep_bytes`` of them are
        left; how many went."""
        idle = [path for path in self._files() if path.name not in pointed_to]
        idle.sort(key=lambda path: path.stat().st_mtime_ns)
        left = sum(path.stat().st_size for path in idle)
        gone = 0
        for path in idle:
            if left <= keep_bytes:
                break
            left -= path.stat().st_size
            path.unlink(missing_ok=True)
            gone += 1
        return gone

    def _write(self, path: Path, data: bytes) -> None:
        handle, name = tempfile.mkstemp(prefix=_PARTIAL, dir=self._folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.rename(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)  # the name, too, survives a loss of power
        finally:
            os.close(folder)

    def _files(self) -> list[Path]:
        return [path for path in self._folder.iterdir() if _HASH.fullmatch(path.name)]

    def _path(self, sha256: str) -> Path:
        if not _HASH.fullmatch(sha256):
            raise PointerRefused(f"{sha256[:80]!r} is no sha256 in lower-case hex")
        return self._folder / sha256

    @staticmethod
    def _is(path: Path, digest: str) -> bool:
        """Is the file there, and is it what its name says?"""
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == digest
        except OSError:
            return False
