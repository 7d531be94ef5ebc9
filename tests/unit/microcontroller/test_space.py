"""The maintainer's decisions and the janitor's, without a server (issue 4, point 7)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import eventually
from tests.unit.microcontroller.toys import STAMP, Clock

from isthmus.contract import Stamp, seal
from isthmus.contract.chain import Explanation
from isthmus.contract.families import EVENTS, EXPLAIN, G_INTENTS, REQUESTS
from isthmus.contract.family import Tier
from isthmus.contract.roles import role
from isthmus.kv.admin import Alarm
from isthmus.kv.errors import NoSpace
from isthmus.kv.grants import Access, Grant
from isthmus.kv.memory import MemoryStore
from isthmus.kv.space import MemberSpace
from isthmus.microcontroller import Context, Later, Runner, State, Surroundings, Writer
from isthmus.microcontroller.janitor import Janitor
from isthmus.microcontroller.maintenance import Maintenance
from isthmus.microcontroller.space import (
    RevisionLog,
    SpaceSettings,
    compaction_target,
    helps,
    in_order,
)

MB = 1_000_000
SETTINGS = SpaceSettings(
    longest_cut_s=60, least_revisions=100, compact_step=10, worth_bytes=MB, quota_bytes=100 * MB
)


def member(
    name: str, *, leader: bool = False, size: int = 10, used: int = 10, revision: int = 1000
) -> MemberSpace:
    return MemberSpace(name, hash(name), leader, revision, size * MB, used * MB, 0)


# ---- the window


def test_the_window_holds_in_seconds_and_in_revisions() -> None:
    """Why: a follower that was away for the declared cut resumes; nobody is owed more."""
    log = RevisionLog()
    for second in range(0, 200, 10):
        log.saw(second, 1000 + second * 10)
    target = compaction_target(log, SETTINGS, now_s=190, revision=2900, done=0)
    assert target == 1000 + 130 * 10, "sixty seconds ago"
    wide = replace(SETTINGS, least_revisions=2500)
    assert compaction_target(log, wide, now_s=190, revision=2900, done=0) == 400


@pytest.mark.parametrize(
    ("needed", "done", "target"),
    [((), 0, 1300), ((1250,), 0, 1250), ((5,), 0, 0), ((), 1295, 0), ((), 1290, 1300)],
)
def test_what_somebody_needs_stays_and_small_steps_wait(
    needed: tuple[int, ...], done: int, target: int
) -> None:
    """Why: a backup that reads at a revision must not lose it; and a compaction a second is work for nothing."""
    log = RevisionLog()
    log.saw(0, 1300)
    found = compaction_target(log, SETTINGS, now_s=100, revision=2000, done=done, needed=needed)
    assert found == target


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.1, 100), st.integers(0, 500)), min_size=1, max_size=50),
    st.integers(0, 2000),
)
def test_nothing_younger_than_the_window_is_ever_forgotten(
    steps: list[tuple[float, int]], done: int
) -> None:
    """Why: the declared cut is a promise; whatever pattern the writes have."""
    log, now_s, revision = RevisionLog(), 0.0, 1
    history: list[tuple[float, int]] = []
    for pause_s, writes in steps:
        now_s, revision = now_s + pause_s, revision + writes
        log.saw(now_s, revision)
        history.append((now_s, revision))
        target = compaction_target(log, SETTINGS, now_s=now_s, revision=revision, done=done)
        young = [r for at, r in history if at > now_s - SETTINGS.longest_cut_s]
        old = [r for at, r in history if at <= now_s - SETTINGS.longest_cut_s]
        assert target <= max(old, default=0)
        assert all(target <= r for r in young)
        if target:
            assert target <= revision - SETTINGS.least_revisions
            assert target >= done + SETTINGS.compact_step


def test_a_restored_store_begins_its_log_anew() -> None:
    """Why: revisions before a restore belong to another history (G6)."""
    log = RevisionLog()
    log.saw(0, 5000)
    log.saw(10, 100)
    assert log.at_least_old(0, 10) == 100
    assert log.at_least_old(10, 10) == 0


@pytest.mark.parametrize("wrong", [{"longest_cut_s": -1}, {"least_revisions": -1}, {"high_share": 1}])  # fmt: skip
def test_settings_that_cannot_work_are_refused(wrong: dict[str, float]) -> None:
    """Why: a share of 1 acts after the alarm; the message names field and fix."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SpaceSettings(**wrong)  # type: ignore[arg-type]


def test_the_leader_is_defragmented_last() -> None:
    """Why: a leader that pauses may cost an election; if at all, once and at the end."""
    three = [member("a", leader=True, size=99), member("b", size=20), member("c", size=50)]
    assert [m.endpoint for m in in_order(three)] == ["c", "b", "a"]


