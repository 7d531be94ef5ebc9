"""The in-memory twin's history without an event loop: real code that awaits a store, driven step by step.

The cores' edges await nothing but their store. A coroutine that awaits :class:`SteppedStore` stops before each
call, so an explorer can let others go first; :func:`at_once` runs one to its end.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Coroutine, Generator, Sequence
from typing import Any, NoReturn, TypeVar

from isthmus.kv.mvcc import MvccStore
from isthmus.kv.port import Entry, Lease, Snapshot, StoreStatus, Txn, TxnResult, WatchBatch

T = TypeVar("T")


class _Turn:
    """Awaited before each call: gives the turn back to whoever drives. ``call`` says what comes next."""

    __slots__ = ("call",)

    def __init__(self, call: str) -> None:
        self.call = call

    def __await__(self) -> Generator[str, None, None]:
        yield self.call


class Stepped:
    """One coroutine, driven from call to call."""

    def __init__(self, work: Coroutine[Any, Any, Any]) -> None:
        self._work = work
        self.ended = False
        self.result: Any = None
        self.failed: Exception | None = None
        self.next_call = ""
        self.step()

    def step(self) -> None:
        """The call that waits, and on to the next one."""
        try:
            self.next_call = self._work.send(None)
        except StopIteration as done:
            self.ended, self.result, self.next_call = True, done.value, ""
        except Exception as error:
            self.ended, self.failed, self.next_call = True, error, ""

    def close(self) -> None:
        """Kill it where it stands."""
        self._work.close()
        self.ended = True


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` to its end with nothing in between."""
    while True:
        try:
            work.send(None)
        except StopIteration as done:
            result: T = done.value
            return result


class SteppedStore:
    """:class:`isthmus.kv.port.KeyValueStore` over one :class:`MvccStore`; each call is one step."""

    def __init__(self, mvcc: MvccStore) -> None:
        self.mvcc = mvcc

    async def get(self, key: str, *, revision: int = 0, timeout_s: float = 5.0) -> Entry | None:
        await _Turn("get")
        return self.mvcc.get(key, revision)

    async def put(
        self, key: str, value: bytes, *, lease_id: int = 0, timeout_s: float = 5.0
    ) -> int:
        await _Turn("put")
        return self.mvcc.put(key, value, lease_id)

    async def delete(self, key: str, *, timeout_s: float = 5.0) -> bool:
        await _Turn("delete")
        return self.mvcc.delete(key)

    async def txn(self, txn: Txn, *, timeout_s: float = 5.0) -> TxnResult:
        await _Turn("txn")
        return self.mvcc.txn(txn)

    async def snapshot(
        self, prefix: str, *, revision: int = 0, timeout_s: float = 30.0
    ) -> Snapshot:
        await _Turn("snapshot")
        return self.mvcc.snapshot(prefix, revision)

    async def stream_snapshot(
        self, prefix: str, *, revision: int = 0, timeout_s: float = 30.0
    ) -> AsyncGenerator[tuple[int, Sequence[Entry]], None]:
        await _Turn("snapshot")
        whole = self.mvcc.snapshot(prefix, revision)
        yield whole.revision, whole.entries

    def watch(self, prefix: str, *, start_revision: int = 0) -> AsyncGenerator[WatchBatch, None]:
        _absent("watch")

    async def grant_lease(self, ttl_s: int, *, timeout_s: float = 5.0) -> Lease:
        _absent("grant_lease")

    async def compact(self, revision: int, *, timeout_s: float = 5.0) -> None:
        await _Turn("compact")
        self.mvcc.compact(revision)

    async def status(self, *, timeout_s: float = 5.0) -> StoreStatus:
        await _Turn("status")
        return StoreStatus("stepped", self.mvcc.revision)

    async def aclose(self) -> None:
        """Nothing to end."""


def _absent(call: str) -> NoReturn:
    raise AssertionError(f"{call}: an explored world has its own, driven by its moves")
