"""Where placement work runs must not show in the answer; and each choice is said, with its reason."""

from __future__ import annotations

import json
import pickle
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from isthmus.cli import place_workers
from isthmus.cli.failures import CliFailure
from isthmus.cli.place import place_command, what_if_command
from isthmus.cli.place_workers import choose
from isthmus.global_tier import ray_pool
from isthmus.global_tier.runtime import RuntimeFailed
from isthmus.placement.generator import drawn, make
from isthmus.placement.problem import dump


class StandIn:
    """A pool that ships like Ray: pickled there and back, the last task first."""

    def __init__(self) -> None:
        self.tasks = self.opened = self.closed = 0
        self.fails = False

    async def map(
        self, function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]
    ) -> list[Any]:
        """All answers in order."""
        if self.fails:
            raise RuntimeFailed("placement tasks: GetTimeoutError")
        self.tasks += len(tasks)
        answers = {}
        for i in reversed(range(len(tasks))):
            shipped = pickle.loads(pickle.dumps((function, tasks[i])))
            answers[i] = pickle.loads(pickle.dumps(shipped[0](*shipped[1])))
        return [answers[i] for i in range(len(tasks))]

    @asynccontextmanager
    async def open(self, *, workers: int) -> AsyncIterator[StandIn]:
        """As ``ray_pool.opened``."""
        assert workers >= 2
        self.opened += 1
        try:
            yield self
        finally:
            self.closed += 1


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """In Ray's place."""
    pool = StandIn()
    monkeypatch.setattr(ray_pool, "opened", pool.open)
    monkeypatch.setattr(ray_pool, "installed", lambda: True)
    return pool


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A small problem and one that can be split in two."""
    base = tmp_path_factory.mktemp("p")
    small = make(drawn(12, 3), 12, regime="relaxed", seed=3)
    (base / "small").write_text(json.dumps(dump(small)))
    large = make(drawn(45, 3), 700, regime="relaxed", seed=3)
    # Drawn chains cross regions; only chains that stay at home are shipped in parts.
    at_home = tuple(replace(chain, egress=chain.ingress) for chain in large.chains)
    (base / "large").write_text(json.dumps(dump(replace(large, chains=at_home))))
    return base / "small", base / "large"


def what_if(problem: Path, out: Path, *more: str) -> Result:
    """The command."""
    base = ["--problem", str(problem), "--out", str(out), "--work", "0", "--kind", "site"]
    return CliRunner().invoke(what_if_command, [*base, *more])


def test_drills_give_the_same_bytes_on_a_pool(
    pool: StandIn, files: tuple[Path, Path], tmp_path: Path
) -> None:
    """A report must be comparable with the last one, wherever either was computed."""
    here = what_if(files[0], tmp_path / "a", "--workers", "in-process")
    there = what_if(files[0], tmp_path / "b", "--workers", "ray")
    assert (here.exit_code, there.exit_code) == (0, 0), there.output
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert here.stdout == there.stdout
    assert "workers: in-process (as asked)" in here.stderr
    assert "workers: ray (as asked)" in there.stderr
    assert pool.tasks >= 2
    assert (pool.opened, pool.closed) == (1, 1)


def test_parts_give_the_same_bytes_on_a_pool(
    pool: StandIn, files: tuple[Path, Path], tmp_path: Path
) -> None:
    """A decision is replayed on one machine, also when workers made it."""
    for where in ("in-process", "ray"):
        base = ["--problem", str(files[1]), "--out", str(tmp_path / where), "--work", "0"]
        told = CliRunner().invoke(place_command, [*base, "--parts", "2", "--workers", where])
        assert told.exit_code == 0, told.output
        assert f"workers: {where}" in told.stderr
    assert (tmp_path / "ray").read_bytes() == (tmp_path / "in-process").read_bytes()
    assert pool.tasks == 2
    assert pool.closed == 1


def test_auto_samples_a_few_drills_and_ships_the_rest(
    pool: StandIn, files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was run for the estimate is not run again, and not lost."""
    what_if(files[0], tmp_path / "a", "--workers", "in-process")
    monkeypatch.setattr(place_workers, "BREAK_EVEN_S", 0.0)
    told = what_if(files[0], tmp_path / "b")
    assert "workers: ray (about" in told.stderr
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_pool_that_is_too_slow_is_one_sentence_and_is_closed(
    pool: StandIn, files: tuple[Path, Path], tmp_path: Path
) -> None:
    """A time-out of Ray is no stack trace and leaves no cluster behind."""
    pool.fails = True
    told = what_if(files[0], tmp_path / "a", "--workers", "ray")
    assert told.exit_code == 1
    assert "GetTimeoutError; try --workers in-process" in told.output
    assert "Traceback" not in told.output
    assert pool.closed == 1
    assert not (tmp_path / "a").exists()


def test_ray_asked_for_but_absent_is_an_error_and_auto_is_not(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks for Ray by name must not get another thing in silence."""
    monkeypatch.setattr(ray_pool, "installed", lambda: False)
    told = what_if(files[0], tmp_path / "a", "--workers", "ray")
    assert told.exit_code == 1
    assert "Ray is not installed; install the extra isthmus[global]" in told.output
    assert what_if(files[0], tmp_path / "a").exit_code == 0


@pytest.mark.parametrize(
    ("asked", "estimate_s", "installed", "ray", "words"),
    [
        ("auto", 2.9, True, False, "about 2.9 s of work, Ray pays from 3 s"),
        ("auto", 3.1, True, True, "about 3.1 s of work, Ray pays from 3 s"),
        ("auto", 60.0, False, False, "Ray is not installed"),
        ("ray", 0.0, True, True, "as asked"),
        ("in-process", 60.0, True, False, "as asked"),
    ],
)
def test_the_choice_and_its_reason(
    asked: str, estimate_s: float, installed: bool, ray: bool, words: str
) -> None:
    """Below the break-even Ray only costs; a machine without it must still answer."""
    choice = choose(asked, estimate_s, installed=installed)
    assert choice.ray is ray
    assert words in choice.why


def test_ray_without_ray_is_refused() -> None:
    """However large the work."""
    with pytest.raises(CliFailure, match="not installed"):
        choose("ray", 99.0, installed=False)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--workers", "ray"], "add --parts"),
        (["--parts", "2", "--time-limit", "3"], "--time-limit"),
        (["--parts", "0"], "--parts"),
    ],
)
def test_what_cannot_be_combined_is_wrong_usage(
    files: tuple[Path, Path], tmp_path: Path, more: list[str], words: str
) -> None:
    """An option without effect would be a promise that is not kept."""
    base = ["--problem", str(files[0]), "--out", str(tmp_path / "a")]
    told = CliRunner().invoke(place_command, [*base, *more])
    assert told.exit_code == 2
    assert words in told.output
