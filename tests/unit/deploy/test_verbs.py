"""The verbs people and CI type: they say what they do, and never call a failure a success."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from isthmus.deploy.command import Completed, run

HOUSE = Path(__file__).parents[3]
VERBS = ("demo", "test", "check", "bench", "chaos", "lab-up", "lab-down", "clean", "help")


def _script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture(autouse=True)
def _no_outer_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests are themselves run by make: its wishes are not meant for the runs inside."""
    for variable in ("PYTEST_ARGS", "PYTEST_ADDOPTS", "STAGES", "MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
        monkeypatch.delenv(variable, raising=False)


# ---- make


async def test_help_lists_every_verb() -> None:
    """`make` alone shows the way; it must not start anything."""
    done = await run(["make", "-s"], timeout_s=30, cwd=HOUSE)
    for verb in VERBS:
        assert re.search(rf"^ +make {verb} +\S", done.output, re.MULTILINE), verb


@pytest.mark.parametrize("verb", [v for v in VERBS if v not in ("help", "clean")])
async def test_each_verb_makes_ready_first_and_says_what_it_does(verb: str) -> None:
    """A stranger types one verb on a fresh clone, and watches."""
    done = await run(["make", "-n", verb], timeout_s=30, cwd=HOUSE)
    lines = done.output.splitlines()
    assert lines[0] == "deploy/scripts/bootstrap"
    assert f"make {verb}:" in done.output


async def test_check_runs_every_tool_and_fails_if_one_does(tmp_path: Path) -> None:
    """The report of all tools at once, and the exit code of the worst."""
    shutil.copy(HOUSE / "Makefile", tmp_path)
    _script(tmp_path / "deploy/scripts/bootstrap", "exit 0")
    for tool in ("ruff", "mypy", "lint-imports"):
        _script(tmp_path / ".venv/bin" / tool, f"echo {tool} ran; exit 0")
    good = await run(["make", "check"], timeout_s=30, cwd=tmp_path, check=False)
    assert (good.code, "make check: OK" in good.output) == (0, True)
    _script(tmp_path / ".venv/bin/mypy", "echo mypy ran; exit 1")
    bad = await run(["make", "check"], timeout_s=30, cwd=tmp_path, check=False)
    assert bad.code != 0
    assert "lint-imports ran" in bad.output
    assert "OK" not in bad.output


# ---- .ci/run


async def _ci(folder: Path, **codes: int) -> Completed:
    """Run CI in a folder where each stage is a stand-in that ends with the given code."""
    (folder / ".ci").mkdir(exist_ok=True)
    shutil.copy(HOUSE / ".ci/run", folder / ".ci/run")
    _script(folder / "deploy/scripts/bootstrap", f"exit {codes.get('bootstrap', 0)}")
    rules = [
        f"{verb}:\n\t@echo ran-{verb}; exit {codes.get(verb, 0)}" for verb in ("check", "test")
    ]
    (folder / "Makefile").write_text("\n".join(rules) + "\n")
    return await run([str(folder / ".ci/run")], timeout_s=30, cwd=Path("/"), check=False)


async def test_ci_is_green_only_when_every_stage_is(tmp_path: Path) -> None:
    """And it prints the time of each."""
    done = await _ci(tmp_path)
    assert done.code == 0
    assert done.output.strip().splitlines()[-1] == "ci: OK"
    for name in ("bootstrap", "check", "test", "total"):
        assert re.search(rf"^ci: {name} +\d+ s", done.output, re.MULTILINE)


@pytest.mark.parametrize("stage", ["check", "test"])
async def test_a_failed_stage_fails_ci_but_hides_no_other(tmp_path: Path, stage: str) -> None:
    """A red check must not cost the report of the tests, nor be outshone by it."""
    done = await _ci(tmp_path, **{stage: 3})
    assert done.code == 1
    assert done.output.strip().splitlines()[-1] == "ci: FAILED"
    assert "ran-check" in done.output
    assert "ran-test" in done.output
    assert re.search(rf"^ci: {stage} .*FAILED", done.output, re.MULTILINE)


async def test_without_bootstrap_nothing_is_claimed(tmp_path: Path) -> None:
    """Nothing can run, so nothing did, and the code says so."""
    done = await _ci(tmp_path, bootstrap=1)
    assert done.code == 1
    assert "ran-" not in done.output
    assert "ci: OK" not in done.output
