"""The twin's memory: every key with its history, one revision per change, as etcd keeps it. Pure.

Deterministic: no clock (``now_s`` comes in), no chance, no I/O. What is subtle here was taken from
etcd's behaviour and is held to it, step by step, by a state machine that drives both: reads inside a
transaction see its writes; a compare of a missing key's *value* never holds, whatever the operator; a
compaction keeps the newest version below it and a deletion exactly at it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, field, replace

from isthmus.kv.errors import Compacted, FutureRevision, InvalidRequest, LeaseLost
from isthmus.kv.port import (
    Delete,
    Entry,
    Event,
    EventKind,
    Get,
    Operation,
    Put,
    Snapshot,
    Txn,
    TxnResult,
)
from isthmus.kv.rules import check_txn, compare_holds

Version = tuple[int, Entry | None]


@dataclass(slots=True)
class LeaseRecord:
    """A lease as the store sees it."""

    ttl_s: float
    deadline_s: float
    keys: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Backup:
    """Everything a store holds at one moment; history included."""

    revision: int
    compacted: int
    history: dict[str, tuple[Version, ...]]
    log: tuple[tuple[int, tuple[Event, ...]], ...]
    leases: dict[int, LeaseRecord]


class MvccStore:
    """Keys, revisions, leases. ``retention``: revisions kept by itself (0: all until compacted)."""

    def __init__(self, *, retention: int = 0) -> None:
        self.revision = 1  # an empty etcd stands at 1, too
        self.compacted = 0
        self.on_change: list[Callable[[], None]] = []
        self.on_lease_end: list[Callable[[int], None]] = []
        self._retention = retention
        self._keys: list[str] = []
        self._history: dict[str, list[Version]] = {}
        self._current: dict[str, Entry] = {}
        self._log: list[tuple[int, tuple[Event, ...]]] = []
        self._leases: dict[int, LeaseRecord] = {}
        self._last_lease_id = 0

    # ---- reading

    def get(self, key: str, revision: int = 0) -> Entry | None:
        """The entry at ``revision`` (0: newest)."""
        if not revision:
            return self._current.get(key)
        self.check_revision(revision)
        return self._at(key, revision)

    def _at(self, key: str, revision: int) -> Entry | None:
        versions = self._history.get(key, [])
        index = bisect_right(versions, revision, key=_revision_of)
        return versions[index - 1][1] if index else None

    def keys_below(self, prefix: str) -> Sequence[str]:
        """Keys that are or were below ``prefix``, in order."""
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        return self._keys[bisect_left(self._keys, prefix) : bisect_left(self._keys, end)]

    def snapshot(self, prefix: str, revision: int = 0) -> Snapshot:
        """All entries below ``prefix`` at one revision."""
        at = revision or self.revision
        self.check_revision(at)
        keys = self.keys_below(prefix)
        newest = at == self.revision
        found = (self._current.get(key) if newest else self._at(key, at) for key in keys)
        return Snapshot(at, tuple(entry for entry in found if entry is not None))

    def check_revision(self, revision: int) -> None:
        """Refuse what was compacted and what has not happened yet."""
        if revision < self.compacted:
            raise Compacted(
                f"revision {revision} was compacted; {self.compacted} is the oldest still there",
                revision=self.compacted,
            )
        if revision > self.revision:
            raise FutureRevision(
                f"the store is at {self.revision}, older than the revision {revision} asked for",
                revision=self.revision,
            )

    def log_after(self, revision: int) -> Sequence[tuple[int, tuple[Event, ...]]]:
        """Changes with a revision above ``revision``."""
        return self._log[bisect_right(self._log, revision, key=_revision_of) :]

    # ---- writing

    def put(self, key: str, value: bytes, lease_id: int = 0) -> int:
        """Write one key; the new revision."""
        return self.txn(Txn(then=(Put(key, value, lease_id),))).revision

    def delete(self, key: str) -> bool:
        """Remove one key; was it there?"""
        there = key in self._current
        self.txn(Txn(then=(Delete(key),)))
        return there

    def txn(self, txn: Txn) -> TxnResult:
        """One flat transaction at one revision."""
        check_txn(txn)
        holds = all(compare_holds(compare, self.get(compare.key)) for compare in txn.compares)
        operations = txn.then if holds else txn.otherwise
        self._check_leases(operations)
        events: list[Event] = []
        gets = [
            self._current.get(operation.key)
            for operation in operations
            if not self._write(operation, events) and isinstance(operation, Get)
        ]
        self._commit(events)
        return TxnResult(holds, self.revision, tuple(gets))

    def _check_leases(self, operations: Iterable[Operation]) -> None:
        for operation in operations:
            if isinstance(operation, Put) and operation.lease_id:
                self.lease(operation.lease_id)

    def _write(self, operation: Operation, events: list[Event]) -> bool:
        """Apply a write at the coming revision; False for a read."""
        revision = self.revision + 1
        match operation:
            case Put(key, value, lease_id):
                events.append(self._store(key, value, lease_id, revision))
            case Delete(key):
                if key in self._current:
                    events.append(self._remove(key, revision))
            case Get():
                return False
        return True

    def _store(self, key: str, value: bytes, lease_id: int, revision: int) -> Event:
        old = self._current.get(key)
        if old is None:
            entry = Entry(key, value, revision, revision, 1, lease_id)
        else:
            self._detach(old)
            entry = replace(
                old, value=value, mod_revision=revision, version=old.version + 1, lease_id=lease_id
            )
        if lease_id:
            self._leases[lease_id].keys.add(key)
        self._remember(key, revision, entry)
        self._current[key] = entry
        return Event(EventKind.PUT, key, revision, entry)

    def _remove(self, key: str, revision: int) -> Event:
        self._detach(self._current.pop(key))
        self._remember(key, revision, None)
        return Event(EventKind.DELETE, key, revision)

    def _remember(self, key: str, revision: int, entry: Entry | None) -> None:
        versions = self._history.get(key)
        if versions is None:
            versions = self._history[key] = []
            insort(self._keys, key)
        versions.append((revision, entry))

    def _detach(self, entry: Entry) -> None:
        if entry.lease_id in self._leases:
            self._leases[entry.lease_id].keys.discard(entry.key)

    def _commit(self, events: list[Event]) -> None:
        if not events:
            return
        self.revision += 1
        self._log.append((self.revision, tuple(events)))
        if self._retention and len(self._log) > 2 * self._retention:
            self.compact(self.revision - self._retention)
        for changed in list(self.on_change):
            changed()

    def compact(self, revision: int) -> None:
        """Forget what was before ``revision``."""
        if revision <= self.compacted:
            raise Compacted(
                f"revision {revision} is compacted already (up to {self.compacted})",
                revision=self.compacted,
            )
        self.check_revision(revision)
        self.compacted = revision
        del self._log[: bisect_left(self._log, revision, key=_revision_of)]
        for key in list(self._keys):
            self._trim(key, revision)

    def _trim(self, key: str, revision: int) -> None:
        versions = self._history[key]
        newest = bisect_right(versions, revision, key=_revision_of) - 1
        if newest < 0:
            return
        at, entry = versions[newest]
        keep_from = newest + 1 if entry is None and at < revision else newest
        del versions[:keep_from]
        if not versions:
            del self._history[key]
            del self._keys[bisect_left(self._keys, key)]

    # ---- leases

    def grant_lease(self, ttl_s: float, now_s: float) -> int:
        """A new lease; its id."""
        self._last_lease_id += 1
        self._leases[self._last_lease_id] = LeaseRecord(ttl_s, now_s + ttl_s)
        return self._last_lease_id

    @property
    def lease_ids(self) -> Set[int]:
        """All that live."""
        return self._leases.keys()

    def lease(self, lease_id: int) -> LeaseRecord:
        """The lease, or LeaseLost."""
        record = self._leases.get(lease_id)
        if record is None:
            raise LeaseLost(f"lease {lease_id:x} is gone")
        return record

    def renew_lease(self, lease_id: int, now_s: float) -> None:
        """Begin its time to live again."""
        record = self.lease(lease_id)
        record.deadline_s = now_s + record.ttl_s

    def revoke_lease(self, lease_id: int) -> None:
        """End it; its keys go in one revision, in order."""
        record = self.lease(lease_id)
        revision = self.revision + 1
        events = [self._remove(key, revision) for key in sorted(record.keys)]
        del self._leases[lease_id]
        self._commit(events)
        for ended in list(self.on_lease_end):
            ended(lease_id)

    def tick(self, now_s: float) -> None:
        """End every lease whose deadline has passed."""
        due = [(r.deadline_s, lease_id) for lease_id, r in self._leases.items()]
        for deadline_s, lease_id in sorted(due):
            if deadline_s <= now_s:
                self.revoke_lease(lease_id)

    # ---- backup and restore

    def backup(self) -> Backup:
        """As ``etcdctl snapshot save`` would take it."""
        return Backup(
            self.revision,
            self.compacted,
            {key: tuple(versions) for key, versions in self._history.items()},
            tuple(self._log),
            {lease_id: _copy(record) for lease_id, record in self._leases.items()},
        )

    def restore(self, backup: Backup, *, bump_revision: int = 0) -> None:
        """Become what ``backup`` was. With ``bump_revision`` as ``etcdutl snapshot restore
        --bump-revision N --mark-compacted``: every old resume point reads as compacted."""
        if bump_revision < 0:
            raise InvalidRequest(f"bump_revision={bump_revision}: it cannot be negative")
        self.revision = backup.revision
        self.compacted = backup.compacted
        self._history = {key: list(versions) for key, versions in backup.history.items()}
        self._keys = sorted(self._history)
        self._current = {
            key: entry for key, versions in self._history.items() if (entry := versions[-1][1])
        }
        self._log = list(backup.log)
        self._leases = {lease_id: _copy(record) for lease_id, record in backup.leases.items()}
        if bump_revision:
            self.revision += bump_revision
            self.compact(self.revision)


def _copy(record: LeaseRecord) -> LeaseRecord:
    return LeaseRecord(record.ttl_s, record.deadline_s, set(record.keys))


def _revision_of(item: tuple[int, object]) -> int:
    return item[0]
