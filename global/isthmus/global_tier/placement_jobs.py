"""Placement work that is worth shipping: failure drills and the regional parts of a large batch.

The engine stays pure; here is who runs its independent pieces. In process by default; on a started
:class:`~isthmus.global_tier.ray_pool.RayPool` where a task carries enough work (issue
"placement engine", point 6). Either way the pieces, their order and so the bytes are the same: a
task gets plain frozen values, builds its own state, and hands back outcomes or placements.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any, Protocol

from isthmus.placement.batch import Solution
from isthmus.placement.model import ChainDemand, Network, Placement
from isthmus.placement.split import BREAK_EVEN, merge, solve_part, split
from isthmus.placement.usage import Usage
from isthmus.placement.whatif import Outcome, Scenario, run

Standing = tuple[tuple[ChainDemand, Placement], ...]


class Mapper(Protocol):
    """Runs one function on many tasks; answers in the order of the tasks."""

    async def map(
        self, function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]
    ) -> list[Any]:
        """All answers, or the first error."""
        ...


class InProcess:
    """One after the other, here."""

    async def map(
        self, function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]
    ) -> list[Any]:
        """A plain loop."""
        return [function(*task) for task in tasks]


def drill(
    network: Network, standing: Standing, scenarios: tuple[Scenario, ...], work: int
) -> list[Outcome]:
    """What a worker does: these losses, each on a copy of the same state."""
    usage = Usage(network)
    for chain, placement in standing:
        usage.apply(chain, placement)
    return [run(usage, scenario, work=work) for scenario in scenarios]


async def what_if(
    usage: Usage,
    scenarios: Sequence[Scenario],
    mapper: Mapper,
    *,
    tasks: int,
    work: int = 2_000,
) -> list[Outcome]:
    """Every scenario's outcome, in order, as ``tasks`` pieces of about the same size."""
    standing = tuple(usage.placed.values())
    pieces = max(1, min(tasks, len(scenarios)))
    bounds = [len(scenarios) * i // pieces for i in range(pieces + 1)]
    shares = [tuple(scenarios[a:b]) for a, b in pairwise(bounds) if b > a]
    answers = await mapper.map(drill, [(usage.network, standing, share, work) for share in shares])
    return [outcome for answer in answers for outcome in answer]


def _part(part: Any, work: int, seed: int) -> dict[str, Placement]:
    return solve_part(part, work=work, seed=seed)


async def solve_split(
    network: Network,
    chains: Sequence[ChainDemand],
    mapper: Mapper,
    *,
    workers: int,
    work: int,
    seed: int,
) -> Solution:
    """A large batch in regional parts; below the break-even there is one part, here."""
    if len(chains) < 2 * BREAK_EVEN:
        return merge(network, chains, [], work=work, seed=seed)
    parts = split(network, chains, workers).parts
    answers = await mapper.map(_part, [(part, work, seed) for part in parts])
    return merge(network, chains, answers, work=work, seed=seed)


def as_bytes(outcomes: Sequence[Outcome]) -> bytes:
    """Outcomes as canonical JSON, to compare two runs byte for byte."""
    return json.dumps([asdict(outcome) for outcome in outcomes], sort_keys=True).encode()
