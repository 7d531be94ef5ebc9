"""Which words of a site are a refusal that is acted on, what may be asked of whom, and what is held while it moves."""

from __future__ import annotations

import pytest

from isthmus.contract import Envelope, Stamp, seal, unseal
from isthmus.contract.chain import (
    ChainStatus,
    Explanation,
    FunctionStatus,
    Phase,
    RefusedRequest,
    Segment,
    Terminal,
)
from isthmus.contract.world import PlacedSegment, Placement, SiteRefusal
from isthmus.global_tier import refusals
from isthmus.global_tier.refusals import PATIENCE_S, Place, Said

NOW = 1_000.0
RUNNING = FunctionStatus(function="fw", phase="running")


def part(site: str, *functions: str, epoch: int = 9) -> PlacedSegment:
    end = Terminal(kind="attachment", name="a")
    segment = Segment.model_validate(
        {"tenant": "acme", "chain": "web", "left": end, "right": end, "epoch": epoch,
         "functions": [{"name": name, "type": "nat"} for name in functions]}
    )  # fmt: skip
    return PlacedSegment(site=site, segment=segment)


def told(status: ChainStatus) -> Envelope[ChainStatus]:
    return unseal(seal(status, Stamp(origin="test", incarnation="1"), as_of=NOW), ChainStatus)


def says(
    status: ChainStatus, *, functions: tuple[str, ...] = ("fw",), since: bool = True
) -> Said | None:
    return refusals.refusal(part("paris", *functions), 9, told(status), since=since)


def no(epoch: int = 9, constraint: str = "capacity", since_s: float = 0.0) -> RefusedRequest:
    return RefusedRequest(epoch=epoch, constraint=constraint, reason="full", since_s=since_s)


def test_a_refusal_of_this_placement_counts() -> None:
    """Why: phase, reason and constraint are what the answer is made of."""
    found = says(ChainStatus(phase=Phase.REFUSED, reason="long", refused=no()))
    assert found == Said("paris", "capacity", "full")
    bare = says(ChainStatus(phase=Phase.REFUSED, refused=no()), functions=())
    assert bare is not None
    assert bare.bare


def test_a_refusal_of_another_placement_is_not_one_of_this() -> None:
    """Why: the old word is still there when the site is asked again; counted, no second try would ever be one."""
    assert says(ChainStatus(phase=Phase.REFUSED, refused=no(epoch=8))) is None


def test_a_site_that_knows_a_newer_decision_refuses_nothing() -> None:
    """Why: after a restore of the tier's store the site is told a newer epoch; moving the chain would be wrong."""
    assert says(ChainStatus(phase=Phase.RUNNING, epoch=12, refused=no(constraint="epoch"))) is None


def test_a_chain_that_carries_everything_is_not_moved() -> None:
    """Why: a site's placer may refuse today what stands since yesterday; its packets flow."""
    whole = ChainStatus(
        phase=Phase.DEGRADED, epoch=9, hops=2, connected_hops=2, functions=(RUNNING,), refused=no()
    )
    assert says(whole) is None
    assert says(whole.model_copy(update={"connected_hops": 1})) is not None
    assert says(whole.model_copy(update={"hops": 0, "connected_hops": 0})) is not None
    ill = RUNNING.model_copy(update={"phase": "lost"})
    assert says(whole.model_copy(update={"functions": (ill,)})) is not None


def test_what_a_site_took_once_is_left_there_for_a_while() -> None:
    """Why: a site that restarts has no hosts for some seconds and says so; moving all its chains would be an outage."""
    broken = ChainStatus(phase=Phase.DEGRADED, epoch=9, hops=2)
    fresh, old = no(since_s=NOW - PATIENCE_S + 1), no(since_s=NOW - PATIENCE_S)
    assert says(broken.model_copy(update={"refused": fresh})) is None
    assert says(broken.model_copy(update={"refused": old})) is not None
    never = broken.model_copy(update={"phase": Phase.REFUSED, "refused": fresh})
    assert says(never) is not None, "nothing stands there: nothing to be patient for"


def test_a_newer_request_is_refused_while_the_older_one_runs() -> None:
    """Why: the old version carries, so nobody called it refused, and the new one was never tried elsewhere."""
    older = ChainStatus(phase=Phase.RUNNING, epoch=5, hops=1, connected_hops=1, refused=no())
    assert says(older) is not None


def test_a_site_of_the_version_before_is_heard() -> None:
    """Why: it tells no epoch with a refusal; only one that came after the placement can be about it."""
    old = ChainStatus(phase=Phase.REFUSED, reason="full")
    assert says(old) == Said("paris", "", "full")
    assert says(old, since=False) is None
    assert says(old.model_copy(update={"epoch": 8})) is None
    assert says(ChainStatus(phase=Phase.PENDING)) is None


@pytest.mark.parametrize(
    ("constraint", "bare", "whole"),
    [("capacity", False, False), ("capacity", True, True), ("attachment", False, True)],
)
def test_the_end_of_a_chain_may_be_asked_for_less(constraint: str, bare: bool, whole: bool) -> None:
    """Why: who has no room for a function may still have the customer's circuit; who has none need not be asked."""
    memory = refusals.noted((), [Said("paris", constraint, "x", bare)], 9, NOW)
    assert memory[0].whole is whole
    assert refusals.asked_too_early(memory, [part("paris", "fw")], NOW) is not None
    again = refusals.asked_too_early(memory, [part("rome", "fw"), part("paris")], NOW)
    assert (again is not None) is whole
    assert refusals.asked_too_early(memory, [part("paris", "fw")], NOW + 30) is None


