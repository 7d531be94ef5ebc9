"""The batch engine on generated instances: both machines, the optimum, split, what-if, time."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from isthmus.chaos.compact_ilp import optimum
from isthmus.placement import Placement, Usage, place, violations
from isthmus.placement.batch import Point, solve
from isthmus.placement.errors import InvalidProblem
from isthmus.placement.generator import REGIMES, drawn, make, trace
from isthmus.placement.incremental import admit_by_moving, expire
from isthmus.placement.problem import Problem
from isthmus.placement.solution import dump
from isthmus.placement.split import BREAK_EVEN, merge, solve_part, split
from isthmus.placement.whatif import advice, run, scenarios


@pytest.fixture(scope="module")
def problem() -> Problem:
    """30 sites, 120 chains, compute and links both scarce."""
    return make(drawn(30, 3), 120, regime="both", seed=3)


def test_compiled_and_plain_give_the_same_bytes(problem: Problem) -> None:
    """A decision of the global tier can be replayed where numba is not installed."""
    answers = [
        json.dumps(dump(solve(problem.network, problem.chains, work=12, fast=fast, exact=False)))
        for fast in (False, True)
    ]
    assert answers[0] == answers[1]


def test_compiled_and_plain_place_alike(problem: Problem) -> None:
    """The same for one chain at a time, refusals with all their reasons included."""
    plain, fast = Usage(problem.network, fast=False), Usage(problem.network, fast=True)
    for chain in problem.chains[:60]:
        one, two = (place(usage, chain, work=2000) for usage in (plain, fast))
        assert one == two
        if isinstance(one, Placement):
            plain.apply(chain, one)
            fast.apply(chain, one)
    assert plain.snapshot() == fast.snapshot()


@pytest.mark.parametrize("regime", sorted(REGIMES))
def test_every_regime_is_near_its_bound(regime: str) -> None:
    """One regime flatters: all four must be good, and better than first come first served."""
    case = make(drawn(40, 2), 300, regime=regime, seed=2)
    solution = solve(case.network, case.chains, work=40, exact=False)
    mine = {c.id: c for c in case.chains}
    placed = [(mine[name], p) for name, p in solution.placements.items()]
    assert violations(case.network, placed) == ()
    assert 0 <= solution.gap_percent < 4
    usage = Usage(case.network)
    for chain in case.chains:
        answer = place(usage, chain, proof=False, gap=0.05, work=500)
        if isinstance(answer, Placement):
            usage.apply(chain, answer)
    naive = sum(c.value - p.cost for c, p in usage.placed.values())
    assert solution.objective >= naive


def test_more_work_is_never_worse_and_less_capacity_never_better(problem: Problem) -> None:
    """Monotone in work; every verified objective at less capacity lies below the bound at more."""
    little = solve(problem.network, problem.chains, work=0, exact=False)
    more = solve(problem.network, problem.chains, work=40, exact=False)
    assert more.objective >= little.objective - 1e-6
    assert more.upper_bound <= little.upper_bound + 1e-6
    sites = tuple(
        replace(s, capacity={r: v * 3 // 4 for r, v in s.capacity.items()})
        for s in problem.network.sites
    )
    tight = replace(problem.network, sites=sites)
    assert solve(tight, problem.chains, work=20, exact=False).objective <= more.upper_bound


@pytest.mark.parametrize("seed", [4, 6])
def test_small_problems_agree_with_the_compact_program(seed: int) -> None:
    """Where the truth can be had: never above it, bound never below it, columns close to it."""
    case = make(drawn(8, seed), 6, regime="compute", seed=seed)
    best, _ = optimum(case, time_limit_s=30)
    solution = solve(case.network, case.chains, work=30)
    assert "columns" in solution.solver
    assert solution.objective <= best + 1e-3
    assert solution.upper_bound >= best - 1e-3
    assert solution.objective >= 0.94 * best


def test_the_clock_only_decides_when_to_stop(problem: Problem) -> None:
    """A time limit of nothing still gives a full, verified answer with a bound."""
    now = iter(range(10_000_000))
    points: list[Point] = []
    solution = solve(
        problem.network,
        problem.chains,
        work=1 << 30,
        clock=lambda: float(next(now)),
        time_limit_s=1.0,
        progress=points.append,
        exact=False,
    )
    assert {*solution.placements, *solution.refusals} == {c.id for c in problem.chains}
    assert len(points) == len(solution.history) >= 1
    assert solution.upper_bound >= solution.objective


def test_beside_what_stands(problem: Problem) -> None:
    """A batch on a live state reserves beside it and keeps what stood."""
    half = len(problem.chains) // 2
    first = solve(problem.network, problem.chains[:half], work=4, exact=False)
    second = solve(problem.network, problem.chains[half:], usage=first.usage, work=4, exact=False)
    assert violations(problem.network, second.usage.placed.values()) == ()
    assert set(first.placements) <= set(second.usage.placed)
    expire(second.usage, list(second.usage.placed))
    assert second.usage.snapshot() == Usage(problem.network).snapshot()


def test_two_chains_of_one_id_and_no_chain_at_all(problem: Problem) -> None:
    """The edges: a clear error, and an empty answer."""
    with pytest.raises(InvalidProblem, match="same id"):
        solve(problem.network, (problem.chains[0], problem.chains[0]))
    nothing = solve(problem.network, ())
    assert (nothing.objective, nothing.upper_bound, nothing.gap_percent) == (0.0, 0.0, 0.0)


def test_backups_are_placed_after_the_rest(problem: Problem) -> None:
    """A chain with a backup takes part in a batch and is verified with both places."""
    chains = (*problem.chains[:10], replace(problem.chains[10], backup=True))
    solution = solve(problem.network, chains, work=2, exact=False)
    answer = solution.placements.get(problem.chains[10].id)
    if answer is not None:
        assert answer.backup is not None
    else:
        assert solution.refusals[problem.chains[10].id].constraint in ("backup", "capacity")


def test_split_and_merge_lose_nothing_and_overbook_nothing() -> None:
    """Regional parts share no capacity, so the joined answer verifies; no chain is forgotten."""
    case = make(drawn(90, 5), 1_400, regime="both", seed=5)
    parts = split(case.network, case.chains, 3)
    assert all(len(part.chains) >= BREAK_EVEN for part in parts.parts)
    ids = [c.id for part in parts.parts for c in part.chains] + [c.id for c in parts.crossing]
    assert sorted(ids) == sorted(c.id for c in case.chains)
    answers = [solve_part(part, work=0, seed=1) for part in parts.parts]
    joined = merge(case.network, case.chains, answers, work=10, seed=1)
    mine = {c.id: c for c in case.chains}
    assert violations(case.network, [(mine[i], p) for i, p in joined.placements.items()]) == ()
    assert {*joined.placements, *joined.refusals} == set(mine)
    assert joined.gap_percent < 8
    assert split(case.network, case.chains[:200], 3).parts == ()


def test_what_if_counts_what_is_hit_and_leaves_the_state_alone(problem: Problem) -> None:
    """Scenarios run on copies; survivability is a share."""
    solution = solve(problem.network, problem.chains, work=4, exact=False)
    before = solution.usage.snapshot()
    found = scenarios(problem.network, pairs=2, seed=1)
    assert len({s.name for s in found}) == len(found)
    for scenario in found[:6] + found[-3:]:
        outcome = run(solution.usage, scenario, work=300)
        assert outcome.affected == outcome.restored + len(outcome.lost)
        assert 0 <= outcome.survivability <= 1
    refused = [c for c in problem.chains if c.id in solution.refusals]
    tips = advice(solution.usage, refused, solution.prices, work=300)
    assert tips
    assert all(tip.amount > 0 and set(tip.admits) <= {c.id for c in refused} for tip in tips)
    assert solution.usage.snapshot() == before


def test_a_migration_lets_a_chain_in_where_room_is_scattered() -> None:
    """Fragmentation: 2 + 2 free on two hosts hold a chain of 3 once another moves."""
    from isthmus.placement import Function, Link, Network, Site, chain

    hosts = tuple(Site(n, {"cpu": 4}, {"cpu": p}) for n, p in (("a", 1.0), ("b", 2.0)))
    links = (Link("a", "b", 0, 100), Link("b", "a", 0, 100))
    usage = Usage(Network(hosts, links), fast=False)
    for name, where in (("one", "a"), ("two", "b")):
        demand = chain(
            name, [Function("f", {"cpu": 2}, allowed_sites=frozenset(where))], "a", "a", 1
        )
        demand = replace(demand, functions=(Function("f", {"cpu": 2}),))
        answer = place(usage, replace(demand, allowed_sites=frozenset(where)))
        assert isinstance(answer, Placement)
        usage.apply(demand, answer)
    big = chain("big", [Function("f", {"cpu": 3})], "a", "a", 1)
    assert not isinstance(place(usage, big), Placement)
    plan = admit_by_moving(usage, big)
    assert plan is not None
    assert len(plan.moves) == 1
    for other, there in plan.moves:
        usage.release(other.id)
        usage.apply(other, there)
    usage.apply(big, plan.placement)
    assert violations(usage.network, usage.placed.values()) == ()


def test_a_trace_arrives_before_it_expires(problem: Problem) -> None:
    """Poisson arrivals in order, each chain once in and once out, from the seed alone."""
    events = trace(problem, rate_per_s=2.0, hold_s=30.0, seed=7)
    assert events == trace(problem, rate_per_s=2.0, hold_s=30.0, seed=7)
    assert [e.at_s for e in events] == sorted(e.at_s for e in events)
    inside: set[str] = set()
    for event in events:
        assert (event.chain in inside) != event.arrives
        inside ^= {event.chain}
    assert not inside
