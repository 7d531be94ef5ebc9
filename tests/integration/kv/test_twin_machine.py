"""The twin against the real etcd, step by step, on histories nobody thought of.

A simulation is only as honest as the twin under it. Hypothesis writes programs of puts, deletes,
transactions, leases, compactions, old reads and watches; after each step both stores must have said the
same thing, down to revisions, versions and the order of events.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import AsyncGenerator, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from tests.integration.kv.server import EtcdServer

from isthmus.kv import (
    Compare,
    Delete,
    Entry,
    Event,
    Get,
    KeyValueStore,
    Lease,
    Put,
    Target,
    Txn,
    WatchBatch,
)
from isthmus.kv.errors import Compacted, FutureRevision, StoreError
from isthmus.kv.etcd import EtcdStore
from isthmus.kv.memory import MemoryStore
from isthmus.kv.mvcc import Backup

T = TypeVar("T")

NAMES = st.sampled_from(["a", "b", "b/c", "d"])
VALUES = st.sampled_from([b"", b"1", b"2"])
NUMBERS = st.integers(0, 4)
OPERATORS = st.sampled_from(["==", "!=", "<", ">"])

_runs = itertools.count()


@dataclass
class Leases:
    """One lease in each store."""

    real: Lease
    twin: Lease


@dataclass
class Watches:
    """The same watch in each store, with what it has delivered."""

    real: AsyncGenerator[WatchBatch, None]
    twin: AsyncGenerator[WatchBatch, None]
    seen: list[Event] = field(default_factory=list)


class TwinMachine(RuleBasedStateMachine):
    """Both stores get every step; what they say must be equal."""

    server: EtcdServer
    runner: asyncio.Runner
    leases = Bundle("leases")
    watches = Bundle("watches")

    def __init__(self) -> None:
        super().__init__()
        self.prefix = f"machine{next(_runs)}/"

    def do(self, steps: Coroutine[Any, Any, T]) -> T:
        async def in_time() -> T:
            async with asyncio.timeout(5):
                return await steps

        return self.runner.run(in_time())

    @initialize()
    def begin(self) -> None:
        async def connect() -> EtcdStore:
            return self.server.store()

        self.real = self.do(connect())
        revision = self.do(self.real.put(self.prefix + "begin", b""))
        self.do(self.real.compact(revision))
        self.twin = MemoryStore()
        self.twin.restore(Backup(revision - 1, 0, {}, (), {}))
        assert self.do(self.twin.put(self.prefix + "begin", b"")) == revision
        self.do(self.twin.compact(revision))
        self.first = self.revision = revision
        self.lease_ids: dict[int, int] = {0: 0}
        self.open: list[Watches] = []
        self.real_leases: list[Lease] = []

    def teardown(self) -> None:
        async def end() -> None:
            for watch in getattr(self, "open", []):
                await watch.real.aclose()
                await watch.twin.aclose()
            for lease in getattr(self, "real_leases", []):
                await lease.revoke()  # or it would end in the middle of a later program
            if hasattr(self, "real"):
                await self.real.aclose()

        self.do(end())

    # ---- comparing

    async def said(self, answer: Coroutine[Any, Any, Any]) -> object:
        """What a store answered, or the leaf of the error tree it raised."""
        try:
            return self.normal(await answer)
        except StoreError as error:
            return type(error)

    def normal(self, answer: Any) -> Any:
        """Leases have other numbers in the two stores."""
        if isinstance(answer, Entry):
            same_lease = self.lease_ids.get(answer.lease_id, answer.lease_id)
            return dataclasses.replace(answer, lease_id=same_lease)
        if isinstance(answer, tuple):
            return tuple(self.normal(item) for item in answer)
        if isinstance(answer, Event):
            return (answer.kind, answer.key, answer.revision, self.normal(answer.entry))
        if hasattr(answer, "gets"):
            return (answer.succeeded, answer.revision, self.normal(answer.gets))
        if hasattr(answer, "entries"):
            return (answer.revision, self.normal(answer.entries))
        return answer

    def both(self, ask: Any) -> Any:
        """Ask both; the answers must be equal."""
        real = self.do(self.said(ask(self.real)))
        twin = self.do(self.said(ask(self.twin)))
        assert real == twin, f"etcd said {real}, the twin {twin}"
        return real

    def key(self, name: str) -> str:
        return self.prefix + name

    # ---- steps

    @rule(name=NAMES, value=VALUES)
    def put(self, name: str, value: bytes) -> None:
        self.revision = self.both(lambda store: store.put(self.key(name), value))

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        if self.both(lambda store: store.delete(self.key(name))):
            self.revision += 1

    @rule(name=NAMES, back=st.integers(-2, 12))
    def get(self, name: str, back: int) -> None:
        revision = max(1, self.revision - back)
        self.both(lambda store: store.get(self.key(name), revision=revision))

    @rule(back=st.integers(-2, 12))
    def snapshot(self, back: int) -> None:
        revision = max(1, self.revision - back)
        self.both(lambda store: store.snapshot(self.prefix, revision=revision))

    @rule(
        compares=st.lists(st.tuples(NAMES, st.sampled_from(Target), NUMBERS, VALUES, OPERATORS)),
        then=st.lists(st.tuples(st.sampled_from("pdg"), NAMES, VALUES), max_size=4),
        otherwise=st.lists(st.tuples(st.sampled_from("pdg"), NAMES, VALUES), max_size=4),
    )
    def txn(self, compares: list[Any], then: list[Any], otherwise: list[Any]) -> None:
        txn = Txn(
            tuple(self.compare(*compare) for compare in compares[:3]),
            tuple(self.operation(*operation) for operation in then),
            tuple(self.operation(*operation) for operation in otherwise),
        )
        said = self.both(lambda store: store.txn(txn))
        if isinstance(said, tuple):
            self.revision = said[1]

    def compare(
        self, name: str, target: Target, number: int, value: bytes, operator: str
    ) -> Compare:
        revisions = (Target.CREATE_REVISION, Target.MOD_REVISION)
        if target is Target.VALUE:
            return Compare(self.key(name), target, value, operator)
        expected = self.revision - number if target in revisions else number
        expected = 0 if target is Target.LEASE else expected
        return Compare(self.key(name), target, expected, operator)

    def operation(self, kind: str, name: str, value: bytes) -> Put | Delete | Get:
        key = self.key(name)
        if kind == "p":
            return Put(key, value)
        return Delete(key) if kind == "d" else Get(key)

    @rule(back=st.integers(-1, 6))
    def compact(self, back: int) -> None:
        self.both(lambda store: store.compact(self.revision - back))

    @rule(target=leases)
    def grant(self) -> Leases:
        pair = Leases(self.do(self.real.grant_lease(60)), self.do(self.twin.grant_lease(60)))
        self.real_leases.append(pair.real)
        self.lease_ids[pair.real.lease_id] = self.lease_ids[pair.twin.lease_id] = len(
            self.lease_ids
        )
        return pair

    @rule(pair=leases, name=NAMES, value=VALUES)
    def put_with_lease(self, pair: Leases, name: str, value: bytes) -> None:
        ids: dict[int, int] = {id(self.real): pair.real.lease_id, id(self.twin): pair.twin.lease_id}

        def ask(store: KeyValueStore) -> Coroutine[Any, Any, int]:
            return store.put(self.key(name), value, lease_id=ids[id(store)])

        said = self.both(ask)
        if isinstance(said, int):
            self.revision = said

    @rule(pair=consumes(leases))
    def revoke(self, pair: Leases) -> None:
        self.do(pair.real.revoke())
        self.do(pair.twin.revoke())
        now = self.both(lambda store: store.snapshot(self.prefix))
        self.revision = now[0]

    @rule(target=watches, back=st.integers(-3, 8), name=st.sampled_from(["", "b", "b/"]))
    def watch(self, back: int, name: str) -> Watches:
        start = max(1, self.revision - back)
        keys = self.key(name) if name else self.prefix
        pair = Watches(
            self.real.watch(keys, start_revision=start), self.twin.watch(keys, start_revision=start)
        )
        first = self.do(self.said(anext(pair.real)))
        assert first == self.do(self.said(anext(pair.twin)))
        if isinstance(first, WatchBatch):
            self.open.append(pair)
            self.read(pair)  # etcd catches up within 0.1 s; a compaction in between is its choice
        return pair

    @rule(pair=watches)
    def read_on(self, pair: Watches) -> None:
        self.read(pair)

    def read(self, pair: Watches) -> None:
        """Until a marker written for the purpose comes, or both refuse for the same reason."""
        if pair not in self.open:
            return
        puts = (Put(self.prefix + "b", b"marker"), Put(self.prefix + "b/marker", b""))
        marker = self.revision = self.both(lambda store: store.txn(Txn(then=puts)))[1]
        real = self.do(self.until(pair.real, marker))
        twin = self.do(self.until(pair.twin, marker))
        assert real == twin, f"etcd delivered {real}, the twin {twin}"
        if isinstance(real, type):
            self.open.remove(pair)

    async def until(self, watch: AsyncGenerator[WatchBatch, None], revision: int) -> object:
        """All events up to the marker, or the refusal."""
        seen: list[Any] = []
        try:
            async for batch in watch:
                assert not batch.resumed
                seen += [self.normal(event) for event in batch.events]
                if batch.events and batch.revision == revision:
                    return seen
        except (Compacted, FutureRevision) as error:
            return type(error)
        return "ended"

    @invariant()
    def agree_on_everything_now(self) -> None:
        if hasattr(self, "real"):
            now = self.both(lambda store: store.snapshot(self.prefix))
            assert now[0] == self.revision


@pytest.mark.timeout(300)
def test_twin_and_etcd_never_differ(shared_etcd: EtcdServer) -> None:
    """See the module's docstring: this is what makes the simulations of this house worth reading."""

    with asyncio.Runner() as one_loop:

        class Machine(TwinMachine):
            server = shared_etcd
            runner = one_loop

        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=40,
                stateful_step_count=25,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                derandomize=True,
                database=None,
            ),
        )
