"""What counts as a site's own work, and what is left out: G1 in the simulated carrier is judged by these records."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import cast

import pytest
from tests.unit.proving.tale import Tale

from isthmus.chaos.history import Outcome
from isthmus.chaos.simulation.hollow_site import STAMP
from isthmus.chaos.simulation.local_work import LOCAL_S, RECOVERY_S, LocalWork
from isthmus.chaos.simulation.schedule import Fault, Schedule
from isthmus.chaos.simulation.stores import StoreServer
from isthmus.chaos.simulation.world_carrier import CarrierWorld
from isthmus.contract import seal
from isthmus.contract.chain import ChainStatus, Phase
from isthmus.contract.families import DESIRED, RUNTIME, STATUS
from isthmus.contract.instance import InstanceRuntime

CHAIN = STATUS.key(tenant="acme", chain="own")
ORDER = DESIRED.key(host="h1", instance="i-1")
LIFE = RUNTIME.key(host="h1", instance="i-1")


class House:
    """As much of a world as the observer looks at: one site, its store, its schedule."""

    def __init__(self, *faults: Fault) -> None:
        self.tale = Tale()
        self.store = StoreServer(
            "milan",
            lambda: self.tale.now_s,
            random.Random(1),
            lambda server, revision, events: self.work.committed(server, events),
        )
        self.process = SimpleNamespace(outside_calls=0)
        world = SimpleNamespace(
            record=self.tale.say,
            servers={"milan": self.store},
            hosts={"milan": SimpleNamespace(facts=SimpleNamespace(host="h1"))},
            schedule=Schedule("carrier", 1, faults, 20.0),
            now_s=lambda: self.tale.now_s,
            on_machine=lambda site: [self.process],
        )
        self.work = LocalWork(cast(CarrierWorld, world))

    def at(self, now_s: float) -> House:
        self.tale.now_s = now_s
        return self

    def ask(self, revision: int | None = 7, op: str = "place") -> House:
        self.work.asked("milan", CHAIN, op, revision, self.tale.now_s)
        return self

    def tells(self, phase: Phase, revision: int = 7) -> House:
        status = ChainStatus(phase=phase, request_revision=revision)
        self.store.mvcc.put(CHAIN, seal(status, STAMP, as_of=0.0))
        return self

    def lives(self, incarnation: int, phase: str = "running") -> House:
        life = InstanceRuntime.model_validate(
            {"instance": "i-1", "incarnation": incarnation, "phase": phase}
        )
        self.store.mvcc.put(LIFE, seal(life, STAMP, as_of=0.0))
        return self

    def told(self) -> list[tuple[str, bool, bool, bool]]:
        """op, ok, cut, other fault."""
        return [
            (one.text("op"), one.flag("ok"), one.flag("cut"), one.flag("other_fault"))
            for one in self.tale.records
            if one.what == "local"
        ]


def test_a_wish_is_done_when_its_own_revision_runs() -> None:
    """Why: the status of the wish before it says "running" all the time."""
    house = House().tells(Phase.RUNNING, 6).ask(7).at(0.5).tells(Phase.RUNNING, 6)
    assert house.told() == []
    assert house.at(1.0).tells(Phase.PENDING).told() == []
    assert house.at(1.5).tells(Phase.RUNNING).told() == [("place", True, False, False)]
    assert house.tale.records[-1].number("took_s") == 1.5


def test_an_end_is_done_when_the_chain_is_gone() -> None:
    """Why: taking back is as much the site's own work; what never stood says nothing about it."""
    house = House().ask(None, "delete")
    assert house.tells(Phase.RUNNING).told() == []
    house.ask(None, "delete").at(0.2).store.mvcc.delete(CHAIN)
    assert house.told() == [("delete", True, False, False)]


@pytest.mark.parametrize(
    ("fault", "cut", "other"),
    [
        (Fault(4.0, "line.cut", "milan", 2.0), True, False),
        (Fault(5.5, "line.half-open", "milan", 2.0), True, False),
        (Fault(4.0, "line.cut", "milan", 0.5), False, False),
        (Fault(4.0, "line.delay", "milan", 2.0), False, False),
        (Fault(4.0, "line.cut", "paris", 2.0), False, False),
        (Fault(4.0, "process.crash", "milan.link", 2.0), False, False),
        (Fault(4.0, "process.crash", "milan.placer", 0.2), False, True),
        (Fault(4.0, "store.away", "global", 2.0), False, False),
        (Fault(4.0, "store.away", "milan", 0.2), False, True),
        (Fault(4.9 - RECOVERY_S, "store.away", "milan", 0.0), False, False),
        (Fault(6.5, "store.away", "milan", 1.0), False, False),
    ],
)
def test_the_schedule_says_what_hit_the_site_meanwhile(
    fault: Fault, cut: bool, other: bool
) -> None:
    """Why: a slow placer that was killed just now is no word about a cut; a cut of somebody else's line is none."""
    house = House(fault).at(5.0).ask().at(6.0).tells(Phase.RUNNING)
    assert house.told() == [("place", True, cut, other)]


def test_what_is_not_done_in_time_has_failed() -> None:
    """Why: waiting for the end of the cut is what G1 forbids, however well it ends."""
    cut = Fault(0.0, "line.cut", "milan", 8.0)
    late = House(cut).ask().at(LOCAL_S + 0.1).tells(Phase.RUNNING)
    assert late.told() == [("place", False, True, False)]
    never = House(cut).ask().at(LOCAL_S + 0.1)
    never.work.conclude()
    assert never.told() == [("place", False, True, False)]
    assert never.tale.judge("G1").outcome is Outcome.BROKEN


def test_what_was_taken_back_before_it_could_be_done_says_nothing() -> None:
    """Why: a customer who changes his mind every second is no failure of the site."""
    house = House().ask(7).at(1.0).ask(8)
    house.work.restored("milan")
    house.at(9.0).tells(Phase.RUNNING, 8).work.conclude()
    assert house.told() == []


def test_a_call_outside_is_counted() -> None:
    """Why: who needs somebody outside works only as long as nothing is cut in earnest."""
    house = House(Fault(0.0, "line.cut", "milan", 8.0))
    house.process.outside_calls = 5
    house.ask()
    house.process.outside_calls += 1
    house.at(0.1).tells(Phase.RUNNING)
    assert house.tale.records[-1].whole("outside_calls") == 1
    assert house.tale.judge("G1").outcome is Outcome.BROKEN


def test_a_healing_ends_with_the_next_life_and_is_not_its_own_excuse() -> None:
    """Why: the loss itself is in the schedule, too; it must not leave out every healing there is."""
    house = House(Fault(1.0, "instance.lost", "milan"), Fault(0.5, "line.cut", "milan", 4.0))
    house.store.mvcc.put(ORDER, b"")
    house.lives(1).at(1.0).work.lost("milan", "i-1")
    assert house.at(1.1).lives(1, "lost").at(1.2).lives(2, "starting").told() == []
    assert house.at(1.3).lives(2).told() == [("heal", True, True, False)]
    assert house.tale.judge("G1").outcome is Outcome.KEPT


def test_who_is_not_wanted_any_more_is_not_healed() -> None:
    """Why: nobody waits for the next life of what was withdrawn."""
    house = House().lives(1)
    house.work.lost("milan", "i-1")
    house.store.mvcc.put(ORDER, b"")
    house.work.lost("milan", "i-1")
    house.store.mvcc.delete(ORDER)
    house.at(9.0).lives(1, "lost").work.conclude()
    assert house.told() == []
