"""Transactions written the way they are spoken: *when* this holds, *put* that, *else* read why.

    await (when_absent("a").when_value("leader", me).put("a", b"1").otherwise_get("a")).run(store)

:class:`Transaction` is immutable; each step returns a longer one. :meth:`Transaction.run` raises
Conflict when a compare did not hold; :meth:`Transaction.attempt` returns that as a result.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from isthmus.kv.errors import Conflict
from isthmus.kv.port import (
    Compare,
    Delete,
    Entry,
    Get,
    KeyValueStore,
    Operation,
    Put,
    Target,
    Txn,
    TxnResult,
)


async def run(store: KeyValueStore, txn: Txn, *, timeout_s: float = 5.0) -> TxnResult:
    """Run ``txn``; Conflict when its compares did not hold."""
    result = await store.txn(txn, timeout_s=timeout_s)
    if not result.succeeded:
        raise Conflict(
            f"transaction: none of it was written; {_spoken(txn)}", revision=result.revision
        )
    return result


def _spoken(txn: Txn) -> str:
    terms = [
        f"{compare.target.value} of {compare.key} {compare.operator} {compare.expected!r:.80}"
        for compare in txn.compares[:4]
    ]
    more = f" and {len(txn.compares) - 4} more" if len(txn.compares) > 4 else ""
    return "not all of these held: " + ", ".join(terms) + more


@dataclass(frozen=True, slots=True)
class Transaction:
    """A flat transaction under construction."""

    txn: Txn = field(default_factory=Txn)

    # ---- conditions

    def when(self, compare: Compare) -> Transaction:
        """Only if ``compare`` holds, too."""
        return self._with(compares=(*self.txn.compares, compare))

    def when_absent(self, key: str) -> Transaction:
        """Only if ``key`` does not exist."""
        return self.when(Compare(key, Target.VERSION, 0))

    def when_present(self, key: str) -> Transaction:
        """Only if ``key`` exists."""
        return self.when(Compare(key, Target.VERSION, 0, ">"))

    def when_unchanged(self, entry: Entry) -> Transaction:
        """Only if ``entry`` is still exactly what was read."""
        return self.when(Compare(entry.key, Target.MOD_REVISION, entry.mod_revision))

    def when_created_at(self, key: str, revision: int) -> Transaction:
        """Only if ``key`` is still the same incarnation (a lease holder's key, an epoch)."""
        return self.when(Compare(key, Target.CREATE_REVISION, revision))

    def when_value(self, key: str, value: bytes) -> Transaction:
        """Only if ``key`` holds ``value``."""
        return self.when(Compare(key, Target.VALUE, value))

    # ---- what to do

    def put(self, key: str, value: bytes, *, lease_id: int = 0) -> Transaction:
        return self.then(Put(key, value, lease_id))

    def delete(self, key: str) -> Transaction:
        return self.then(Delete(key))

    def get(self, key: str) -> Transaction:
        return self.then(Get(key))

    def then(self, *operations: Operation) -> Transaction:
        """Do these if all conditions hold."""
        return self._with(then=(*self.txn.then, *operations))

    def otherwise(self, *operations: Operation) -> Transaction:
        """Do these if not."""
        return self._with(otherwise=(*self.txn.otherwise, *operations))

    def otherwise_get(self, key: str) -> Transaction:
        return self.otherwise(Get(key))

    def _with(
        self,
        compares: tuple[Compare, ...] | None = None,
        then: tuple[Operation, ...] | None = None,
        otherwise: tuple[Operation, ...] | None = None,
    ) -> Transaction:
        txn = self.txn
        return replace(
            self,
            txn=Txn(
                txn.compares if compares is None else compares,
                txn.then if then is None else then,
                txn.otherwise if otherwise is None else otherwise,
            ),
        )

    # ---- running it

    async def attempt(self, store: KeyValueStore, *, timeout_s: float = 5.0) -> TxnResult:
        """Run it; whether the conditions held is in the result."""
        return await store.txn(self.txn, timeout_s=timeout_s)

    async def run(self, store: KeyValueStore, *, timeout_s: float = 5.0) -> TxnResult:
        """Run it; Conflict when a condition did not hold."""
        return await run(store, self.txn, timeout_s=timeout_s)
