"""One key-value store: the port, the etcd adapter, the in-memory twin, mirrors, leases, transactions.

Everything above this package sees :class:`~isthmus.kv.port.KeyValueStore` only. The adapter is imported
by name (:mod:`isthmus.kv.etcd`, :mod:`isthmus.kv.admin`), so that pure code and simulations never load
gRPC.
"""

from isthmus.kv.port import (
    Compare,
    Delete,
    Entry,
    Event,
    EventKind,
    Get,
    KeyValueStore,
    Lease,
    Operation,
    Put,
    Snapshot,
    StoreStatus,
    Target,
    Txn,
    TxnResult,
    WatchBatch,
)

__all__ = [
    "Compare",
    "Delete",
    "Entry",
    "Event",
    "EventKind",
    "Get",
    "KeyValueStore",
    "Lease",
    "Operation",
    "Put",
    "Snapshot",
    "StoreStatus",
    "Target",
    "Txn",
    "TxnResult",
    "WatchBatch",
]
