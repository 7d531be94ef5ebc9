"""Writes a history: one typed method a kind, so that a misspelt field is an error of the type checker.

``write`` takes the finished record: a list's ``append`` in simulation, a line and a flush for real processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from isthmus.chaos.history.record import Header, History, Record, encode, encode_header

Write = Callable[[Record], object]
Clock = Callable[[], float]


@dataclass(slots=True)
class _Count:
    n: int = 0


class Recorder:
    """``clock`` gives the seconds of the header's clock."""

    __slots__ = ("_c", "_clock", "_count", "_write", "header")

    def __init__(self, write: Write, header: Header, clock: Clock) -> None:
        self._write = write
        self._clock = clock
        self._c = header.clock
        self._count = _Count()
        self.header = header

    def on(self, name: str, clock: Clock) -> Recorder:
        """The same history, seen by somebody with another clock."""
        other = Recorder(self._write, self.header, clock)
        other._c, other._count = name, self._count
        return other

    def note(self, who: str, what: str, fields: dict[str, object]) -> None:
        """Any record; fields that are None are left out."""
        count = self._count
        count.n += 1
        kept = {name: value for name, value in fields.items() if value is not None}
        self._write(Record(count.n, self._clock(), self._c, who, what, kept))

    # -- chaos

    def fault(
        self,
        who: str,
        *,
        kind: str,
        target: str,
        phase: Literal["begin", "end"],
        detail: str | None = None,
    ) -> None:
        """Chaos did something, or ended it."""
        self.note(who, "fault", {"kind": kind, "target": target, "phase": phase, "detail": detail})

    def heal(self, who: str, *, link: str, backlog: int, rate: float | None = None) -> None:
        """From here on the link could work again."""
        self.note(who, "heal", {"link": link, "backlog": backlog, "rate": rate})

    def step(self, who: str, *, name: str) -> None:
        """A failpoint or a transition was reached."""
        self.note(who, "step", {"name": name})

    def trace(self, who: str, *, sha256: str) -> None:
        """The digest of the whole run; seed, commit and world are the header's."""
        head = self.header
        self.note(
            who,
            "trace",
            {"seed": head.seed, "commit": head.commit, "world": head.world, "sha256": sha256},
        )

    # -- clients

    def ask(
        self,
        who: str,
        *,
        op: str,
        verb: Literal["put", "delete"],
        tier: str,
        chain: str,
        phase: Literal["sent", "acked", "refused", "unknown"],
        key: str | None = None,
        revision: int | None = None,
    ) -> None:
        """A client asks, or has its answer (``unknown``: none came)."""
        self.note(
            who,
            "ask",
            {
                "op": op,
                "verb": verb,
                "tier": tier,
                "chain": chain,
                "phase": phase,
                "key": key,
                "revision": revision,
            },
        )

    def effect(
        self,
        who: str,
        *,
        tier: str,
        chain: str,
        phase: str,
        reason: str | None = None,
        count: int | None = None,
        revision: int | None = None,
    ) -> None:
        """The state of a chain as a reader sees it; ``gone`` when there is none."""
        self.note(
            who,
            "effect",
            {
                "tier": tier,
                "chain": chain,
                "phase": phase,
                "reason": reason,
                "count": count,
                "revision": revision,
            },
        )

    def local(
        self,
        who: str,
        *,
        site: str,
        op: str,
        ok: bool,
        took_s: float,
        cut: bool,
        outside_calls: int | None = None,
        other_fault: bool | None = None,
    ) -> None:
        """A site did something for its own chains."""
        self.note(
            who,
            "local",
            {
                "site": site,
                "op": op,
                "ok": ok,
                "took_s": took_s,
                "cut": cut,
                "outside_calls": outside_calls,
                "other_fault": other_fault,
            },
        )

    def fact(
        self,
        who: str,
        *,
        by: str,
        fact: str,
        as_of: float,
        ttl_s: float,
        now: float,
        used: bool,
        treated_as: Literal["known", "unknown"],
    ) -> None:
        """A decision looked at a remote fact."""
        self.note(
            who,
            "fact",
            {
                "by": by,
                "fact": fact,
                "as_of": as_of,
                "ttl_s": ttl_s,
                "now": now,
                "used": used,
                "treated_as": treated_as,
            },
        )

    def probe(
        self,
        who: str,
        *,
        path: str,
        sent: int,
        lost: int,
        longest_gap_ms: float,
        phase: Literal["baseline", "fault", "heal", "planned"],
    ) -> None:
        """A series of packets."""
        self.note(
            who,
            "probe",
            {
                "path": path,
                "sent": sent,
                "lost": lost,
                "longest_gap_ms": longest_gap_ms,
                "phase": phase,
            },
        )

    # -- stores and mirrors

    def held(
        self,
        who: str,
        *,
        store: str,
        verb: Literal["put", "delete", "restore"],
        rev: int,
        inc: str,
        key: str | None = None,
        value: str | None = None,
        backup_inc: str | None = None,
    ) -> None:
        """The source of a mirror changed; for a restore ``rev`` is the revision it went back to."""
        self.note(
            who,
            "held",
            {
                "store": store,
                "verb": verb,
                "key": key,
                "value": value,
                "rev": rev,
                "inc": inc,
                "backup_inc": backup_inc,
            },
        )

    def shown(
        self,
        who: str,
        *,
        store: str,
        peer: str,
        verb: Literal["put", "delete"],
        key: str,
        value: str | None = None,
        rev: int | None = None,
        inc: str | None = None,
    ) -> None:
        """A reader of the mirror of ``store`` at ``peer`` sees a change."""
        self.note(
            who,
            "shown",
            {
                "store": store,
                "peer": peer,
                "verb": verb,
                "key": key,
                "value": value,
                "rev": rev,
                "inc": inc,
            },
        )

    def reader(self, who: str, *, store: str, peer: str) -> None:
        """Somebody begins to read the mirror of ``store`` at ``peer``, from nothing."""
        self.note(who, "reader", {"store": store, "peer": peer})

    def digest(self, who: str, *, link: str, source: str, target: str, keys: int) -> None:
        """Both ends' digests at one moment."""
        self.note(who, "digest", {"link": link, "source": source, "target": target, "keys": keys})

    def memory(
        self,
        who: str,
        *,
        peer: str,
        pending_keys: int,
        pending_bytes: int,
        bound_bytes: int,
        rss_bytes: int | None = None,
        slow: bool | None = None,
        latency_s: float | None = None,
    ) -> None:
        """What a peer costs here."""
        self.note(
            who,
            "memory",
            {
                "peer": peer,
                "pending_keys": pending_keys,
                "pending_bytes": pending_bytes,
                "bound_bytes": bound_bytes,
                "rss_bytes": rss_bytes,
                "slow": slow,
                "latency_s": latency_s,
            },
        )

    # -- who may act, and what crosses

    def lease(
        self,
        who: str,
        *,
        resource: str,
        holder: str,
        phase: Literal["active", "inactive"],
        token: int,
    ) -> None:
        """Somebody is, or is no longer, the one who may act."""
        self.note(
            who,
            "lease",
            {"resource": resource, "holder": holder, "phase": phase, "token": token},
        )

    def frame(self, who: str, *, peer: str, direction: Literal["in", "out"], code: str) -> None:
        """A frame crossed."""
        self.note(who, "frame", {"peer": peer, "direction": direction, "code": code})

    def denial(
        self, who: str, *, peer: str, direction: Literal["in", "out"], key: str, reason: str
    ) -> None:
        """A key or a peer was refused."""
        self.note(
            who,
            "denial",
            {"peer": peer, "direction": direction, "key": key, "reason": reason},
        )


class Memory:
    """A history that stays in memory, for simulation."""

    def __init__(self, header: Header, clock: Clock) -> None:
        self.records: list[Record] = []
        self.recorder = Recorder(self.records.append, header, clock)

    @property
    def history(self) -> History:
        """What was recorded so far."""
        return History(self.recorder.header, self.records)


@contextmanager
def open_recorder(path: Path | str, header: Header, clock: Clock) -> Iterator[Recorder]:
    """Append line by line, each flushed: what was seen survives the end of this process."""
    with open(path, "w", encoding="utf-8", newline="\n") as stream:

        def write(record: Record) -> None:
            stream.write(encode(record, header.clock) + "\n")
            stream.flush()

        stream.write(encode_header(header) + "\n")
        stream.flush()
        yield Recorder(write, header, clock)


def save(history: History, path: Path | str) -> None:
    """The whole history as a file."""
    with open(path, "w", encoding="utf-8", newline="\n") as stream:
        stream.write(encode_header(history.header) + "\n")
        stream.writelines(encode(record, history.header.clock) + "\n" for record in history.records)
