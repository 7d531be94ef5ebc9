"""Refused pairs and prices carry proofs, too: the checker agrees, and forged ones fall."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tests.property.placement.cases import chains, networks, problems

from isthmus.chaos.every_way import EveryWay
from isthmus.placement.checker import check_refusal
from isthmus.placement.model import ChainDemand, Function, Link, Network, Placement, Refusal, Site
from isthmus.placement.online import place
from isthmus.placement.refusals import explain_refused
from isthmus.placement.usage import Usage

Problem = tuple[Network, list[ChainDemand]]


@settings(max_examples=60, deadline=None)
@given(problems(most=3))
def test_a_pair_is_refused_only_when_there_is_none_and_with_a_proof(problem: Problem) -> None:
    """An "undecided" backup told nobody whether to build a link or to wait."""
    network, wanted = problem
    usage = Usage(network, fast=False)
    for chain in (replace(c, backup=True) for c in wanted):
        beside = list(usage.placed.values())
        answer = place(usage, chain, reasons=False)
        if isinstance(answer, Placement):
            assert answer.backup is not None
            forged = {"proof": "pairs", "nodes": []}
            assert check_refusal(network, chain, forged, beside) != ()
            usage.apply(chain, answer)
            continue
        assert answer.kind in ("alone", "residual")
        accepted = beside if answer.kind == "residual" else []
        assert EveryWay(network, accepted).least(chain) is None
        assert check_refusal(network, chain, answer.certificate, accepted) == ()
        if answer.kind == "residual":
            assert check_refusal(network, chain, answer.certificate, beside) == ()


# Few drawn problems are refused by this proof: filtering is how they are found.
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(st.data())
def test_no_part_of_the_tree_can_be_left_out(data: st.DataObject) -> None:
    """A tree with a hole proves nothing about the branch that is not there."""
    network = data.draw(networks())
    chain = replace(data.draw(chains(network)), backup=True)
    answer = place(Usage(network, fast=False), chain, reasons=False)
    assume(isinstance(answer, Refusal) and answer.certificate.get("proof") == "pairs")
    assert isinstance(answer, Refusal)
    whole: dict[str, Any] = copy.deepcopy(dict(answer.certificate))
    for i in range(len(whole["nodes"])):
        holed = {**whole, "nodes": whole["nodes"][:i] + whole["nodes"][i + 1 :]}
        assert check_refusal(network, chain, holed) != ()
    broken: tuple[dict[str, Any], ...] = ({"nodes": [{}]}, {"nodes": 3}, {})
    for malformed in broken:
        assert check_refusal(network, chain, {"proof": "pairs", **malformed}) != ()
    assert check_refusal(network, replace(chain, backup=False), whole) != ()


@settings(max_examples=50, deadline=None)
@given(problems(most=4), st.sampled_from([0.0, 0.002, 0.01]), st.booleans())
def test_too_dear_is_proved_too(problem: Problem, worth: float, backup: bool) -> None:
    """ "Price" is a claim about every place there is; a batch must not make it unproved."""
    network, wanted = problem
    usage = Usage(network, fast=False)
    cheap = [replace(c, priority=worth, backup=backup) for c in wanted]
    placed, refused = explain_refused(usage, cheap, relaxations=0)
    assert {*placed, *refused} == {c.id for c in cheap}
    beside = list(usage.placed.values())
    for chain in cheap:
        refusal = refused.get(chain.id)
        if refusal is None or refusal.constraint != "price":
            continue
        least = EveryWay(network, beside).least(chain)
        # a first place alone that is too dear needs no second one to be looked for
        assert least is None or least >= chain.value - 1e-9
        assert check_refusal(network, chain, refusal.certificate, beside) == ()
        if least is not None:
            dearer = {"proof": "price", "limit": least + 1}
            assert check_refusal(network, chain, dearer, beside) != ()
        assert check_refusal(network, chain, {"proof": "price"}, beside) != ()


def bridge(islands: int) -> Network:
    """Rings of four sites in a row, joined by single links: every pair needs each bridge twice."""
    sites, links = [], []
    for k in range(islands):
        ring = [f"r{k}{n}" for n in "abcd"]
        sites += [Site(name, {"cpu": 9}, {"cpu": 1.0}) for name in ring]
        ends = [*zip(ring, ring[1:] + ring[:1], strict=True)]
        if k:
            ends.append((f"r{k - 1}c", ring[0]))
        for a, b in ends:
            links += [Link(a, b, 1, 9, 1.0), Link(b, a, 1, 9, 1.0)]
    return Network(tuple(sites), tuple(links))


def test_a_bridge_is_one_branch() -> None:
    """Forbidding each link of each first place in turn never ended; the core names the bridge."""
    network = bridge(6)
    demand = ChainDemand("c", (Function("f", {"cpu": 1}),), ("r0a",), ("r5c",), (1, 1), backup=True)
    answer = place(Usage(network, fast=False), demand)
    assert isinstance(answer, Refusal)
    assert (answer.kind, answer.constraint) == ("alone", "backup")
    nodes: Any = answer.certificate["nodes"]
    assert len(nodes) == 2
    assert check_refusal(network, demand, answer.certificate) == ()


def test_a_pair_that_others_stand_in_the_way_of_is_residual() -> None:
    """Alone there is a pair: who reads "alone" would buy a link in vain."""
    sites = tuple(Site(n, {"cpu": 4}) for n in "ab")
    network = Network(sites, (Link("a", "b", 1, 9), Link("b", "a", 1, 9)))
    usage = Usage(network, fast=False)
    first = ChainDemand("first", (Function("f", {"cpu": 3}),), ("a",), ("a",), (1, 1))
    there = place(usage, first)
    assert isinstance(there, Placement)
    usage.apply(first, there)
    second = ChainDemand(
        "second", (Function("f", {"cpu": 2}),), ("a",), ("a",), (1, 1), backup=True
    )
    answer = place(usage, second)
    assert isinstance(answer, Refusal)
    assert (answer.kind, answer.constraint) == ("residual", "backup")
    assert check_refusal(network, second, answer.certificate, [(first, there)]) == ()
    assert check_refusal(network, second, answer.certificate) != ()
