"""The verbs people and CI type: they say what they do, and never call a failure a success."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from tests.support import eventually

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


# ---- stages


class House:
    """A small house with the stage runner and tests of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runner = folder / "deploy/scripts/stages.py"
        self.runner.parent.mkdir(parents=True)
        shutil.copy(HOUSE / "deploy/scripts/stages.py", self.runner)

    def write(self, path: str, body: str) -> None:
        file = self.folder / "tests" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"import os, pytest\n\ndef test_it():\n    {body}\n")

    async def stages(self, *names: str) -> Completed:
        argv = [sys.executable, str(self.runner), *names]
        return await run(argv, timeout_s=100, check=False, cwd=self.folder)


@pytest.fixture
def house(tmp_path: Path) -> House:
    """See House."""
    return House(tmp_path)


async def test_stages_run_in_a_world_and_show_pytests_closing_line(house: House) -> None:
    """Each test sees the private world; the tally of each stage is in the summary."""
    house.write("unit/test_a.py", "assert os.environ['ISTHMUS_WORLD'] == '1'")
    house.write("attacks/test_b.py", "pass")
    done = await house.stages("pure", "attacks", "packets")
    assert done.code == 0, done.output
    assert re.search(r"^pure +passed +\d+ s +1 passed in", done.output, re.MULTILINE)
    assert re.search(r"^packets +empty", done.output, re.MULTILINE)
    assert done.output.strip().splitlines()[-1].startswith("tests: OK in")


async def test_a_failed_stage_fails_all_and_stops_none(house: House) -> None:
    """The later stages still run: one report for one run."""
    house.write("unit/test_a.py", "assert False")
    house.write("attacks/test_b.py", "pass")
    done = await house.stages("pure", "attacks")
    assert done.code == 1
    assert re.search(r"^attacks +passed", done.output, re.MULTILINE)
    assert done.output.strip().splitlines()[-1].startswith("tests: FAILED: pure in")


@pytest.mark.parametrize("body", ["os._exit(0)", "os.kill(os.getpid(), 9)"])
async def test_a_run_that_vanishes_is_a_failure(house: House, body: str) -> None:
    """A test that ends the interpreter with code 0 must not pass for a green run."""
    house.write("unit/test_a.py", body)
    assert (await house.stages("pure")).code == 1


async def test_a_stage_whose_tests_are_all_deselected_is_a_failure(house: House) -> None:
    """Zero tests run is not success."""
    house.write("chaos/test_a.py", "pass")
    file = house.folder / "tests/chaos/test_a.py"
    file.write_text(file.read_text().replace("def test", "@pytest.mark.slow\ndef test"))
    done = await house.stages("chaos")
    assert (done.code, "1 deselected" in done.output) == (1, True)


async def test_an_interrupted_stage_cleans_up_and_starts_no_other(house: House) -> None:
    """ctrl-C: the tests' own clean-up ends first, then the run is over, and it is no success."""
    started, cleaned = house.folder / "started", house.folder / "cleaned"
    house.write(
        "unit/test_a.py",
        "import pathlib, time\n"
        "    try:\n"
        f"        pathlib.Path({str(started)!r}).touch(); time.sleep(100)\n"
        "    finally:\n"
        f"        time.sleep(0.2); pathlib.Path({str(cleaned)!r}).touch()",
    )
    house.write("attacks/test_b.py", "pass")
    terminal, line = os.openpty()
    runner = [sys.executable, str(house.runner), "pure", "attacks"]
    try:
        process = await asyncio.create_subprocess_exec(
            "setsid",
            "--ctty",
            "--wait",
            *runner,
            cwd=house.folder,
            stdin=line,
            stdout=asyncio.subprocess.PIPE,
        )
        await eventually(started.exists, "the first stage runs")
        os.write(terminal, b"\x03")
        output, _ = await asyncio.wait_for(process.communicate(), 60)
    finally:
        os.close(line)
        os.close(terminal)
    assert process.returncode == 130, output.decode()
    assert cleaned.exists()
    assert b"stage attacks" not in output


async def test_an_unknown_stage_is_bad_usage(house: House) -> None:
    """A typo must not run nothing and be green."""
    done = await house.stages("pakets")
    assert (done.code, "there are: pure, integration" in done.output) == (2, True)


async def test_every_folder_of_tests_belongs_to_a_stage() -> None:
    """A new folder that no stage runs would never be run by anybody."""
    text = (HOUSE / "deploy/scripts/stages.py").read_text()
    for folder in (HOUSE / "tests").iterdir():
        if folder.is_dir() and any(folder.rglob("test_*.py")):
            assert f'"{folder.name}"' in text, f"tests/{folder.name} is in no stage"
