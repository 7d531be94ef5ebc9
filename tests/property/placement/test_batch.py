"""Many chains at once: the bound holds, the bytes repeat, and nothing leaves unverified."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property.placement.brute import Brute
from tests.property.placement.cases import problems

from isthmus.placement.batch import Solution, solve
from isthmus.placement.checker import check_refusal
from isthmus.placement.incremental import preempt, repair
from isthmus.placement.model import ChainDemand, Network, Placement
from isthmus.placement.online import place
from isthmus.placement.solution import dump
from isthmus.placement.usage import Usage
from isthmus.placement.verify import objective, violations

Problem = tuple[Network, list[ChainDemand]]


def _pairs(solution: Solution, chains: list[ChainDemand]) -> list[tuple[ChainDemand, Placement]]:
    mine = {c.id: c for c in chains}
    return [(mine[name], placement) for name, placement in solution.placements.items()]


@settings(max_examples=80, deadline=None)
@given(problems(most=6), st.integers(0, 3))
def test_answers_verify_refusals_prove_and_the_bound_holds(problem: Problem, seed: int) -> None:
    """The three promises of a batch answer, on tiny cases that are tight in every respect."""
    network, chains = problem
    solution = solve(network, chains, work=30, seed=seed, fast=False, exact=False)
    placed = _pairs(solution, chains)
    assert violations(network, placed) == ()
    assert solution.objective == pytest.approx(objective(network, placed), abs=1e-6)
    assert solution.objective <= solution.upper_bound
    assert {*solution.placements, *solution.refusals} == {c.id for c in chains}
    for chain in chains:
        refusal = solution.refusals.get(chain.id)
        if refusal is None or refusal.kind == "undecided" or refusal.constraint == "price":
            continue
        beside = placed if refusal.kind == "residual" else []
        assert check_refusal(network, chain, refusal.certificate, beside) == ()
        assert Brute(network, beside).best(chain) is None


@settings(max_examples=60, deadline=None)
@given(problems(most=3))
def test_no_order_of_exact_placements_beats_the_bound(problem: Problem) -> None:
    """An upper bound is only one if nothing legal exceeds it: every order of chains is tried."""
    network, chains = problem
    bound = solve(network, chains, work=30, fast=False, exact=False).upper_bound
    for order in itertools.permutations(chains):
        usage = Usage(network, fast=False)
        for chain in order:
            answer = place(usage, chain, proof=False, max_cost=chain.value)
            if isinstance(answer, Placement):
                usage.apply(chain, answer)
        assert objective(network, list(usage.placed.values())) <= bound + 1e-6


@settings(max_examples=60, deadline=None)
@given(problems(most=5))
def test_same_seed_same_bytes(problem: Problem) -> None:
    """Replay of a decision needs the same answer for the same input, byte for byte."""
    network, chains = problem
    one, two = (
        json.dumps(dump(solve(network, chains, work=20, fast=False, exact=False))) for _ in range(2)
    )
    assert one == two


@settings(max_examples=60, deadline=None)
@given(problems(most=5), st.sampled_from("abcde"))
def test_repair_leaves_a_valid_state_and_touches_only_the_hit(problem: Problem, site: str) -> None:
    """A failure elsewhere must not move a chain, and what is re-placed must avoid the failure."""
    network, chains = problem
    usage = Usage(network, fast=False)
    for chain in chains:
        answer = place(usage, chain, proof=False)
        if isinstance(answer, Placement):
            usage.apply(chain, answer)
    if site not in usage.compiled.site_index:
        return
    before = {name: placement for name, (_, placement) in usage.placed.items()}
    lost = usage.fail_site(site)
    result = repair(usage, lost)
    for name, (_, placement) in usage.placed.items():
        assert (name in result.moved) == (name in lost)
        if name not in lost:
            assert placement == before[name]
        else:
            assert site not in placement.sites
    assert violations(network, usage.placed.values()) == ()
    usage.restore_site(site)
    rebuilt = Usage(network, fast=False)
    for chain, placement in usage.placed.values():
        rebuilt.apply(chain, placement)
    assert usage.snapshot() == rebuilt.snapshot()


@settings(max_examples=80, deadline=None)
@given(problems(most=5))
def test_preemption_only_takes_from_the_less_important(problem: Problem) -> None:
    """Preemption is explicit and bounded: lower priority only, worth less in sum, and it helps."""
    network, chains = problem
    usage = Usage(network, fast=False)
    for chain in sorted(chains, key=lambda c: c.priority):
        answer = place(usage, chain, proof=False)
        if isinstance(answer, Placement):
            usage.apply(chain, answer)
            continue
        plan = preempt(usage, chain)
        if plan is None:
            continue
        assert plan.victims
        assert all(v.priority < chain.priority for v in plan.victims)
        assert sum(v.priority for v in plan.victims) < chain.priority
        for victim in plan.victims:
            usage.release(victim.id)
        usage.apply(chain, plan.placement)
        assert violations(network, usage.placed.values()) == ()
