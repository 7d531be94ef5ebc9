"""One life after another: sync, lead, work, stop (DESIGN section 5)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import ClassVar

import pytest
from tests.support import eventually
from tests.unit.microcontroller.toys import STAMP, Clock, Copier, Verdict

from isthmus.contract import seal, unseal
from isthmus.contract.families import HEALTH, LEASES, STATUS
from isthmus.kv.errors import Unavailable
from isthmus.kv.memory import ManualClock, MemoryStore
from isthmus.microcontroller import Context, Runner, State, Surroundings, Traits, runtime
from isthmus.microcontroller.leadership import LeadershipSettings

LEADER = LEASES.key(component="monitor")
QUICK = LeadershipSettings(ttl_s=3, retry_s=0.02)


def runner_of(controller: Copier, store: MemoryStore) -> Runner:
    return Runner(
        controller,
        store,
        "test/monitor",
        Surroundings(now=Clock(), random=lambda: 0.0),
        QUICK,
        restart_s=0.01,
    )


@asynccontextmanager
async def running(*runners: Runner) -> AsyncIterator[None]:
    """Run them; at the end whatever still runs is killed."""
    tasks = [asyncio.create_task(runner.run()) for runner in runners]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def ask(store: MemoryStore, chain: str) -> None:
    """A status for the copier to look at."""
    await store.put(STATUS.key(tenant="t", chain=chain), seal(Verdict(), STAMP, as_of=0))


async def copied(store: MemoryStore, chain: str, text: str = "fine") -> None:
    async def there() -> bool:
        entry = await store.get(HEALTH.key(instance=chain))
        return entry is not None and unseal(entry.value, Verdict).body.text == text

    _: bool = await eventually(there, f"{chain} is copied as {text!r}", timeout_s=5)


async def test_what_is_there_at_the_start_is_adopted() -> None:
    """Why: level-triggered means that no event is needed to be right; a restart writes nothing anew."""
    store = MemoryStore()
    await ask(store, "a")
    for life in range(2):
        copier = Copier()
        runner = runner_of(copier, store)
        async with running(runner):
            await copied(store, "a")
            await asyncio.wait_for(copier.inside.wait(), 5)
        entry = await store.get(HEALTH.key(instance="a"))
        assert entry is not None
        assert entry.version == 1, f"life {life} wrote it again"


async def test_stop_lets_a_running_reconcile_finish_and_gives_leadership_back() -> None:
    """Why: a reconcile cut in the middle leaves half of it for the next life, and an open lease costs 3 s."""
    store = MemoryStore()
    await ask(store, "a")
    copier = Copier(go_on=asyncio.Event())
    runner = runner_of(copier, store)
    task = asyncio.create_task(runner.run())
    await asyncio.wait_for(copier.inside.wait(), 5)
    await ask(store, "b")
    runner.stop()
    assert copier.go_on is not None
    asyncio.get_running_loop().call_later(0.02, copier.go_on.set)
    await asyncio.wait_for(task, 5)
    await copied(store, "a")
    assert copier.seen == ["a"], "nothing new is begun after stop"
    assert await store.get(LEADER) is None
    assert not runner.health.ready


async def test_stop_does_not_wait_for_ever() -> None:
    """Why: a reconcile that hangs must not keep a site from stopping."""
    store = MemoryStore()
    await ask(store, "a")
    copier = Copier(go_on=asyncio.Event())
    runner = runner_of(copier, store)
    runner.grace_s = 0.05
    task = asyncio.create_task(runner.run())
    await asyncio.wait_for(copier.inside.wait(), 5)
    runner.stop()
    await asyncio.wait_for(task, 5)
    assert await store.get(HEALTH.key(instance="a")) is None


async def test_of_two_candidates_one_works_and_the_other_takes_over() -> None:
    """Why: a placer that exists twice decides twice (G4)."""
    store = MemoryStore()
    first, second = Copier(text="first"), Copier(text="second")
    one, two = runner_of(first, store), runner_of(second, store)
    async with running(one):
        await eventually(lambda: one.health.leading, "the first leads", timeout_s=5)
        async with running(two):
            await ask(store, "a")
            await copied(store, "a", "first")
            assert not second.seen
            assert not two.health.ready, "a follower is not ready"
            one.stop()
            await eventually(lambda: two.health.leading, "the second leads", timeout_s=5)
            await copied(store, "a", "second")
            await ask(store, "b")
            await copied(store, "b", "second")


async def test_a_frozen_leader_is_replaced_when_its_lease_runs_out() -> None:
    """Why: frozen is not dead: it wakes up in the middle of its reconcile, and its write must be refused."""
    clock = ManualClock()
    root = MemoryStore(clock=clock)
    old_store = root.as_user("monitor", [])
    old_store._grants = None
    await ask(root, "a")
    frozen = Copier(go_on=asyncio.Event(), text="late")
    one = runner_of(frozen, old_store)
    async with running(one):
        await asyncio.wait_for(frozen.inside.wait(), 5)
        for lease in old_store._leases:
            lease.renewing = False
        root.advance(10)
        fresh = Copier(text="fresh")
        async with running(runner_of(fresh, root)):
            await copied(root, "a", "fresh")
            assert frozen.go_on is not None
            frozen.go_on.set()
            await ask(root, "b")
            await copied(root, "b", "fresh")
            # Looked at while the fresh one leads: when it stops, the other may lead and write again.
            entry = await root.get(HEALTH.key(instance="a"))
            assert entry is not None
            assert unseal(entry.value, Verdict).body.text == "fresh"


async def test_a_cancelled_candidate_never_leads() -> None:
    """Why: a candidate whose task was cancelled while it waited once went on waiting, and led for ever."""
    store = MemoryStore()
    lease = await store.grant_lease(60)
    await store.put(LEADER, b"somebody", lease_id=lease.lease_id)
    waiting = runner_of(Copier(), store)
    async with running(waiting):
        await eventually(lambda: len(store._leases) == 2, "the candidate waits", timeout_s=5)
    await lease.revoke()
    for _ in range(50):
        await asyncio.sleep(0)
    assert await store.get(LEADER) is None
    assert store.watch_count == 0


async def test_stop_ends_a_candidate_that_waits() -> None:
    """Why: a stand-by must be stoppable while another leads."""
    store = MemoryStore()
    await store.put(LEADER, b"somebody")
    runner = runner_of(Copier(), store)
    task = asyncio.create_task(runner.run())
    await eventually(lambda: store._leases, "the candidate waits", timeout_s=5)
    runner.stop()
    await asyncio.wait_for(task, 5)
    assert store.watch_count == 0


async def test_not_ready_while_the_store_is_away() -> None:
    """Why: readiness that stays true over an outage is what a load balancer believes (G12)."""
    store = MemoryStore()
    copier = Copier()
    runner = runner_of(copier, store)

    def away(call: str, key: str) -> None:
        raise Unavailable("away")

    async with running(runner):
        await eventually(lambda: runner.health.ready, "ready", timeout_s=5)
        store.faults.before = away
        for lease in store._leases:
            lease.end()
        await eventually(lambda: not runner.health.ready, "not ready", timeout_s=5)
        await eventually(lambda: "life" in runner.health.problems, "says why", timeout_s=5)
        store.faults.before = lambda call, key: None
        store._world.mvcc.delete(LEADER)
        await eventually(lambda: runner.health.ready, "ready again", timeout_s=5)
        assert "life" not in runner.health.problems
        assert runner.health.lives_total == 2
        await ask(store, "a")
        await copied(store, "a")


async def test_a_failing_item_does_not_stop_the_others() -> None:
    """Why: one chain that cannot be settled is one chain's problem."""

    class Choosy(Copier):
        async def reconcile(self, item: str, context: object) -> float | None:
            if item == "bad":
                raise RuntimeError("no")
            return await Copier.reconcile(self, item, context)  # type: ignore[arg-type]

    store = MemoryStore()
    runner = runner_of(Choosy(), store)
    async with running(runner):
        await ask(store, "bad")
        await ask(store, "good")
        await copied(store, "good")
        await eventually(lambda: runner.health.failed_total > 2, "tried again", timeout_s=5)
        assert "bad" in runner.health.problems
        assert runner.health.lives_total == 1


