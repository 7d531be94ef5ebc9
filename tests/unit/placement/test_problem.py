"""The problem file, strictly read; the commands on files."""

from __future__ import annotations

import gzip
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.cli.place import place_command, what_if_command
from isthmus.deploy.zoo import load_zoo
from isthmus.placement import PlacementError
from isthmus.placement.batch import solve
from isthmus.placement.checker import check_refusal
from isthmus.placement.errors import InvalidProblem
from isthmus.placement.generator import drawn, make
from isthmus.placement.model import Placement
from isthmus.placement.problem import dump, parse
from isthmus.placement.verify import violations

SMALL: dict[str, Any] = {
    "schema": "isthmus.placement.problem/1",
    "name": "small",
    "sites": [
        {
            "id": "a",
            "region": "r",
            "owner": 0,
            "capacity": {"cpu": 0.3, "memory": 8},
            "price": {"cpu": 1},
        },
        {
            "id": "b",
            "region": "r",
            "owner": "p",
            "capacity": {"cpu": 4, "memory": 8},
            "price": {"cpu": 2},
        },
    ],
    "links": [
        {
            "id": "ab",
            "from": "a",
            "to": "b",
            "latency_ms": 1.5,
            "capacity_gbps": 1,
            "price_per_gbps": 0.1,
        },
        {
            "id": "ba",
            "from": "b",
            "to": "a",
            "latency_ms": 1.5,
            "capacity_gbps": 1,
            "price_per_gbps": 0.1,
        },
    ],
    "site_sets": {"only-b": ["b"]},
    "chains": [
        {
            "id": "three",
            "ingress": "a",
            "egress": "a",
            "priority": 2,
            "latency_budget_ms": 3,
            "functions": [{"cpu": 0.1, "memory": 1}] * 3,
            "bandwidth_gbps": [0.1] * 4,
            "anti_affinity": [],
            "affinity": [],
        },
        {
            "id": "there",
            "ingress": "a",
            "egress": "a",
            "priority": 1,
            "latency_budget_ms": 3,
            "allowed_sites": "only-b",
            "functions": [{"cpu": 1, "memory": 1}],
            "bandwidth_gbps": [0.5, 0.5],
        },
        {
            "id": "late",
            "ingress": "a",
            "egress": "a",
            "priority": 1,
            "latency_budget_ms": 2.9,
            "allowed_sites": "only-b",
            "functions": [{"cpu": 1, "memory": 1}],
            "bandwidth_gbps": [0.5, 0.5],
        },
    ],
}


def changed(path: list[Any], value: Any) -> dict[str, Any]:
    """A deep copy of SMALL with one value replaced (or removed when ``...``)."""
    document: dict[str, Any] = json.loads(json.dumps(SMALL))
    at: Any = document
    for step in path[:-1]:
        at = at[step]
    if value is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return document


def test_tenths_add_up() -> None:
    """0.3 cpu hold three functions of 0.1: doubles say no, integers of a millionth say yes."""
    problem = parse(SMALL)
    solution = solve(problem.network, problem.chains, fast=False, exact=False)
    assert solution.placements["three"].sites == ("a", "a", "a")
    expected = 3000 - 0.3 - 2 - 2 * 0.5 * 0.1
    assert solution.objective == pytest.approx(expected)
    assert solution.refusals["late"].text == (
        "latency: fastest permitted path 3 ms > budget 2.9 ms"
    )


def test_what_is_written_reads_back() -> None:
    """``parse(dump(p)) == p``, policies and pairs included."""
    problem = make(drawn(30, 1), 80, regime="both", seed=1)
    assert parse(json.loads(json.dumps(dump(problem)))) == problem


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (["schema"], "other/2", "schema"),
        (["sites"], [], "at least one site"),
        (["sites", 0, "id"], "b", "used twice"),
        (["sites", 0, "capacity", "cpu"], -1, "capacity.cpu"),
        (["sites", 0, "capacity", "cpu"], True, "give a number"),
        (["sites", 0, "price", "cpu"], float("nan"), "finite"),
        (["links", 0, "to"], "nowhere", "no such site"),
        (["links", 0, "id"], "ba", "used twice"),
        (["links", 0, "latency_ms"], float("inf"), "latency_ms"),
        (["links", 0, "capacity_gbps"], ..., "missing"),
        (["chains", 0, "id"], "late", "used twice"),
        (["chains", 0, "ingress"], "x", "no such site"),
        (["chains", 0, "egress"], [], "at least one site"),
        (["chains", 0, "bandwidth_gbps"], [0.1], "one per hop"),
        (["chains", 0, "priority"], -2, "priority"),
        (["chains", 0, "affinity"], [[0, 7]], "two positions"),
        (["chains", 0, "affinity"], [[0]], "two positions"),
        (["chains", 0, "functions"], {}, "give a list"),
        (["chains", 0, "functions", 0, "cpu"], "much", "give a number"),
        (["chains", 1, "allowed_sites"], "unknown", "no such set"),
        (["site_sets", "only-b"], ["z"], "no such site"),
        (["chains"], ..., "missing"),
    ],
)
def test_every_malformed_field_is_named(path: list[Any], value: Any, words: str) -> None:
    """One clear error with the field, the value and the fix."""
    with pytest.raises(InvalidProblem, match=words.replace("[", r"\[")):
        parse(changed(path, value))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_fuzzed_documents_give_an_error_or_a_right_answer(data: st.DataObject) -> None:
    """Whatever stands in one field: a PlacementError, or an answer that verifies."""
    rng = random.Random(data.draw(st.integers(0, 10**6)))
    document: Any = json.loads(json.dumps(SMALL))
    at: Any = document
    key: Any = "sites"
    for _ in range(rng.randint(1, 6)):
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        key = rng.choice(keys)
        if not isinstance(at[key], dict | list) or not at[key]:
            break
        if rng.random() < 0.2:
            break
        at = at[key]
    else:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        key = rng.choice(keys)
    junk: list[Any] = [
        None,
        -1,
        0,
        1e308,
        10**400,
        math.nan,
        "",
        "a",
        [],
        {},
        [[]],
        True,
        0.1,
        ["a", "b"],
    ]
    at[key] = data.draw(st.sampled_from(junk))
    try:
        problem = parse(document)
        solution = solve(problem.network, problem.chains, work=2, fast=False, exact=False)
    except PlacementError:
        return  # one clear error; anything else fails the test by itself
    mine = {c.id: c for c in problem.chains}
    placed = [(mine[name], p) for name, p in solution.placements.items()]
    assert violations(problem.network, placed) == ()


