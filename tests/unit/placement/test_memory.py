"""What a batch takes beyond its problem: counted, so that no machine's mood decides."""

from __future__ import annotations

import gc
import tracemalloc

import pytest

from isthmus.placement.arena import Arena
from isthmus.placement.batch import solve
from isthmus.placement.generator import drawn, make
from isthmus.placement.problem import dump, parse
from isthmus.placement.usage import Usage
from isthmus.placement.verify import violations


def _grown(rows: int) -> float:
    """Bytes a chain while a batch of so many chains is packed, at the peak."""
    problem = make(drawn(20, 1), rows, regime="both", seed=1)
    usage = Usage(problem.network, fast=True)
    Arena(usage.compiled, problem.chains[:5], usage)  # masks and rows of the network
    gc.collect()
    tracemalloc.start()
    try:
        arena = Arena(usage.compiled, problem.chains, usage)
        peak = tracemalloc.get_traced_memory()[1]
        assert arena.batch.chains == rows
    finally:
        tracemalloc.stop()
    return peak / rows


def test_a_packed_batch_takes_a_third_of_a_kilobyte_a_chain() -> None:
    """Lists of numbers, and one mask for each chain with affinity, were 1.3 KB; the goal is 1 KB in all."""
    assert _grown(2_500) < 900  # arrays of 24 steps a chain counted whole, though few are touched


def test_chains_of_one_kind_share_their_masks() -> None:
    """A list of sites for every chain with affinity was half of all memory at 50,000 chains."""
    problem = make(drawn(30, 2), 400, regime="relaxed", seed=2)
    usage = Usage(problem.network, fast=False)
    assert sum(bool(c.affinity) for c in problem.chains) > 20
    arena = Arena(usage.compiled, problem.chains, usage)
    assert len(arena.batch.masks) <= 30 * 10  # not one for each of the 40 chains with affinity


def test_same_ways_are_the_same_objects() -> None:
    """Names of hops are half of an answer; few of them differ."""
    problem = make(drawn(12, 2), 200, regime="relaxed", seed=2)
    solution = solve(problem.network, problem.chains, work=0, fast=False, exact=False)
    hops = [hop for p in solution.placements.values() for hop in p.hops]
    assert len({id(hop) for hop in hops}) <= 2 * len(set(hops))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_hundred_thousand_chains_are_read_placed_and_verified() -> None:
    """The largest input of the issue is answered, not refused by accident or by memory."""
    base = dump(make(drawn(20, 1), 1_000, regime="both", seed=1))
    base["chains"] = [
        {**row, "id": f"{row['id']}-{k}"} for k in range(100) for row in base["chains"]
    ]
    for site in base["sites"]:
        site["capacity"] = {r: 100 * v for r, v in site["capacity"].items()}
    for link in base["links"]:
        link["capacity_gbps"] *= 100
    problem = parse(base)
    solution = solve(problem.network, problem.chains, work=0)
    assert len(solution.placements) + len(solution.refusals) == 100_000
    assert violations(problem.network, solution.usage.placed.values()) == ()
    assert 0 < solution.gap_percent < 2
