"""The one way to write: compared, fenced, never twice the same (G4, attack 14)."""

from __future__ import annotations

import pytest
from tests.unit.microcontroller.toys import KEY, STAMP, Clock, Verdict, writer_on

from isthmus.contract import seal, unseal
from isthmus.contract.errors import ValueRefused
from isthmus.contract.families import EXPLAIN
from isthmus.kv.errors import Conflict
from isthmus.kv.memory import MemoryStore
from isthmus.microcontroller import Fence, NotLeader, State

LEADER = "/isthmus/v1/leases/monitor"


async def body_at(store: MemoryStore, key: str = KEY) -> Verdict:
    entry = await store.get(key)
    assert entry is not None
    return unseal(entry.value, Verdict).body


async def test_an_unchanged_body_is_not_written() -> None:
    """Why: level-triggered controllers say the same thing all day; the store must not hear it."""
    store, clock = MemoryStore(), Clock()
    writer = writer_on(store, clock=clock)
    assert await writer.put(KEY, Verdict(text="a"))
    before = store.revision
    clock.now_s += 3600
    assert not await writer.put(KEY, Verdict(text="a"))
    assert store.revision == before
    assert (writer.written, writer.skipped) == (1, 1)


async def test_a_new_body_raises_the_generation() -> None:
    """Why: readers tell a new intent from a refreshed one by the generation."""
    store, clock = MemoryStore(), Clock()
    writer = writer_on(store, clock=clock)
    for text in ("a", "b"):
        await writer.put(KEY, Verdict(text=text))
    entry = await store.get(KEY)
    assert entry is not None
    assert unseal(entry.value, Verdict).generation == 2


async def test_a_value_that_ages_is_refreshed_and_keeps_its_generation() -> None:
    """Why: a report that is still true must not look older than its time to live (G12)."""
    store, clock = MemoryStore(), Clock()
    writer = writer_on(store, clock=clock)
    await writer.put(KEY, Verdict(text="a"), ttl_s=30, refresh_s=10)
    clock.now_s += 9
    assert not await writer.put(KEY, Verdict(text="a"), ttl_s=30, refresh_s=10)
    clock.now_s += 1
    assert await writer.put(KEY, Verdict(text="a"), ttl_s=30, refresh_s=10)
    entry = await store.get(KEY)
    assert entry is not None
    envelope = unseal(entry.value, Verdict)
    assert envelope.as_of == clock.now_s
    assert envelope.generation == 1


async def test_a_value_from_the_future_is_written_again() -> None:
    """Why: a clock that was an hour ahead once leaves a value that nobody believes (docs/bugs-found.md); its writer
    must not wait for that hour."""
    store, clock = MemoryStore(), Clock()
    writer = writer_on(store, clock=clock)
    clock.now_s += 3600
    await writer.put(KEY, Verdict(text="a"), ttl_s=30, refresh_s=10)
    clock.now_s -= 3600
    assert await writer.put(KEY, Verdict(text="a"), ttl_s=30, refresh_s=10)
    entry = await store.get(KEY)
    assert entry is not None
    assert unseal(entry.value, Verdict).as_of == clock.now_s


async def test_a_write_of_an_old_leader_is_refused_by_the_store() -> None:
    """Why: a frozen leader wakes up and goes on; only the compare in its write can stop it (attack 14)."""
    store, clock = MemoryStore(), Clock()
    epoch = await store.put(LEADER, b"first")
    old = writer_on(store, fence=Fence(LEADER, epoch), clock=clock)
    await old.put(KEY, Verdict(text="first"))
    await store.delete(LEADER)
    with pytest.raises(NotLeader):
        await old.put(KEY, Verdict(text="nobody leads"))
    second = await store.put(LEADER, b"second")
    with pytest.raises(NotLeader):
        await old.put(KEY, Verdict(text="late"))
    with pytest.raises(NotLeader):
        await old.delete(KEY)
    with pytest.raises(NotLeader):
        await old.create(f"{KEY}-new", Verdict())
    assert (await body_at(store)).text == "first"
    assert await writer_on(store, fence=Fence(LEADER, second), clock=clock).put(
        KEY, Verdict(text="second")
    )


async def test_a_foreign_write_between_look_and_write_is_a_conflict() -> None:
    """Why: deciding on an old fact and writing over a newer one is how controllers fight."""
    store, clock = MemoryStore(), Clock()
    writer = writer_on(store, clock=clock)
    foreign = seal(Verdict(text="foreign"), STAMP, as_of=0)
    race = [0]

    def somebody_is_faster(call: str, key: str) -> None:
        if call == "txn" and not race[0]:
            race[0] = store._world.mvcc.put(KEY, foreign)

    store.faults.before = somebody_is_faster
    with pytest.raises(Conflict):
        await writer.put(KEY, Verdict(text="mine"))
    assert (await body_at(store)).text == "foreign"
    assert await writer.put(KEY, Verdict(text="mine")), "the next look is on the new fact"


async def test_a_value_that_breaks_the_contract_is_replaced() -> None:
    """Why: garbage at our own key must not stop its writer for ever."""
    store, clock = MemoryStore(), Clock()
    await store.put(KEY, b"\xff garbage")
    assert await writer_on(store, clock=clock).put(KEY, Verdict(text="right"))
    assert (await body_at(store)).text == "right"


async def test_create_never_overwrites() -> None:
    """Why: a fresh name that is not fresh means that two lives drew the same one."""
    store, clock = MemoryStore(), Clock()
    writer = writer_on(store, clock=clock)
    await writer.create(KEY, Verdict(text="a"))
    with pytest.raises(Conflict):
        await writer.create(KEY, Verdict(text="b"))


async def test_deleting_what_is_not_there_writes_nothing() -> None:
    """Why: cleaning up is repeated for ever; it must cost nothing."""
    store, clock = MemoryStore(), Clock()
    before = store.revision
    assert not await writer_on(store, State(), clock=clock).delete(KEY)
    assert store.revision == before


async def test_a_value_over_its_family_is_refused_with_the_way_out() -> None:
    """Why: the store is for coordination (R41); who wants more is told how, and nothing is changed."""
    store = MemoryStore()
    writer = writer_on(store, clock=Clock())
    key = EXPLAIN.key(component="placer", tenant="acme", chain="web")
    with pytest.raises(ValueRefused, match=r"explain takes at most 4096: .* Pointer"):
        await writer.put(key, Verdict(text="x" * 5000))
    with pytest.raises(ValueRefused, match="takes at most 4096"):
        await writer.create(key, Verdict(text="x" * 5000))
    assert store.revision == MemoryStore().revision
    assert await writer.put(KEY, Verdict(text="x" * 5000)), "elsewhere it is small enough"