@pytest.mark.parametrize("how", ["ends", "fails"])
async def test_a_listener_that_ends_begins_a_new_life_with_a_pause(how: str) -> None:
    """Why: a controller that no longer hears the kernel is deaf and looks well; and beginning again must not spin."""

    class Deaf(Copier):
        heard = 0

        async def listen(self, add: Callable[[str], None]) -> None:
            self.heard += 1
            if self.heard == 1:
                if how == "fails":
                    raise OSError("netlink is gone")
                return
            await asyncio.Event().wait()

    store, controller = MemoryStore(), Deaf(traits=Traits(leader=False))
    runner = runner_of(controller, store)
    async with running(runner):
        await eventually(lambda: controller.heard == 2, "listens again", timeout_s=5)
        await eventually(lambda: runner.health.lives_total == 2, "a new life", timeout_s=5)
        assert runner.health.failed_total == 1


async def test_a_life_forgets_what_is_gone() -> None:
    """Why: the state is told of each change by the runtime; without that, decoded values of dead chains pile up."""

    class Reader(Copier):
        states: ClassVar[list[State]] = []

        async def reconcile(self, item: str, context: Context) -> float | None:
            self.states.append(context.state)
            context.state.body(STATUS.key(tenant="t", chain=item), Verdict)
            return None

    store, reader = MemoryStore(), Reader(traits=Traits(leader=False))
    key = STATUS.key(tenant="t", chain="a")
    async with running(runner_of(reader, store)):
        await ask(store, "a")
        await eventually(lambda: reader.states and key in reader.states[-1]._decoded, "decoded")
        await store.delete(key)
        await eventually(lambda: key not in reader.states[-1]._decoded, "forgotten", timeout_s=5)


async def test_a_task_that_swallows_its_end_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why: a library that swallowed one cancellation ended a role for ever: nobody began its next life (G3)."""
    monkeypatch.setattr(runtime, "CANCEL_AGAIN_S", 0.02)

    async def deaf() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    task = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    done, _ = await asyncio.wait({asyncio.create_task(runtime._cancel(task))}, timeout=5)
    assert done
    assert task.cancelled()


async def test_who_ends_a_task_hears_his_own_end() -> None:
    """Why: a life that is told to end while it waits for one of its parts must not take that for the part's."""

    async def stubborn() -> None:
        while not enough.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await enough.wait()

    enough = asyncio.Event()
    part = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    ending = asyncio.create_task(runtime._cancel(part))
    await asyncio.sleep(0)
    ending.cancel()
    await asyncio.wait({ending}, timeout=10)
    enough.set()
    await asyncio.wait({part}, timeout=10)
    assert ending.cancelled()
