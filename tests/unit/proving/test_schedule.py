"""The schedule of faults on real processes: a pure function of the seed, and safe to carry out."""

from __future__ import annotations

import pytest

from isthmus.chaos.proving.faults import CUTS, TOXICS
from isthmus.chaos.proving.schedule import (
    FIRST_S,
    KINDS,
    LAST_S,
    LINK_KINDS,
    NOT_IN_THE_LAB,
    POINTS,
    RESTORED,
    REVOKED,
    Fault,
    schedule,
)
from isthmus.failpoint import FAILPOINTS

SEEDS = range(40)


def test_the_same_seed_is_the_same_schedule_and_another_is_another() -> None:
    """Why: a promise that broke is told with the seed that broke it."""
    assert schedule(7, 300) == schedule(7, 300)
    assert schedule(7, 300) != schedule(8, 300)


@pytest.mark.parametrize("seed", SEEDS)
def test_all_is_over_before_the_end_and_nothing_is_touched_twice_at_once(seed: int) -> None:
    """Why: a fault on top of another of the same thing ends both, and nobody knows which one was judged."""
    faults = schedule(seed, 240)
    assert len(faults) > 10
    for fault in faults:
        assert fault.at_s >= FIRST_S
        assert fault.end_s <= 240 - LAST_S
    for index, one in enumerate(faults):
        for other in faults[index + 1 :]:
            if other.at_s < one.end_s + one.rest_s - 0.01:
                assert not one.touches & other.touches, (one, other)


def test_a_link_is_never_disturbed_while_an_end_is_frozen() -> None:
    """Why: the proxy loses bytes when a toxic is taken off a receiver that does not read (measured)."""
    frozen = Fault(0, "frozen", "global.gateway", 5)
    assert all(frozen.touches & Fault(0, "silent", site, 5).touches for site in ("milan", "zurich"))
    own = Fault(0, "frozen", "paris.link", 5)
    assert own.touches & Fault(0, "late", "paris", 5).touches
    assert not Fault(0, "frozen", "paris.controllers", 5).touches & own.touches


def test_every_kind_comes_by() -> None:
    """Why: a kind that is never dealt is coverage that lies."""
    dealt = {fault.kind for fault in schedule(1, 1200)}
    assert dealt == {kind.removesuffix("-2") for kind in KINDS}
    assert set(LINK_KINDS) == {*TOXICS, REVOKED}
    assert {*TOXICS, REVOKED} > CUTS


def test_failpoints_are_declared_and_restores_hit_only_the_one_store() -> None:
    """Why: an order for a name that does not exist arms nothing, and the run would prove nothing."""
    assert {point for points in POINTS.values() for point in points} <= FAILPOINTS.keys()
    targets = {
        fault.target for seed in SEEDS for fault in schedule(seed, 600) if fault.kind == "restored"
    }
    assert targets == {f"{RESTORED}.etcd"}


def test_every_failpoint_of_the_lab_is_dealt_in_its_process() -> None:
    """Why: a step at which no real process ever dies is one that only the simulation knows."""
    listed = {point for points in POINTS.values() for point in points}
    assert {name for name in FAILPOINTS if not name.startswith(NOT_IN_THE_LAB)} == listed
    assert not [name for name in listed if name.startswith(NOT_IN_THE_LAB)]
    dealt = {
        (fault.target.partition(".")[2], fault.detail)
        for seed in range(60)
        for fault in schedule(seed, 900, ("failpoint",))
    }
    meant = {
        (process.partition(".")[2], point) for process, points in POINTS.items() for point in points
    }
    assert dealt == meant


def test_kinds_can_be_chosen() -> None:
    """Why: the short set of CI leaves out what a loaded machine cannot be judged by."""
    assert {fault.kind for fault in schedule(3, 120, ("silent",))} == {"silent"}


def test_every_toxic_the_proxy_has_for_a_line_is_played() -> None:
    """Why: latency, jitter, bandwidth, slicer, reset, one-way cut, time-out and slow close were asked for by name."""
    played = {kind for kind, _, _ in TOXICS.values()}
    assert played == {"latency", "bandwidth", "slicer", "reset_peer", "timeout", "slow_close"}
    assert any(attributes.get("jitter") for _, attributes, _ in TOXICS.values())
    one_way = {streams for _, given, streams in TOXICS.values() if given == {"rate": 0}}
    assert {("upstream",), ("downstream",)} <= one_way
    ended, endless = TOXICS["stalls"][1], TOXICS["lossy"][1]
    assert ended["timeout"] > 0 == endless["timeout"]
