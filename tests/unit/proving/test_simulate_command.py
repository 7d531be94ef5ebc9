"""``isthmus simulate`` as a person meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from isthmus.chaos.history import read
from isthmus.chaos.simulation.schedule import Fault, Schedule, load_regression, save_regression
from isthmus.chaos.simulation.stats import Stats, tables
from isthmus.cli.failures import CliFailure
from isthmus.cli.simulate import parse_seeds, simulate


def test_seeds_are_written_as_people_write_them() -> None:
    """Why: 7,9 and 1-3 must mean what they say; anything else is told, not guessed."""
    assert parse_seeds("7") == [7]
    assert parse_seeds("7, 9,1-3") == [7, 9, 1, 2, 3]
    for wrong in ("", "x", "3-", "5-1"):
        with pytest.raises(CliFailure, match="--seeds"):
            parse_seeds(wrong)


def test_a_run_tells_its_verdict_and_leaves_its_history(tmp_path: Path) -> None:
    """Why: a green light without numbers, and a run that cannot be looked at, are worth nothing."""
    history = tmp_path / "run.jsonl"
    done = CliRunner().invoke(
        simulate, ["--seeds", "1-2", "--jobs", "1", "--json", "--history", str(history)]
    )
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout.splitlines()[-1])
    assert document["seeds"] == 2
    assert document["failures"] == {}
    assert document["stats"]["steps"] > 1000
    found = read(history)
    assert found.header.seed == 1
    assert {record.what for record in found.records} >= {"held", "shown", "heal", "digest"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--world", "mars"], "links, carrier"), (["--kinds", "line.eaten"], "line.cut")],
)
def test_what_is_unknown_is_refused_with_what_there_is(arguments: list[str], words: str) -> None:
    """Why: an error message names the fix."""
    done = CliRunner().invoke(simulate, arguments)
    assert done.exit_code == 1
    assert words in done.output


def test_a_schedule_is_the_same_after_a_file(tmp_path: Path) -> None:
    """Why: a regression that plays another schedule than the one that failed proves nothing."""
    fault = Fault(1.5, "line.delay", "milan", 2.0, {"by": 0.2})
    schedule = Schedule("links", 7, (fault,), 8.0)
    save_regression(schedule, "name", "story", tmp_path / "name.json")
    assert load_regression(tmp_path / "name.json") == schedule


def test_what_was_never_hit_is_named() -> None:
    """Why: coverage must not lie by leaving a line out."""
    stats = Stats()
    stats.faults["line.cut"] += 3
    wanted = {"faults": ("line.cut", "line.eaten"), "transitions": (), "failpoints": ()}
    assert stats.zeros(wanted) == ["faults line.eaten"]
    assert "NEVER" in tables(stats, wanted)