def test_only_what_gives_space_back_is_defragmented() -> None:
    """Why: the member answers nothing meanwhile; a pause for a few pages is a bad bargain."""
    assert helps(member("a", size=50, used=10), SETTINGS)
    assert not helps(member("a", size=50, used=40), SETTINGS)
    assert helps(member("a", size=70, used=65), SETTINGS), "near the quota every page counts"
    assert not helps(member("a", size=70, used=70), SETTINGS)


# ---- the maintainer on members that do as they are told


@dataclass
class Cluster:
    """Members whose figures a test sets; ``done`` is what was asked, in order."""

    there: list[MemberSpace]
    endpoints: Sequence[str] = ("a", "b", "c")
    raised: list[Alarm] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    busy: int = 0
    breaks: str = ""

    async def members(self) -> tuple[MemberSpace, ...]:
        return tuple(self.there)

    async def compact(self, revision: int) -> None:
        self.done.append(f"compact {revision}")
        self.there = [replace(m, in_use_bytes=m.in_use_bytes // 4) for m in self.there]

    async def defragment(self, endpoint: str) -> None:
        self.busy += 1
        assert self.busy == 1, "two at a time"
        self.done.append(f"defragment {endpoint}")
        await asyncio.sleep(0)
        self.there = [
            replace(m, size_bytes=m.in_use_bytes) if m.endpoint == endpoint else m
            for m in self.there
            if m.endpoint != self.breaks
        ]
        self.busy -= 1

    async def alarms(self) -> tuple[Alarm, ...]:
        return tuple(self.raised)

    async def disarm(self, alarm: Alarm) -> None:
        self.done.append("disarm")
        self.raised.remove(alarm)

    async def aclose(self) -> None:
        self.done.append("closed")


def context(store: MemoryStore, clock: Clock) -> Context:
    surroundings = Surroundings(now=clock)
    state = State()
    writer = Writer(store, state, STAMP, surroundings)
    return Context("maintenance", state, writer, surroundings)


async def told(store: MemoryStore) -> list[str]:
    snapshot = await store.snapshot(EVENTS.prefix(component="maintenance"))
    return [entry.value.decode().split('"kind":"')[1].split('"')[0] for entry in snapshot.entries]


async def test_a_healthy_store_is_only_compacted() -> None:
    """Why: nothing is defragmented for tidiness, and the window is respected from the first look on."""
    cluster, clock, store = Cluster([member("a")]), Clock(), MemoryStore()
    upkeep = Maintenance(cluster, SETTINGS)
    assert await upkeep.reconcile("*space", context(store, clock)) == SETTINGS.period_s
    assert cluster.done == [], "it does not know how old anything is"
    clock.now_s += 61
    cluster.there = [member("a", revision=1200)]
    await upkeep.reconcile("*space", context(store, clock))
    await upkeep.reconcile("*space", context(store, clock))
    assert cluster.done == ["compact 1000"]
    assert await told(store) == []


async def test_before_the_alarm_history_goes_and_pages_come_back() -> None:
    """Why: the window is worth less than the next write; one member after the other, the leader last, told once."""
    fat = [member("a", leader=True, size=70, used=65), member("b", size=70, used=65)]
    fat.append(member("c", size=71, used=65))
    cluster, clock, store = Cluster(fat), Clock(), MemoryStore()
    upkeep = Maintenance(cluster, SETTINGS, needed=lambda: [3])
    await upkeep.reconcile("*space", context(store, clock))
    assert cluster.done == ["compact 1000", "defragment c", "defragment b", "defragment a"]
    assert sorted(await told(store)) == [*["store-defragmented"] * 3, "store-high"]


async def test_with_a_member_away_nobody_is_paused_for_tidiness() -> None:
    """Why: of three, one away and one defragmenting is no majority."""
    cluster = Cluster([member("a", size=70, used=10), member("b", size=70, used=10)])
    await Maintenance(cluster, SETTINGS).reconcile("*space", context(MemoryStore(), Clock()))
    assert cluster.done == ["compact 1000"]


async def test_a_member_that_does_not_come_back_stops_the_round() -> None:
    """Why: going on would take the second of three."""
    cluster = Cluster([member("a", size=70), member("b", size=75), member("c", size=70)])
    cluster.breaks = "b"
    cluster.raised = [Alarm(1, "NOSPACE")]
    with pytest.raises(Later, match="b does not answer"):
        await Maintenance(cluster, SETTINGS).reconcile("*space", context(MemoryStore(), Clock()))
    assert cluster.done == ["compact 1000", "defragment b"]


async def test_after_the_alarm_the_store_takes_writes_again() -> None:
    """Why: compact, defragment all, lift; also though a full store takes no event about it."""
    cluster, clock, store = Cluster([member("a", size=99, used=99)], ("a",)), Clock(), MemoryStore()
    cluster.raised = [Alarm(1, "NOSPACE"), Alarm(2, "NOSPACE"), Alarm(3, "CORRUPT")]

    def full(call: str, key: str) -> None:
        if call == "txn":
            raise NoSpace("full")

    store.faults.before = full
    upkeep = Maintenance(cluster, SETTINGS)
    assert await upkeep.reconcile("*space", context(store, clock)) == 5.0
    assert cluster.done == ["compact 1000", "defragment a", "disarm", "disarm"]
    assert [alarm.kind for alarm in cluster.raised] == ["CORRUPT"], "not ours to lift"


async def test_a_store_that_is_full_of_live_keys_is_not_lied_about() -> None:
    """Why: lifting the alarm would only bring it back; people must raise the quota, and are told the figures."""

    class Stubborn(Cluster):
        async def compact(self, revision: int) -> None:
            self.done.append("compact")

    cluster, store = Stubborn([member("a", size=99, used=99)], ("a",)), MemoryStore()
    cluster.raised = [Alarm(1, "NOSPACE")]
    with pytest.raises(Later, match="raise the quota"):
        await Maintenance(cluster, SETTINGS).reconcile("*space", context(store, Clock()))
    assert "disarm" not in cluster.done
    assert await told(store) == ["store-full"]


async def test_no_member_no_figures() -> None:
    """Why: nothing is decided about a store that does not answer."""
    with pytest.raises(Later, match="no member answers"):
        await Maintenance(Cluster([])).reconcile("*space", context(MemoryStore(), Clock()))


async def test_its_life_closes_its_connections() -> None:
    """Why: a connection per member that nobody closes outlives every restart."""
    cluster = Cluster([member("a")], ("a",))
    runner = Runner(Maintenance(cluster, SETTINGS), MemoryStore(), "test/maintenance")
    task = asyncio.create_task(runner.run())
    await eventually(lambda: runner.health.settled_total, "it looked", timeout_s=5)
    runner.stop()
    await asyncio.wait_for(task, 5)
    assert cluster.done == ["closed"]


# ---- the janitor


def as_janitor(store: MemoryStore, tier: Tier) -> MemoryStore:
    grants = role(tier, "janitor").grants
    return store.as_user(
        "janitor", [Grant.of(grant.target, Access[grant.access.name]) for grant in grants]
    )


async def swept(store: MemoryStore, janitor: Janitor, clock: Clock) -> None:
    """Run it, with exactly its rights, until it has looked at both."""
    runner = Runner(janitor, as_janitor(store, janitor.tier), "test", Surroundings(now=clock))
    task = asyncio.create_task(runner.run())
    await eventually(lambda: runner.health.settled_total >= 2, "it looked at both", timeout_s=5)
    runner.stop()
    await asyncio.wait_for(task, 5)
    assert not runner.health.problems


async def explain(store: MemoryStore, chain: str, as_of: float) -> str:
    key = EXPLAIN.key(component="placer", tenant="acme", chain=chain)
    stamp = Stamp(origin="placer", incarnation="x")
    await store.put(key, seal(Explanation(decision="refused", reason="no"), stamp, as_of=as_of))
    return key


@pytest.mark.parametrize("tier", list(Tier))
async def test_explanations_go_with_their_chain_after_a_while(tier: Tier) -> None:
    """Why: each dead chain leaves some hundred bytes for ever otherwise; and "why?" is asked after the end, too."""
    store, clock = MemoryStore(), Clock(100_000.0)
    old_gone = await explain(store, "gone", 0)
    young_gone = await explain(store, "just-gone", clock.now_s - 10)
    living = await explain(store, "living", 0)
    broken = EXPLAIN.key(component="intake", tenant="acme", chain="broken")
    await store.put(broken, b"garbage")
    family = REQUESTS if tier is Tier.SITE else G_INTENTS
    await store.put(family.key(tenant="acme", chain="living"), b"{}")
    await swept(store, Janitor(tier), clock)
    left = {entry.key for entry in (await store.snapshot(EXPLAIN.prefix())).entries}
    assert left == {young_gone, living}
    assert old_gone not in left


async def test_events_are_kept_by_number_per_component() -> None:
    """Why: one noisy component must not push out what the others said; fewer than the limit stay whole."""
    store = MemoryStore()
    for component, count in (("noisy", 12), ("quiet", 3)):
        for number in range(count):
            await store.put(EVENTS.key(component=component, id=f"{number:013d}-x"), b"{}")
    await swept(store, Janitor(keep=5), Clock())
    left = [entry.key for entry in (await store.snapshot(EVENTS.prefix())).entries]
    assert [key for key in left if "/quiet/" in key] == [
        EVENTS.key(component="quiet", id=f"{number:013d}-x") for number in range(3)
    ]
    assert [key for key in left if "/noisy/" in key] == [
        EVENTS.key(component="noisy", id=f"{number:013d}-x") for number in range(7, 12)
    ]


def test_the_janitor_has_no_root_and_the_maintainer_nothing_else() -> None:
    """Why: ADR 0006: deleting old events must not need the right to make users."""
    for tier in Tier:
        assert not role(tier, "janitor").root
        assert role(tier, "maintenance").root
