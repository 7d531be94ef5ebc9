"""``prove --only kills``: deaths at random, a pure function of the seed, that leave links a moment to be judged in."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from signal import Signals
from typing import Any, cast

import pytest

from isthmus.chaos.history import Header, Record, Recorder
from isthmus.chaos.proving import _chosen
from isthmus.chaos.proving.faults import Hands
from isthmus.chaos.proving.kills import KILLS, REST_S, VICTIMS, kills, plan
from isthmus.chaos.proving.schedule import CALM, FIRST_S, KINDS, LAST_S, SITES, Fault, schedule
from isthmus.deploy.errors import DeployError

SEEDS = range(30)


@dataclass
class Keeper:
    """A supervisor whose processes are dead until they are asked whether they are ready; the lab's files, too."""

    folder: Path
    dead: set[str] = field(default_factory=set)
    loading: set[str] = field(default_factory=set)
    """These run, and do not work yet."""

    def kill(self, name: str, number: Signals) -> bool:
        """False: it was dead already."""
        landed = name not in self.dead
        self.dead.add(name)
        return landed

    async def wait_ready(self, name: str, timeout_s: float) -> None:
        """It is back."""
        self.dead.discard(name)
        if name not in self.loading:
            self.tell(name)

    def tell(self, name: str) -> None:
        """What each end of a link does when it works."""
        path = self.path(name.partition(".")[0], "links.json")
        before = path.stat().st_mtime_ns if path.exists() else 0
        path.write_text("")
        os.utime(path, ns=(before + 1, before + 1))

    def path(self, tier: str, name: str) -> Path:
        """One file a tier."""
        return self.folder / f"{tier}-{name}"


def hands(keeper: Keeper) -> tuple[Hands, list[Record]]:
    """Real hands on nothing, and what they tell."""
    records: list[Record] = []
    header = Header(
        source="processes", seed=1, commit="c", world="w", versions={}, command="", clock="t",
        promises=(),
    )  # fmt: skip
    lab = type("Lab", (), {"supervisor": keeper, "files": keeper})()
    recorder = Recorder(records.append, header, lambda: 0.0)
    done = Hands(cast(Any, lab), cast(Any, None), recorder, {}, lambda *_: None, lambda _: 3)
    return done, records


def healed(records: list[Record]) -> list[str]:
    """Links that are said to work again."""
    return [record.text("link") for record in records if record.what == "heal"]


def test_the_same_seed_kills_the_same_at_the_same_moments() -> None:
    """Why: a promise that broke is told with the seed that broke it."""
    assert kills(7, 600) == kills(7, 600)
    assert kills(7, 600) != kills(8, 600)


@pytest.mark.parametrize("seed", SEEDS)
def test_each_burst_ends_in_a_calm_in_which_a_link_can_be_judged(seed: int) -> None:
    """Why: without it no heal would ever have its 5 s, and G4 would have no data however often somebody died."""
    planned = kills(seed, 300)
    assert planned
    assert planned[-1].detail == CALM, "the last one, too"
    assert planned[0].at_s >= FIRST_S
    assert planned[-1].at_s + REST_S <= 300 - LAST_S + 0.01
    for one, following in pairwise(planned):
        pause_s = following.at_s - one.at_s
        assert pause_s >= REST_S - 0.01 if one.detail else 0 < pause_s < 5


@pytest.mark.parametrize("seed", SEEDS)
def test_everybody_who_is_named_dies_and_ten_minutes_are_many_deaths(seed: int) -> None:
    """Why: the promise names gateway, site agent and either etcd; who is never dealt was never tried."""
    planned = kills(seed, 600)
    assert {fault.target for fault in planned} == set(VICTIMS)
    assert {fault.kind for fault in planned} == {"killed"}
    assert len(planned) > 120


def test_both_ends_of_a_link_are_dead_at_once_now_and_then() -> None:
    """Why: that is what the other schedule never does, since its faults leave each other alone."""
    gateway, both = "global.gateway", 0
    for seed in SEEDS:
        planned = kills(seed, 600)
        for one, following in pairwise(planned):
            ends = {one.target, following.target}
            near = following.at_s - one.at_s < 0.5
            both += near and gateway in ends and bool(ends & {f"{site}.link" for site in SITES})
    assert both > len(SEEDS) / 2


