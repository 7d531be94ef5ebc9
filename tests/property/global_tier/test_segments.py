"""Cutting a chain into segments, for any way through the sites: nothing lost, doubled, turned round or left loose."""

from __future__ import annotations

import itertools
from collections import Counter

from hypothesis import example, given
from hypothesis import strategies as st

from isthmus.contract.chain import ChainSpec
from isthmus.contract.world import PlacedSegment
from isthmus.contract.world import Placement as Record
from isthmus.global_tier.sites import record
from isthmus.placement import Placement

SITES = ("ams", "ber", "cph", "dub")
site = st.sampled_from(SITES)
Stops = tuple[str, ...]
stops_of_any_chain = st.lists(site, min_size=3, max_size=10).map(tuple)


def placed(stops: Stops, *, epoch: int = 1, pairs: tuple[tuple[int, int], ...] = ()) -> Record:
    """The record of a chain whose functions are at the inner stops. Routes go over a fifth site."""
    names = [f"f{index}" for index in range(len(stops) - 2)]
    spec = ChainSpec.model_validate(
        {
            "tenant": "acme",
            "chain": "web",
            "ingress": {"site": stops[0], "attachment": "left"},
            "egress": {"site": stops[-1], "attachment": "right"},
            "functions": [{"name": name, "type": "firewall"} for name in names],
            "constraints": {"anti_affinity": [[names[a], names[b]] for a, b in pairs]},
        }
    )
    routes = tuple((a,) if a == b else (a, "transit", b) for a, b in itertools.pairwise(stops))
    answer = Placement(
        chain="acme/web",
        sites=stops[1:-1],
        hops=tuple(tuple(f"{a}>{b}" for a, b in itertools.pairwise(route)) for route in routes),
        routes=routes,
        latency_ns=1000,
        cost=1.0,
        lower_bound=0.0,
    )
    return record(spec, answer, epoch=epoch, intent_revision=1, decided_by="test")


def functions_of(segments: tuple[PlacedSegment, ...]) -> list[tuple[str, str]]:
    """Function and site, in the order of the segments."""
    return [(f.name, one.site) for one in segments for f in one.segment.functions]


@given(stops_of_any_chain)
@example(("ams", "ams", "ams"))
@example(("ams", "ber", "ams"))
@example(("ams", "ber", "ams", "ber", "ams"))
@example(("ams", "ams", "ber"))
def test_every_function_is_at_its_site_exactly_once_in_order(stops: Stops) -> None:
    """Why: this is what the customer bought (R15)."""
    made = placed(stops)
    assert functions_of(made.segments) == [
        (f"f{index}", where) for index, where in enumerate(stops[1:-1])
    ]


@given(stops_of_any_chain)
@example(("ams", "ber", "ams"))
def test_segments_join_from_one_end_to_the_other(stops: Stops) -> None:
    """Why: the right end of each segment is the left end of the next, over a wire between exactly these two sites."""
    made = placed(stops)
    segments = made.segments
    first, last = segments[0].segment.left, segments[-1].segment.right
    assert (first.kind, first.name) == ("attachment", "left")
    assert (last.kind, last.name) == ("attachment", "right")
    wires = {wire.wire: wire for wire in made.wires}
    for left, right in itertools.pairwise(segments):
        joint = left.segment.right
        assert joint.kind == "wire"
        assert joint == right.segment.left
        wire = wires.pop(joint.name)
        assert (wire.left_site, wire.right_site) == (left.site, right.site)
        assert wire.route == (left.site, "transit", right.site)
    assert wires == {}, "no wire hangs loose"


@given(stops_of_any_chain)
def test_a_segment_is_as_long_as_it_can_be(stops: Stops) -> None:
    """Why: two neighbouring segments at one site would be a wire from a site to itself."""
    made = placed(stops)
    assert [one.site for one in made.segments] == [where for where, _ in itertools.groupby(stops)]
    assert len(made.wires) == len(made.segments) - 1
    assert all(wire.left_site != wire.right_site for wire in made.wires)


@given(stops_of_any_chain)
@example(("ams", "ber", "ams", "ber", "ams"))
def test_no_two_segments_of_a_site_share_a_name(stops: Stops) -> None:
    """Why: a hair-pin visits a site twice; the outbox has one key per name, so one would overwrite the other."""
    made = placed(stops)
    names = Counter((one.site, one.segment.chain) for one in made.segments)
    assert set(names.values()) == {1}
    for one in made.segments:
        assert one.segment.chain.partition(".")[0] == "web"


@given(stops_of_any_chain, st.integers(1, 50))
def test_names_of_wires_are_those_of_their_epoch(stops: Stops, epoch: int) -> None:
    """Why: the same decision must name the same wires (a restart), and the next decision others (make before break)."""
    now, again, later = (
        placed(stops, epoch=epoch),
        placed(stops, epoch=epoch),
        placed(stops, epoch=epoch + 1),
    )
    names = {wire.wire for wire in now.wires}
    assert len(names) == len(now.wires)
    assert now == again
    assert not names & {wire.wire for wire in later.wires}
    assert all(one.segment.epoch == epoch for one in now.segments)


@given(stops_of_any_chain, st.data())
def test_a_site_is_told_of_pairs_that_are_both_its_own(stops: Stops, data: st.DataObject) -> None:
    """Why: a pair over two sites is kept apart by being there; naming it would tell a site of a function it has not."""
    count = len(stops) - 2
    pairs: tuple[tuple[int, int], ...] = ()
    if count >= 2:
        index = st.integers(0, count - 1)
        pair = st.tuples(index, index).filter(lambda two: two[0] != two[1])
        pairs = tuple(data.draw(st.lists(pair, max_size=4)))
    made = placed(stops, pairs=pairs)
    for one in made.segments:
        own = {function.name for function in one.segment.functions}
        told = {tuple(pair) for pair in one.segment.anti_affinity}
        assert all(set(pair) <= own for pair in told)
        assert told == {(f"f{a}", f"f{b}") for a, b in pairs if {f"f{a}", f"f{b}"} <= own}
