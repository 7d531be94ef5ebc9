"""What a transaction may be and when a compare holds: pure, used by the twin and by the adapter.

The adapter asks here before it sends, so that a wrong call gets one clear sentence from us instead of a
round trip and etcd's short one; the twin decides by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from isthmus.kv.errors import InvalidRequest, TooLarge
from isthmus.kv.port import Compare, Delete, Entry, Operation, Put, Target, Txn

MAX_OPERATIONS = 128
"""Of one branch, and compares of one transaction: etcd's default ``--max-txn-ops``."""

MAX_REQUEST_BYTES = 3 * 512 * 1024
"""etcd's default ``--max-request-bytes``."""

OPERATORS = ("==", "!=", "<", ">")


def check_key(key: str) -> None:
    """An empty key is refused here, not by a round trip."""
    if not key:
        raise InvalidRequest("the key is empty; name a key")


def check_size(key: str, size_bytes: int) -> None:
    """A request the server would refuse is refused with numbers."""
    if size_bytes > MAX_REQUEST_BYTES:
        raise TooLarge(
            f"{key}: request of {size_bytes} bytes is over the limit of {MAX_REQUEST_BYTES}; "
            "store the data elsewhere and put a pointer here (R41)"
        )


def check_compare(compare: Compare) -> None:
    """Refuse what cannot be compared, with the field's name in the message."""
    check_key(compare.key)
    if compare.operator not in OPERATORS:
        raise InvalidRequest(
            f"compare of {compare.key!r}: operator {compare.operator!r} is none of {OPERATORS}"
        )
    wants_bytes = compare.target is Target.VALUE
    if isinstance(compare.expected, bytes) is not wants_bytes:
        raise InvalidRequest(
            f"compare of {compare.key!r}: expected {compare.expected!r} must be "
            f"{'bytes' if wants_bytes else 'an int'} for target {compare.target.value!r}"
        )


def check_txn(txn: Txn) -> None:
    """Refuse a transaction that etcd would refuse."""
    for compare in txn.compares:
        check_compare(compare)
    for name, items in (
        ("compares", txn.compares),
        ("then", txn.then),
        ("otherwise", txn.otherwise),
    ):
        if len(items) > MAX_OPERATIONS:
            raise TooLarge(
                f"transaction: {len(items)} {name} are over the limit of {MAX_OPERATIONS}; "
                "split it (isthmus.kv.writes does for bulk writes)"
            )
    _check_branch(txn.then)
    _check_branch(txn.otherwise)


def _check_branch(operations: Sequence[Operation]) -> None:
    touched: set[str] = set()
    size_bytes = 0
    puts = [operation for operation in operations if isinstance(operation, Put)]
    for operation in operations:
        check_key(operation.key)
        if isinstance(operation, Delete):
            touched.add(operation.key)
    for put in puts:
        if put.key in touched:
            raise InvalidRequest(
                f"transaction: {put.key!r} is written twice in one branch; write it once"
            )
        touched.add(put.key)
        size_bytes += len(put.key) + len(put.value)
    if puts:
        check_size(puts[0].key, size_bytes + 16 * len(operations))


def compare_holds(compare: Compare, entry: Entry | None) -> bool:
    """Does it hold for what is stored? A missing key counts as zeros, but has no value to compare."""
    if isinstance(compare.expected, bytes):
        return entry is not None and _holds(compare.operator, entry.value, compare.expected)
    return _holds(compare.operator, _number(compare.target, entry), compare.expected)


def _number(target: Target, entry: Entry | None) -> int:
    if entry is None:
        return 0
    return {
        Target.VERSION: entry.version,
        Target.CREATE_REVISION: entry.create_revision,
        Target.MOD_REVISION: entry.mod_revision,
        Target.LEASE: entry.lease_id,
    }[target]


_Ordered = TypeVar("_Ordered", bytes, int)


def _holds(operator: str, left: _Ordered, right: _Ordered) -> bool:
    if operator == "==":
        return left == right
    if operator == "!=":
        return left != right
    return left < right if operator == "<" else left > right
