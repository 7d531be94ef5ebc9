"""The key-value store as everybody above sees it: one narrow port (white paper sections 3-5, R6).

Put, get and notify-on-change is what the paper asks of a store; transactions with compares, leases and
snapshots at one revision are what running a carrier on it asks. Two implementations stand behind this port, the
etcd adapter (:mod:`isthmus.kv.etcd`) and the in-memory twin for simulation (:mod:`isthmus.kv.memory`);
one conformance suite runs against both. Keys are text here (the contract's grammar is ASCII), values are bytes.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def record(cls: type[T]) -> type[T]:
    """A dataclass that only the type checker freezes: freezing it at run time, too, makes each one cost three times
    as much, and a snapshot or a catch-up makes hundreds of thousands (measured)."""
    return dataclass(slots=True, unsafe_hash=True)(cls)


@record
class Entry:
    """One key as stored: ``mod_revision`` of the last write, ``create_revision`` of the first, ``version`` counts
    writes since creation, ``lease_id`` 0 when none."""

    key: str
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease_id: int = 0


class EventKind(Enum):
    """What happened to a key."""

    PUT = "put"
    DELETE = "delete"


@record
class Event:
    """A change of one key at ``revision``. ``entry`` is None for a deletion."""

    kind: EventKind
    key: str
    revision: int
    entry: Entry | None = None


@dataclass(frozen=True, slots=True)
class WatchBatch:
    """Events in order of revision; a revision is never split over two batches. ``revision`` is the last one
    covered: resume at ``revision + 1``. ``events`` may be empty (the first batch, sent once the watch stands; and one
    with ``resumed``, sent each time it stands again after a lost connection: a mirror checks then that the history it
    follows is still the same one)."""

    revision: int
    events: tuple[Event, ...]
    resumed: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All entries below a prefix at exactly one ``revision``, sorted by key."""

    revision: int
    entries: tuple[Entry, ...]


class Target(Enum):
    """Which property of a key a compare looks at."""

    VALUE = "value"
    VERSION = "version"
    CREATE_REVISION = "create_revision"
    MOD_REVISION = "mod_revision"
    LEASE = "lease"


@dataclass(frozen=True, slots=True)
class Compare:
    """``target`` of ``key`` must equal ``expected`` (bytes for VALUE, int for the others; a missing key has version,
    create and mod revision 0). ``operator`` is one of ``==``, ``!=``, ``<``, ``>``."""

    key: str
    target: Target
    expected: int | bytes
    operator: str = "=="


@dataclass(frozen=True, slots=True)
class Put:
    """Write ``value`` at ``key``, attached to ``lease_id`` (0: none)."""

    key: str
    value: bytes
    lease_id: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove ``key``; nothing happens when it is absent."""

    key: str


@dataclass(frozen=True, slots=True)
class Get:
    """Read ``key`` inside a transaction."""

    key: str


Operation = Put | Delete | Get


@dataclass(frozen=True, slots=True)
class Txn:
    """If all ``compares`` hold do ``then``, else do ``otherwise``; atomically, at one revision. Flat: transactions
    never nest (attack 8)."""

    compares: tuple[Compare, ...] = ()
    then: tuple[Operation, ...] = ()
    otherwise: tuple[Operation, ...] = ()


@dataclass(frozen=True, slots=True)
class TxnResult:
    """``succeeded``: the compares held. ``revision``: of the store after it. ``gets``: one item per Get of
    the branch that ran, in order (None: absent)."""

    succeeded: bool
    revision: int
    gets: tuple[Entry | None, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """Of the endpoint that answered: server ``version`` text, store ``revision``, ``db_size_bytes``, ``alarms``."""

    version: str
    revision: int
    db_size_bytes: int = 0
    alarms: tuple[str, ...] = ()


class Lease(Protocol):
    """A lease kept alive in the background until :meth:`revoke` or loss (Kopf-style: jittered thirds of the TTL)."""

    @property
    def lease_id(self) -> int: ...

    @property
    def ttl_s(self) -> float: ...

    @property
    def lost(self) -> bool:
        """True as soon as the *local* verdict is that it may have run out: boot-clock time since the last renewal was
        *sent* exceeds the TTL, or the store said it is gone."""
        ...

    async def wait_lost(self) -> None:
        """Return when :attr:`lost` becomes True."""
        ...

    async def revoke(self, *, timeout_s: float = 5.0) -> None:
        """End it now; attached keys go. Never raises for a lease already gone."""
        ...


class KeyValueStore(Protocol):
    """The port. Every method raises a :class:`~isthmus.kv.errors.StoreError` leaf and has a deadline."""

    async def get(self, key: str, *, revision: int = 0, timeout_s: float = 5.0) -> Entry | None:
        """The entry at ``key`` (at ``revision``; 0 means newest), or None."""
        ...

    async def put(
        self, key: str, value: bytes, *, lease_id: int = 0, timeout_s: float = 5.0
    ) -> int:
        """Write one key; the revision it got."""
        ...

    async def delete(self, key: str, *, timeout_s: float = 5.0) -> bool:
        """Remove one key; True when it was there."""
        ...

    async def txn(self, txn: Txn, *, timeout_s: float = 5.0) -> TxnResult:
        """Run one flat transaction. A failed compare is a result, not an error."""
        ...

    async def snapshot(
        self, prefix: str, *, revision: int = 0, timeout_s: float = 30.0
    ) -> Snapshot:
        """Everything below ``prefix`` (which ends in ``/``) at one revision."""
        ...

    def stream_snapshot(
        self, prefix: str, *, revision: int = 0, timeout_s: float = 30.0
    ) -> AsyncGenerator[tuple[int, Sequence[Entry]], None]:
        """The same in chunks of bounded size: yields ``(revision, entries)`` in key order, at least once (maybe with no
        entries). ``timeout_s`` bounds the wait for each chunk."""
        ...

    def watch(self, prefix: str, *, start_revision: int = 0) -> AsyncGenerator[WatchBatch, None]:
        """Changes below ``prefix`` (or of exactly one key, when it does not end in ``/``) from ``start_revision`` on
        (0: from now). The first batch is empty and says the watch stands. Survives lost connections by resuming behind
        the last event; raises Compacted, FutureRevision, PermissionDenied, Unauthenticated. Ends when it is closed or
        the store is."""
        ...

    async def grant_lease(self, ttl_s: int, *, timeout_s: float = 5.0) -> Lease:
        """A new lease that is kept alive in the background."""
        ...

    async def compact(self, revision: int, *, timeout_s: float = 5.0) -> None:
        """Forget history before ``revision``."""
        ...

    async def status(self, *, timeout_s: float = 5.0) -> StoreStatus:
        """Ask the server who it is and where it stands."""
        ...

    async def aclose(self) -> None:
        """End watches, keep-alives and connections. Idempotent."""
        ...
