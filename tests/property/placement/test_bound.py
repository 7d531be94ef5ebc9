"""The bound against capacity, and compiled kernels against plain ones, on drawn problems."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property.placement.cases import problems

from isthmus.placement.arena import Arena
from isthmus.placement.batch import solve
from isthmus.placement.dual import Dual, scales
from isthmus.placement.model import ChainDemand, Network
from isthmus.placement.solution import dump
from isthmus.placement.usage import Usage

Problem = tuple[Network, list[ChainDemand]]


def _richer(network: Network, more: int) -> Network:
    sites = tuple(
        replace(s, capacity={r: v + more for r, v in s.capacity.items()}) for s in network.sites
    )
    links = tuple(replace(k, capacity_kbps=k.capacity_kbps + more) for k in network.links)
    return Network(sites, links)


def _bound(network: Network, chains: list[ChainDemand], prices: list[float]) -> float:
    """The Lagrangian bound at exactly these prices."""
    usage = Usage(network, fast=False)
    arena = Arena(usage.compiled, chains, usage)
    dual = Dual(arena, scales(arena)[1])
    dual.prices = (prices * len(dual.room))[: len(dual.room)]
    while not dual.advance(500):
        pass
    return dual.best


@settings(max_examples=60, deadline=None)
@given(problems(most=5), st.lists(st.floats(0, 500), min_size=1, max_size=12), st.integers(0, 5))
def test_at_fixed_prices_more_capacity_never_lowers_the_bound(
    problem: Problem, prices: list[float], more: int
) -> None:
    """A bound that fell as capacity grew would sell somebody a link as a loss."""
    network, chains = problem
    chains = [replace(c, backup=False) for c in chains]
    poor, rich = (_bound(n, chains, prices) for n in (network, _richer(network, more)))
    assert poor <= rich + 1e-6 * max(1.0, abs(rich))


@settings(max_examples=40, deadline=None)
@given(problems(most=5), st.integers(0, 4), st.integers(0, 2))
def test_what_fits_into_less_lies_below_the_bound_at_more(
    problem: Problem, more: int, work: int
) -> None:
    """Both sides are verified facts about one question, so they must not contradict each other."""
    network, chains = problem
    tight = solve(network, chains, work=work, fast=False, exact=False)
    wide = solve(_richer(network, more), chains, work=work, fast=False, exact=False)
    assert tight.objective <= wide.upper_bound + 1e-6


@settings(max_examples=25, deadline=None)
@given(problems(most=5), st.integers(0, 3), st.integers(1, 9))
def test_compiled_and_plain_give_the_same_bytes(problem: Problem, work: int, seed: int) -> None:
    """What the global tier decides must be replayed where there is no numba."""
    network, chains = problem
    answers = (
        solve(network, chains, work=work, seed=seed, fast=fast, exact=False)
        for fast in (False, True)
    )
    one, two = (json.dumps(dump(answer)) for answer in answers)
    assert one == two
