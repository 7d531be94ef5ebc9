"""Between the port's dataclasses and etcd's messages. Pure; the only module that knows both."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from isthmus.kv import wire_pb2 as wire
from isthmus.kv.port import (
    Compare,
    Delete,
    Entry,
    Event,
    EventKind,
    Get,
    Operation,
    Put,
    Target,
    Txn,
    TxnResult,
)
from isthmus.kv.ranges import key_text, text_bytes
from isthmus.kv.rules import check_key, check_txn

if TYPE_CHECKING:
    from google.protobuf.internal.containers import RepeatedCompositeFieldContainer

_RESULTS = {
    "==": wire.Compare.EQUAL,
    "!=": wire.Compare.NOT_EQUAL,
    "<": wire.Compare.LESS,
    ">": wire.Compare.GREATER,
}
_NUMBERS = {
    Target.VERSION: (wire.Compare.VERSION, "version"),
    Target.CREATE_REVISION: (wire.Compare.CREATE, "create_revision"),
    Target.MOD_REVISION: (wire.Compare.MOD, "mod_revision"),
    Target.LEASE: (wire.Compare.LEASE, "lease"),
}


_DELETED = int(wire.Event.DELETE)
_PUT = EventKind.PUT


def key_bytes(key: str) -> bytes:
    """The key as etcd stores it."""
    check_key(key)
    return text_bytes(key)


def entry(kv: wire.KeyValue) -> Entry:
    """One stored key."""
    return Entry(
        key_text(kv.key), kv.value, kv.create_revision, kv.mod_revision, kv.version, kv.lease
    )


def event(message: wire.Event) -> Event:
    """One change."""
    kv = message.kv
    if message.type == _DELETED:
        return Event(EventKind.DELETE, key_text(kv.key), kv.mod_revision)
    key, revision = key_text(kv.key), kv.mod_revision
    stored = Entry(key, kv.value, kv.create_revision, revision, kv.version, kv.lease)
    return Event(_PUT, key, revision, stored)


def compare_message(compare: Compare) -> wire.Compare:
    """One compare."""
    message = wire.Compare(key=key_bytes(compare.key), result=_RESULTS[compare.operator])
    if isinstance(compare.expected, bytes):
        message.target = wire.Compare.VALUE
        message.value = compare.expected
    else:
        target, field = _NUMBERS[compare.target]
        message.target = target
        setattr(message, field, compare.expected)
    return message


def _add(into: RepeatedCompositeFieldContainer[wire.RequestOp], operation: Operation) -> None:
    """In place: a message given to another one's constructor is copied."""
    match operation:
        case Put():
            put = into.add().request_put
            put.key = text_bytes(operation.key)
            put.value = operation.value
            if operation.lease_id:
                put.lease = operation.lease_id
        case Delete():
            into.add().request_delete_range.key = text_bytes(operation.key)
        case Get():
            into.add().request_range.key = text_bytes(operation.key)


def txn_message(txn: Txn) -> wire.TxnRequest:
    """A transaction; flat by construction, there is no message for a nested one."""
    check_txn(txn)
    message = wire.TxnRequest(compare=[compare_message(compare) for compare in txn.compares])
    for operation in txn.then:
        _add(message.success, operation)
    for operation in txn.otherwise:
        _add(message.failure, operation)
    return message


def txn_result(message: wire.TxnResponse) -> TxnResult:
    """Its answer."""
    return TxnResult(message.succeeded, message.header.revision, tuple(_gets(message.responses)))


def _gets(responses: Iterable[wire.ResponseOp]) -> Iterable[Entry | None]:
    for response in responses:
        if response.WhichOneof("response") == "response_range":
            kvs = response.response_range.kvs
            yield entry(kvs[0]) if kvs else None


def keys_of(txn: Txn) -> str:
    """The keys a transaction touches, for messages; bounded."""
    keys = sorted({item.key for item in (*txn.compares, *txn.then, *txn.otherwise)})
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return ", ".join(keys[:3]) + more
