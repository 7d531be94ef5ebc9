"""Problems at the edge of what a file may hold: a right answer, never a crash."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus.placement.batch import solve
from isthmus.placement.problem import SCHEMA, parse


def document(functions: int = 1, cpu: float = 64, links: bool = True) -> dict[str, Any]:
    """Two sites and one chain from one to the other."""
    ends = [("a", "b"), ("b", "a")] if links else []
    return {
        "schema": SCHEMA,
        "sites": [{"id": n, "capacity": {"cpu": cpu}} for n in "ab"],
        "links": [
            {"id": a + b, "from": a, "to": b, "latency_ms": 1, "capacity_gbps": 9} for a, b in ends
        ],
        "chains": [
            {
                "id": "c",
                "ingress": "a",
                "egress": "b",
                "functions": [{"cpu": 1}] * functions,
                "bandwidth_gbps": [0.1] * (functions + 1),
            }
        ],
    }


def test_thirty_two_functions_in_a_file_are_placed() -> None:
    """The longest legal chain goes through the batch solver, not only through the online search."""
    problem = parse(document(32))
    solution = solve(problem.network, problem.chains, work=0)
    assert len(solution.placements["c"].sites) == 32


@pytest.mark.parametrize(
    "rows", [document(links=False), document(cpu=0)], ids=["disconnected", "no capacity"]
)
def test_what_cannot_be_is_refused_alone(rows: dict[str, Any]) -> None:
    """A graph in two parts and sites without room are legal problems: the answer is a reason."""
    problem = parse(rows)
    solution = solve(problem.network, problem.chains, work=0)
    assert solution.placements == {}
    assert solution.refusals["c"].kind == "alone"


def test_no_chain_at_all() -> None:
    """Nothing asked is nothing placed, within a bound of nothing."""
    problem = parse(document() | {"chains": []})
    solution = solve(problem.network, problem.chains, work=0)
    assert (solution.placements, solution.objective) == ({}, 0)