def test_the_plan_is_the_kills_only_when_they_are_asked_for() -> None:
    """Why: one seed means one thing; the deck of kinds is what it was."""
    assert plan(3, 120, (KILLS,)) == kills(3, 120)
    assert plan(3, 120, KINDS) == schedule(3, 120, KINDS)


async def test_links_are_healed_when_the_last_of_the_burst_is_back(tmp_path: Path) -> None:
    """Why: a heal told earlier is cut again by the next death, and the judge would call that a broken promise."""
    acting, records = hands(Keeper(tmp_path))
    first = Fault(1.0, "killed", "milan.link", 0.0)
    last = Fault(1.5, "killed", "milan.etcd", 0.0, CALM)
    await acting.begin(first)
    await acting.begin(last)
    await acting.end(last)
    assert healed(records) == [], "one is still coming back"
    await acting.end(first)
    assert healed(records) == ["milan>global", "global>milan"]


async def test_an_end_that_is_still_being_loaded_is_no_link_that_could_work(tmp_path: Path) -> None:
    """Why: on a busy machine a program is loaded for seconds, and its link would be blamed for them (G4)."""
    keeper = Keeper(tmp_path, loading={"milan.link"})
    keeper.tell("milan.link")  # by its life before
    acting, records = hands(keeper)
    fault = Fault(1.0, "killed", "milan.link", 0.0, CALM)
    await acting.begin(fault)
    ending = asyncio.create_task(acting.end(fault))
    done, _ = await asyncio.wait({ending}, timeout=0.2)
    assert not done
    assert healed(records) == []
    keeper.tell("milan.link")
    await asyncio.wait_for(ending, 10)
    assert healed(records) == ["milan>global", "global>milan"]


async def test_a_gateway_heals_every_link_and_a_burst_is_told_once(tmp_path: Path) -> None:
    """Why: a link that nobody disturbed is no sample, and one that was must not be forgotten."""
    acting, records = hands(Keeper(tmp_path))
    for fault in (
        Fault(1.0, "killed", "paris.agent.h1", 0.0, CALM),
        Fault(20.0, "killed", "global.gateway", 0.0, CALM),
        Fault(40.0, "killed", "paris.agent.h1", 0.0, CALM),
    ):
        await acting.begin(fault)
        await acting.end(fault)
    assert len(healed(records)) == 2 * len(SITES)


async def test_a_death_in_the_other_schedule_tells_of_no_heal(tmp_path: Path) -> None:
    """Why: there nothing says that the link is left alone afterwards."""
    acting, records = hands(Keeper(tmp_path))
    fault = Fault(1.0, "killed", "milan.link", 4.0)
    await acting.begin(fault)
    await acting.end(fault)
    assert healed(records) == []


async def test_a_kill_of_the_dead_is_counted_as_such(tmp_path: Path) -> None:
    """Why: figures must not boast of deaths that hit nobody."""
    acting, _ = hands(Keeper(tmp_path))
    fault = Fault(1.0, "killed", "milan.link", 0.0)
    await acting.begin(fault)
    await acting.begin(Fault(1.1, "killed", "milan.link", 0.0, CALM))
    assert acting.counts == {"killed": 1, "killed while dead": 1}


def test_a_choice_that_proves_nothing_is_refused_by_name() -> None:
    """Why: a run without the fault that was meant proves nothing."""
    assert _chosen((), ()) == [*KINDS]
    assert _chosen(("silent", "late"), ("late",)) == ["silent"]
    assert _chosen((KILLS,), ()) == [KILLS]
    with pytest.raises(DeployError, match=r"earthquake.*or kills alone"):
        _chosen(("earthquake",), ())
    with pytest.raises(DeployError, match="--without earthquake"):
        _chosen((), ("earthquake",))
    with pytest.raises(DeployError, match="schedule of its own"):
        _chosen((KILLS, "silent"), ())
    with pytest.raises(DeployError, match="leaves no kind"):
        _chosen(("silent",), ("silent",))
