"""The stages of `make test`: each in a world, none hidden by another, and never a failure that looks like success."""

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

pytestmark = pytest.mark.timeout(600)
"""What runs behind waits for what runs in front, and these tests may run behind themselves."""


@pytest.fixture(autouse=True)
def _no_outer_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests are themselves run by make: its wishes are not meant for the runs inside."""
    for variable in ("PYTEST_ARGS", "PYTEST_ADDOPTS", "STAGES", "MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
        monkeypatch.delenv(variable, raising=False)


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
        return await run(argv, timeout_s=300, check=False, cwd=self.folder)


@pytest.fixture
def house(tmp_path: Path) -> House:
    """See House."""
    return House(tmp_path)


async def test_stages_run_in_a_world_and_show_pytests_closing_line(house: House) -> None:
    """Each test sees the private world; the tally of each stage is in the summary."""
    house.write("chaos/test_a.py", "assert os.environ['ISTHMUS_WORLD'] == '1'")
    house.write("attacks/test_b.py", "pass")
    done = await house.stages("chaos", "attacks", "packets")
    assert done.code == 0, done.output
    assert re.search(r"^chaos +passed +\d+ s +1 passed in", done.output, re.MULTILINE)
    assert re.search(r"^packets +empty", done.output, re.MULTILINE)
    assert done.output.strip().splitlines()[-1].startswith("tests: OK in")


async def test_a_failed_stage_fails_all_and_stops_none(house: House) -> None:
    """The later stages still run: one report for one run."""
    house.write("packets/test_a.py", "assert False")
    house.write("attacks/test_b.py", "pass")
    done = await house.stages("packets", "attacks")
    assert done.code == 1
    assert re.search(r"^attacks +passed", done.output, re.MULTILINE)
    assert done.output.strip().splitlines()[-1].startswith("tests: FAILED: packets in")


@pytest.mark.parametrize(
    ("stage", "body"),
    [
        ("attacks", "os._exit(0)"),
        ("attacks", "os.kill(os.getpid(), 9)"),
        ("pure", "os._exit(0)"),  # one of two workers
    ],
)
async def test_a_run_that_vanishes_is_a_failure(house: House, stage: str, body: str) -> None:
    """A test that ends the interpreter with code 0 must not pass for a green run."""
    house.write("attacks/test_a.py" if stage == "attacks" else "unit/test_a.py", body)
    assert (await house.stages(stage)).code == 1


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
        "packets/test_a.py",
        "import pathlib, time\n"
        "    try:\n"
        f"        pathlib.Path({str(started)!r}).touch(); time.sleep(100)\n"
        "    finally:\n"
        f"        time.sleep(0.2); pathlib.Path({str(cleaned)!r}).touch()",
    )
    house.write("attacks/test_b.py", "pass")
    terminal, line = os.openpty()
    runner = [sys.executable, str(house.runner), "packets", "attacks"]
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
        output, _ = await asyncio.wait_for(process.communicate(), 250)
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


async def test_lanes_share_out_the_folders_and_each_has_a_world(house: House) -> None:
    """A folder in two lanes costs its time twice; one in none is never run. Two worlds: the same ports may be taken."""
    bind = (
        "import socket, time; from pathlib import Path; s = socket.socket(); s.bind(('127.0.0.1', 7));"
        "\n    here, there = Path({here!r}), Path({there!r}); here.touch()"
        "\n    deadline = time.monotonic() + 250"
        "\n    while not there.exists():"
        "\n        assert time.monotonic() < deadline, 'the lanes do not run at the same time'"
    )
    ends = (str(house.folder / "one"), str(house.folder / "two"))
    house.write("integration/kv/test_a.py", bind.format(here=ends[0], there=ends[1]))
    house.write("integration/test_b.py", "pass")
    house.write("integration/federation/test_c.py", bind.format(here=ends[1], there=ends[0]))
    done = await house.stages("integration")
    assert done.code == 0, done.output
    assert re.search(r"^integration-1 +passed +\d+ s +2 passed in", done.output, re.MULTILINE)
    assert re.search(r"^integration-2 +passed +\d+ s +1 passed in", done.output, re.MULTILINE)


async def test_a_lane_without_tests_is_empty_and_a_failed_lane_fails_all(house: House) -> None:
    """What failed in the lane that nobody watched is shown in full all the same."""
    house.write("integration/federation/test_c.py", "assert 'seen' == 'later'")
    done = await house.stages("integration")
    assert (done.code, "assert 'seen' == 'later'" in done.output) == (1, True), done.output
    assert re.search(r"^integration-1 +empty", done.output, re.MULTILINE)
    assert done.output.strip().splitlines()[-1].startswith("tests: FAILED: integration-2 in")


async def test_what_nobody_times_runs_behind_and_measurements_alone(house: House) -> None:
    """The lowest priority, so that it takes only what the others leave; nothing beside a measurement."""
    met, over = house.folder / "met", house.folder / "over"
    house.write(
        "unit/test_a.py",
        "import time; from pathlib import Path; assert os.nice(0) == 19"
        "\n    deadline = time.monotonic() + 250"
        f"\n    while not Path({str(met)!r}).exists():"
        "\n        assert time.monotonic() < deadline, 'nothing runs beside it'"
        f"\n    Path({str(over)!r}).touch()",
    )
    house.write(
        "attacks/test_b.py",
        # This test may itself run behind others, and nobody's priority ever rises.
        f"from pathlib import Path; assert os.nice(0) == {os.nice(0)}; Path({str(met)!r}).touch()",
    )
    house.write("bench/test_c.py", f"assert os.path.exists({str(over)!r})")
    done = await house.stages("pure", "bench", "attacks")
    assert done.code == 0, done.output
    for name in ("pure", "attacks", "bench"):
        assert re.search(rf"^{name} +passed", done.output, re.MULTILINE), name


async def test_every_folder_of_tests_belongs_to_a_stage() -> None:
    """A new folder that no stage runs would never be run by anybody."""
    text = (HOUSE / "deploy/scripts/stages.py").read_text()
    for folder in (HOUSE / "tests").iterdir():
        if folder.is_dir() and any(folder.rglob("test_*.py")):
            assert f'"{folder.name}"' in text, f"tests/{folder.name} is in no stage"
