"""One append-only history: who observed what, on which clock (issue 5; etcd's robustness tests do it so).

A history is JSON lines: a :class:`Header`, then one :class:`Record` a line. Simulation and real processes write the
same, so the same judges read both. Writing is one line and a flush, no more: a process may be killed at any moment,
and what it had seen until then must be readable. The reader therefore accepts one torn last line, and says so.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal, cast

from isthmus.chaos.history.errors import HeaderError, HistoryFileError, RecordError
from isthmus.chaos.history.kinds import problem_of

SCHEMA = "isthmus.history/1"
Source = Literal["simulation", "processes"]
_OWN = ("n", "t", "c", "who", "what")
TIME_DIGITS = 6
"""Microseconds: finer than any clock of ours, and short on disk."""


@dataclass(frozen=True, slots=True)
class Header:
    """What is needed to run it again. ``clock`` is the one of every record that names none; ``promises`` are those
    for which this run must have data, whoever judges it."""

    source: Source
    seed: int
    commit: str
    world: str
    versions: dict[str, str] = field(default_factory=dict)
    command: str = ""
    clock: str = "virtual"
    promises: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """One observation; ``n`` rises by one, ``t`` counts seconds on clock ``c``."""

    n: int
    t: float
    c: str
    who: str
    what: str
    fields: dict[str, object]

    def text(self, name: str, default: str = "") -> str:
        """A text field."""
        return cast(str, self.fields.get(name, default))

    def number(self, name: str, default: float = math.nan) -> float:
        """A number field."""
        return cast(float, self.fields.get(name, default))

    def whole(self, name: str, default: int = 0) -> int:
        """A whole number field."""
        return cast(int, self.fields.get(name, default))

    def flag(self, name: str) -> bool:
        """A yes or no field; no when it is absent."""
        return bool(self.fields.get(name, False))

    def has(self, name: str) -> bool:
        """True when the field was recorded."""
        return name in self.fields

    def __str__(self) -> str:
        fields = " ".join(f"{name}={value}" for name, value in self.fields.items())
        return f"#{self.n} t={self.t:.3f} {self.who} {self.what} {fields}"


@dataclass(frozen=True, slots=True)
class History:
    """A history that was read. ``torn`` counts a last line that its writer did not finish."""

    header: Header
    records: Sequence[Record]
    torn: int = 0


_dump = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number")


_load = json.JSONDecoder(parse_constant=_no_number).decode


def encode_header(header: Header) -> str:
    """Line 1."""
    return _dump(
        {
            "schema": SCHEMA,
            "source": header.source,
            "seed": header.seed,
            "commit": header.commit,
            "versions": header.versions,
            "world": header.world,
            "command": header.command,
            "clock": header.clock,
            "promises": header.promises,
        }
    )


def encode(record: Record, clock: str = "") -> str:
    """One line; ``clock`` is the header's, which is not repeated."""
    line: dict[str, object] = {"n": record.n, "t": round(record.t, TIME_DIGITS)}
    if record.c != clock:
        line["c"] = record.c
    line["who"] = record.who
    line["what"] = record.what
    line.update(record.fields)
    return _dump(line)


def decode_header(line: str) -> Header:
    """The header, or HeaderError."""
    try:
        found = _load(line)
    except ValueError as error:
        raise HeaderError(
            f"line 1 is not JSON ({error}); a history begins with its header"
        ) from error
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise HeaderError(f'line 1 is not a header; expected {{"schema":"{SCHEMA}",...}}')
    if found.get("source") not in ("simulation", "processes"):
        raise HeaderError("header.source must be simulation or processes")
    wanted: dict[str, type] = {"seed": int, "commit": str, "world": str, "versions": dict}
    for name, kind in wanted.items():
        if not isinstance(found.get(name), kind):
            raise HeaderError(f"header.{name} must be a {kind.__name__}")
    return Header(
        source=found["source"],
        seed=found["seed"],
        commit=found["commit"],
        world=found["world"],
        versions=found["versions"],
        command=str(found.get("command", "")),
        clock=str(found.get("clock", "virtual")),
        promises=tuple(map(str, found.get("promises") or ())),
    )


def decode(line: str, number: int, clock: str) -> Record:
    """The record on line ``number``, or RecordError."""
    try:
        found = _load(line)
    except (ValueError, RecursionError) as error:
        raise RecordError(number, f"not JSON ({error})") from error
    if not isinstance(found, dict):
        raise RecordError(number, "a record is a JSON object")
    n, t, c, who, what = (found.pop(name, clock if name == "c" else None) for name in _OWN)
    if not isinstance(n, int) or isinstance(n, bool):
        raise RecordError(number, f"n is {n!r}; it must be a whole number")
    if isinstance(t, bool) or not isinstance(t, (int, float)) or not math.isfinite(t):
        raise RecordError(number, f"t is {t!r}; it must be a number of seconds")
    if not (isinstance(c, str) and isinstance(who, str) and isinstance(what, str)):
        raise RecordError(number, "c, who and what must be texts")
    problem = problem_of(what, found)
    if problem:
        raise RecordError(number, problem)
    return Record(n, float(t), c, who, what, found)


def read(path: Path | str) -> History:
    """The history in a file; raises HistoryError, with the line that is wrong."""
    try:
        with open(path, encoding="utf-8", errors="replace", newline="\n") as stream:
            return read_lines(stream)
    except OSError as error:
        raise HistoryFileError(f"{path}: {error.strerror or error}") from error


def read_lines(stream: IO[str]) -> History:
    """As :func:`read`, from an open stream."""
    first = stream.readline()
    if not first.endswith("\n"):
        raise HeaderError("the file is empty, or its first line was not finished")
    header = decode_header(first)
    records: list[Record] = []
    for number, line in enumerate(stream, start=2):
        if not line.endswith("\n"):
            return History(header, records, torn=1)
        record = decode(line, number, header.clock)
        if record.n != len(records) + 1:
            raise RecordError(number, f"n is {record.n}; {len(records) + 1} was next")
        records.append(record)
    return History(header, records)