def test_place_command_writes_what_a_judge_can_check(tmp_path: Path) -> None:
    """The file alone must be enough to verify the answer and each certificate."""
    problem = make(drawn(20, 4), 60, regime="both", seed=4)
    given_file, out = tmp_path / "p.json.gz", tmp_path / "s.json"
    given_file.write_bytes(gzip.compress(json.dumps(dump(problem)).encode()))
    arguments = ["--problem", str(given_file), "--out", str(out), "--work", "6", "--explain"]
    result = CliRunner().invoke(place_command, [*arguments, "--plot", str(tmp_path / "m.svg")])
    assert result.exit_code == 0, result.output
    answer = json.loads(out.read_text())
    mine = {c.id: c for c in problem.chains}
    assert answer["schema"] == "isthmus.placement.solution/1"
    assert {*answer["chains"], *answer["rejected"]} == set(mine)
    latency = {link.id: link.latency_ns for link in problem.network.links}
    placed = []
    for name, row in answer["chains"].items():
        hops = tuple(tuple(hop) for hop in row["paths"])
        total = sum(latency[link] for hop in hops for link in hop)
        placed.append((mine[name], Placement(name, tuple(row["sites"]), hops, (), total, 0, 0)))
    assert violations(problem.network, placed) == ()
    assert answer["objective"] <= answer["upper_bound"]
    for name, row in answer["rejected"].items():
        beside = placed if row["certificate"]["kind"] == "residual" else []
        assert row["reason"]
        assert check_refusal(problem.network, mine[name], row["certificate"], beside) == ()
    assert (tmp_path / "m.svg").read_text().startswith("<svg")


def test_place_command_draws_png_and_refuses_other_pictures(tmp_path: Path) -> None:
    """A picture needs no plotting library; an unknown ending is a usage error."""
    (tmp_path / "p.json").write_text(json.dumps(SMALL))
    base = ["--problem", str(tmp_path / "p.json"), "--out", str(tmp_path / "s.json"), "--quiet"]
    result = CliRunner().invoke(place_command, [*base, "--plot", str(tmp_path / "m.png")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "m.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert CliRunner().invoke(place_command, [*base, "--plot", "m.gif"]).exit_code == 2


@pytest.mark.parametrize("content", [b"", b"{", b"\x1f\x8bjunk", b"[1]", b"[" * 100_000, b"\xff"])
def test_place_command_on_rubbish(tmp_path: Path, content: bytes) -> None:
    """One line and exit code 1, no stack trace, no file left."""
    (tmp_path / "p.json").write_bytes(content)
    arguments = ["--problem", str(tmp_path / "p.json"), "--out", str(tmp_path / "s.json")]
    result = CliRunner().invoke(place_command, arguments)
    assert result.exit_code == 1
    assert "p.json" in result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "s.json").exists()


def test_what_if_command_reports_losses(tmp_path: Path) -> None:
    """Each site, link and partner lost in turn; the report is data."""
    (tmp_path / "p.json").write_text(json.dumps(SMALL))
    out = tmp_path / "w.json"
    arguments = ["--problem", str(tmp_path / "p.json"), "--out", str(out), "--pairs", "1"]
    result = CliRunner().invoke(what_if_command, arguments)
    assert result.exit_code == 0, result.output
    report = json.loads(out.read_text())
    names = {row["name"] for row in report["losses"]}
    assert {"site a", "site b", "link ab", "partner p", "sites a and b"} <= names
    lost_b = next(row for row in report["losses"] if row["name"] == "site b")
    assert lost_b["lost"] == ["there"]


@pytest.mark.parametrize(("name", "sites"), [("Colt", 153), ("Garr201201", 61), ("Bics", 33)])
def test_real_topologies_load_whole_and_connected(name: str, sites: int) -> None:
    """Largest part, coordinates for every node, at least four regions."""
    topology = load_zoo(name)
    assert len(topology.sites) == sites
    assert len(set(topology.regions)) >= 4
    problem = make(topology, 50, regime="relaxed", seed=1)
    solution = solve(problem.network, problem.chains, work=2, exact=False)
    assert len(solution.placements) >= 40
