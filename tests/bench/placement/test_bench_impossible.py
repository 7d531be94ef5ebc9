"""The search for a false "impossible" finds one when there is one; else its zero means nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isthmus.chaos import bench_impossible
from isthmus.chaos.bench_impossible import Tally, impossible, judge, problem
from isthmus.placement import online
from isthmus.placement.model import ChainDemand, Placement, Refusal
from isthmus.placement.usage import Usage


def test_numbered_problems_are_judged_and_none_is_false() -> None:
    """The short form of the five minutes: every kind of refusal turns up, none is false."""
    tally = Tally()
    for seed in range(1, 61):
        judge(tally, seed)
    assert tally.false == tally.unproved == []
    assert tally.kinds["alone"] > 50
    assert tally.kinds["residual"] > 10
    assert {"sites", "capacity", "route", "latency", "backup"} <= set(tally.constraints)


def test_the_same_number_is_the_same_problem() -> None:
    """A false one is told by its seed alone."""
    assert problem(7) == problem(7)
    assert problem(7) != problem(8)


def test_a_solver_that_refuses_in_vain_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutant: refuse whatever takes two functions, with the certificate of an empty bottleneck."""
    true = online.place

    def lazy(usage: Usage, chain: ChainDemand, **how: Any) -> Placement | Refusal:
        if len(chain.functions) < 2:
            return true(usage, chain, **how)
        proof = {"proof": "bottleneck", "bottleneck": {}}
        return Refusal(chain.id, "alone", "route", "no way", certificate=proof)

    monkeypatch.setattr(bench_impossible, "place", lazy)
    tally = Tally()
    for seed in range(1, 31):
        judge(tally, seed)
    assert tally.false
    assert tally.unproved


def test_the_document_names_what_was_judged(tmp_path: Path) -> None:
    """No CPU time is no problem judged, and says so."""
    found = impossible(tmp_path, cpu_limit_s=0.0)
    json.dumps(found, allow_nan=False)
    rows = {row["name"]: row["value"] for row in found["figures"]}
    assert rows["problems"] == rows["false impossible"] == 0
    assert found["false"] == []
