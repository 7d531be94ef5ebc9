"""The audit: what was refused, admitted, cut and changed, in a file that cannot be edited unseen
(attack 20).

One JSON object a line, each carrying the hash of the line before: a change in the middle breaks
every later line (a cut tail is seen by comparing :attr:`AuditLog.head` with a copy kept
elsewhere). Foreign text is escaped to printable ASCII before it is written, so a name can
neither forge a line nor act on the terminal of who reads it. A flood of one reason is counted,
not written: at most :data:`MAX_LINES_PER_S` lines a second and reason, then one line with the
sum.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from isthmus.identity import visible
from isthmus.trust import files
from isthmus.trust.errors import AuditBroken, FileRefused

GENESIS: Final = "0" * 64
MAX_LINES_PER_S: Final = 20
MAX_FIELDS: Final = 16
MAX_FIELD_CHARS: Final = 400
MAX_REASONS: Final = 256
"""Distinct (event, reason) pairs counted apart; reasons are codes of ours, so more means a bug.
The rest is 'other'.
"""
DEFAULT_MAX_BYTES: Final = 64 * 1024 * 1024
_TAIL_BYTES: Final = 512 * 1024
"""More than the longest line: 16 fields of 464 characters, each at worst ten when escaped,
doubled by JSON.
"""
_ANY_REASON: Final = ("other", "other")


@dataclass(slots=True)
class _Window:
    """Lines of one reason within one second, and how many were left out of the file."""

    second: int = -1
    written: int = 0
    suppressed: int = 0


@dataclass(slots=True)
class AuditLog:
    """An open audit file. One writer a file; ``now_s`` comes with each record."""

    path: Path
    max_bytes: int = DEFAULT_MAX_BYTES
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    head: str = GENESIS
    seq: int = 0
    _descriptor: int = -1
    _size: int = 0
    _windows: dict[tuple[str, str], _Window] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, *, now_s: float, max_bytes: int = DEFAULT_MAX_BYTES) -> AuditLog:
        """Continue the chain in ``path`` or begin one. A line torn by a crash is set right and
        told of.
        """
        files.make_directory(path.parent)
        log = cls(path, max_bytes)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        log._descriptor = os.open(path, flags, files.SECRET_MODE)
        if os.fstat(log._descriptor).st_mode & 0o022:
            log.close()
            raise FileRefused(path, "others may write it", f"chmod 600 {path}")
        torn = log._resume()
        if torn:
            log.record("audit", "torn-line", now_s=now_s, bytes=str(torn))
        return log

    def record(self, event: str, reason: str, *, now_s: float, **detail: str) -> bool:
        """Count it, and write it unless its reason floods; True when a line was written."""
        kind = (visible(event, 64), visible(reason, 64))
        if kind not in self.counts and len(self.counts) >= MAX_REASONS:
            kind = _ANY_REASON
        self.counts[kind] += 1
        window = self._windows.setdefault(kind, _Window())
        if window.second != int(now_s):
            self._flush_window(kind, window, now_s)
            window.second, window.written = int(now_s), 0
        if window.written >= MAX_LINES_PER_S:
            window.suppressed += 1
            return False
        window.written += 1
        self._append(kind, now_s, detail)
        return True

    def flush(self, *, now_s: float) -> None:
        """Write the sums still held back; called on a timer and at the end."""
        for kind, window in list(self._windows.items()):
            self._flush_window(kind, window, now_s)

    def close(self) -> None:
        """Close the file. Idempotent; sums held back are lost unless :meth:`flush` came first."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> AuditLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _flush_window(self, kind: tuple[str, str], window: _Window, now_s: float) -> None:
        if window.suppressed:
            suppressed, window.suppressed = window.suppressed, 0
            self._append(kind, now_s, {"suppressed": str(suppressed)})

    def _append(self, kind: tuple[str, str], now_s: float, detail: Mapping[str, str]) -> None:
        if self._size > self.max_bytes:
            self._roll()
        line, head = _line(self.seq + 1, kind, now_s, detail, self.head)
        _write_all(self._descriptor, line)
        self.seq, self.head, self._size = self.seq + 1, head, self._size + len(line)

    def _roll(self) -> None:
        """Put the full file aside under the number of its last line; the chain goes on in a new
        one.
        """
        os.fsync(self._descriptor)
        os.close(self._descriptor)
        os.replace(self.path, self.path.with_name(f"{self.path.name}.{self.seq:012d}"))
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_EXCL | os.O_CLOEXEC
        self._descriptor = os.open(self.path, flags, files.SECRET_MODE)
        self._size = 0

    def _resume(self) -> int:
        """Take up seq and head from the last whole line; cut a torn one off. Its length in
        bytes.
        """
        self._size = os.fstat(self._descriptor).st_size
        if not self._size:
            self._resume_rolled()
            return 0
        tail_at = max(0, self._size - _TAIL_BYTES)
        tail = os.pread(self._descriptor, self._size - tail_at, tail_at)
        whole = tail.rfind(b"\n") + 1
        torn = len(tail) - whole
        if torn:
            self._size -= torn
            os.ftruncate(self._descriptor, self._size)
        self._continue(tail[:whole])
        return torn

    def _resume_rolled(self) -> None:
        """A crash between putting a file aside and the first line of the next: continue from the
        former.
        """
        aside = sorted(self.path.parent.glob(f"{self.path.name}.[0-9]*"))
        if aside:
            self._continue(aside[-1].read_bytes())

    def _continue(self, lines: bytes) -> None:
        last = lines.rstrip(b"\n").rpartition(b"\n")[2]
        if last:
            record = _parse(self.path, 0, last)
            self.seq, self.head = int(record["seq"]), _hash(last)


def verify(path: Path, *, head: str = GENESIS) -> tuple[int, str]:
    """Check the whole chain in ``path`` from ``head`` on: (number of lines, last hash), or
    AuditBroken.
    """
    count, seq = 0, None
    with path.open("rb") as file:
        for raw in file:
            count += 1
            line = raw.rstrip(b"\n")
            record = _parse(path, count, line)
            if record["prev"] != head:
                raise AuditBroken(path, count, "it does not continue the line before")
            if seq is not None and record["seq"] != seq + 1:
                raise AuditBroken(path, count, f"number {record['seq']} follows {seq}")
            head, seq = _hash(line), record["seq"]
    return count, head


def _line(
    seq: int, kind: tuple[str, str], now_s: float, detail: Mapping[str, str], prev: str
) -> tuple[bytes, str]:
    """One record as bytes with its newline, and its hash."""
    fields = {
        visible(name, 64): visible(value, MAX_FIELD_CHARS)
        for name, value in list(detail.items())[:MAX_FIELDS]
    }
    record = {
        "seq": seq,
        "at_s": round(now_s, 3),
        "event": kind[0],
        "reason": kind[1],
        "detail": fields,
        "prev": prev,
    }
    line = json.dumps(record, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode()
    return line + b"\n", _hash(line)


def _parse(path: Path, line: int, raw: bytes) -> dict[str, Any]:
    try:
        record = json.loads(raw)
    except ValueError:
        raise AuditBroken(path, line, "it is not a record") from None
    if not isinstance(record, dict) or not {"seq", "prev"} <= set(record):
        raise AuditBroken(path, line, "it is not a record")
    return record


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def _write_all(descriptor: int, data: bytes) -> None:
    """A short write (a full disk) is an error of the caller's, never half a silent line."""
    while data:
        data = data[os.write(descriptor, data) :]
