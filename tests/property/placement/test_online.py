"""One chain at a time against the truth: never a broken constraint, never a false refusal."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from tests.property.placement.brute import Brute
from tests.property.placement.cases import problems

from isthmus.placement.checker import check_refusal
from isthmus.placement.model import ChainDemand, Network, Placement, Refusal
from isthmus.placement.online import place
from isthmus.placement.usage import Usage
from isthmus.placement.verify import violations

Problem = tuple[Network, list[ChainDemand]]


@settings(max_examples=400, deadline=None)
@given(problems())
def test_online_is_exact(problem: Problem) -> None:
    """A false "impossible" is the worst bug, a dearer place the second: compare with every way."""
    network, chains = problem
    usage = Usage(network, fast=False)
    placed: list[tuple[ChainDemand, Placement]] = []
    for chain in chains:
        truth = Brute(network, placed).best(chain)
        answer = place(usage, chain)
        if isinstance(answer, Refusal):
            assert truth is None, f"{answer.text}, but a place costs {truth}"
            assert answer.kind in ("alone", "residual")
            assert (Brute(network).best(chain) is None) == (answer.kind == "alone")
            continue
        assert truth is not None
        assert answer.cost == pytest.approx(truth, abs=1e-9)
        assert answer.lower_bound <= truth + 1e-9
        usage.apply(chain, answer)
        placed.append((chain, answer))
        assert violations(network, placed) == ()


@settings(max_examples=150, deadline=None)
@given(problems(most=6))
def test_release_gives_back_exactly_what_apply_took(problem: Problem) -> None:
    """The state after any sequence must equal the state rebuilt from what remains (no drift)."""
    network, chains = problem
    usage = Usage(network, fast=False)
    kept: list[tuple[ChainDemand, Placement]] = []
    for i, chain in enumerate(chains):
        answer = place(usage, chain, reasons=False)
        if isinstance(answer, Refusal):
            continue
        usage.apply(chain, answer)
        if i % 2:
            usage.release(chain.id)
        else:
            kept.append((chain, answer))
    rebuilt = Usage(network, fast=False)
    for chain, answer in kept:
        rebuilt.apply(chain, answer)
    assert usage.snapshot() == rebuilt.snapshot()


@settings(max_examples=150, deadline=None)
@given(problems(most=3))
def test_every_relaxation_lets_the_chain_in(problem: Problem) -> None:
    """A relaxation that does not help is a lie; the latency one, when "least", is the least."""
    network, chains = problem
    usage = Usage(network, fast=False)
    placed: list[tuple[ChainDemand, Placement]] = []
    for chain in chains:
        answer = place(usage, chain)
        if isinstance(answer, Placement):
            usage.apply(chain, answer)
            placed.append((chain, answer))
            continue
        for relaxation in answer.relaxations:
            if relaxation.kind != "latency":
                continue
            assert chain.latency_budget_ns is not None
            budget = chain.latency_budget_ns + relaxation.changes[0].amount
            with_more = Brute(network, placed).best(_budget(chain, budget))
            assert with_more is not None
            if relaxation.least:
                assert Brute(network, placed).best(_budget(chain, budget - 1)) is None


def _budget(chain: ChainDemand, budget: int) -> ChainDemand:
    from dataclasses import replace

    return replace(chain, latency_budget_ns=budget)


@settings(max_examples=300, deadline=None)
@given(problems())
def test_every_certificate_re_verifies_and_none_can_be_forged(problem: Problem) -> None:
    """A refusal is only worth its proof: the checker agrees with it, and not without a member."""
    network, chains = problem
    usage = Usage(network, fast=False)
    placed: list[tuple[ChainDemand, Placement]] = []
    for chain in chains:
        answer = place(usage, chain, reasons=False)
        if isinstance(answer, Placement):
            usage.apply(chain, answer)
            placed.append((chain, answer))
            forged = {"proof": "bottleneck", "bottleneck": {"places": {}, "links": {}}}
            assert check_refusal(network, chain, forged, placed[:-1]) != ()
            assert check_refusal(network, chain, {"proof": "exhaustive"}, placed[:-1]) != ()
        else:
            beside = placed if answer.kind == "residual" else []
            assert check_refusal(network, chain, answer.certificate, beside) == ()