def test_it_is_said_who_refused_and_why_there_is_no_other() -> None:
    """Why: "refused" alone sends a customer to the wrong door; the wait must be named, or he asks every minute."""
    memory = refusals.noted((), [Said("paris", "capacity", "no room")], 8, NOW)
    memory = refusals.noted(memory, [Said("rome", "revoked", "not for you")], 9, NOW)
    because = Explanation(decision="refused", constraint="sites", reason="sites: none of 2")
    said = refusals.waiting(memory, 9, because, NOW)
    assert said.reason == (
        "site rome refused: not for you; site paris refused: no room; "
        "no other permitted site, because sites: none of 2"
    )
    assert refusals.is_waiting(said)
    assert [one.name for one in said.candidates] == ["rome", "paris"]
    assert "again after 30 s" in said.candidates[0].verdict
    assert not refusals.is_waiting(because)
    assert not refusals.is_waiting(None)


def test_the_same_words_are_not_thought_over_again_until_somebody_may_be_asked() -> None:
    """Why: a report comes every few seconds, and a search for a place costs as much as for a new chain."""
    memory = refusals.noted((), [Said("paris", "capacity", "no room")], 9, NOW)
    current = placement("paris", refusals_=memory)
    said = Explanation(decision="refused", constraint=refusals.BELOW, reason="x")
    assert refusals.still(memory, current, said, NOW + 29)
    assert not refusals.still(memory, current, said, NOW + 30), "the back-off is over"
    assert not refusals.still(memory, placement("paris"), said, NOW), "it is not remembered yet"
    assert not refusals.still(memory, current, None, NOW), "nobody was told yet"


def placement(
    *sites: str, epoch: int = 9, refusals_: tuple[SiteRefusal, ...] = (), bare: str = "milan"
) -> Placement:
    segments = tuple(part(one, *(() if one == bare else ("fw",)), epoch=epoch) for one in sites)
    return Placement(epoch=epoch, functions=(), segments=segments, refusals=refusals_)


def report(epoch: int, *, connected: int = 1, running: bool = True) -> ChainStatus:
    functions = (RUNNING,) if running else ()
    return ChainStatus(
        phase=Phase.RUNNING, epoch=epoch, hops=2, connected_hops=connected, functions=functions
    )


REFUSED = refusals.noted((), [Said("milan", "capacity", "no room")], 7, NOW)
MILAN, PARIS = ("milan", "web"), ("paris", "web")
TOLD = {MILAN: part("milan", "fw", epoch=7).segment}


@pytest.mark.parametrize(
    ("at_paris", "holds"),
    [
        (None, True),
        (report(9, running=False), True),
        (report(8), True),
        (report(9).model_copy(update={"phase": Phase.REFUSED}), True),
        (report(9).model_copy(update={"refused": no()}), True),
        (report(9), False),
    ],
)
def test_what_carries_is_left_until_the_new_part_is_made(
    at_paris: ChainStatus | None, holds: bool
) -> None:
    """Why: told both at once, the site that carries stops first, and if the other refuses, too, nothing carries."""
    reports: dict[Place, ChainStatus] = {MILAN: report(5)}
    if at_paris is not None:
        reports[PARIS] = at_paris
    now = placement("milan", "paris", refusals_=REFUSED)
    assert refusals.held(now, TOLD, reports) == (frozenset({"milan"}) if holds else frozenset())


def test_a_second_part_at_a_site_that_is_held_waits_too() -> None:
    """Why: a chain that comes back to milan needs the circuit there that the old part still has: milan refused it, and
    nobody would ever have moved (found by simulation)."""
    back = part("milan").model_copy(
        update={"segment": part("milan").segment.model_copy(update={"chain": "web.2"})}
    )
    now = placement("milan", "paris", refusals_=REFUSED)
    now = now.model_copy(update={"segments": (*now.segments, back)})
    reports = {MILAN: report(5), PARIS: report(9)}
    assert refusals.held(now, TOLD, reports) == frozenset(), "it is not waited for"
    assert refusals.held(now, TOLD, {MILAN: report(5)}) == {"milan"}


def test_only_what_carries_an_older_one_is_held() -> None:
    """Why: a change of its owner's must not wait, nor a part that carries nothing; nor may the wait lock itself."""
    now = placement("milan", "paris", refusals_=REFUSED)
    assert refusals.held(placement("milan", "paris"), TOLD, {MILAN: report(5)}) == frozenset()
    assert refusals.held(now, TOLD, {MILAN: report(5, connected=0)}) == frozenset()
    assert refusals.held(now, TOLD, {}) == frozenset()
    newer = {MILAN: part("milan", "fw", epoch=9).segment}
    assert refusals.held(now, newer, {MILAN: report(5)}) == frozenset(), "it is told already"
    alone = placement("milan", refusals_=REFUSED)
    assert refusals.held(alone, TOLD, {MILAN: report(5)}) == frozenset(), "nobody to wait for"
