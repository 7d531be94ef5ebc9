"""The README's tour, as it stands there: what a newcomer types must work, or the README lies."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINE_TIMEOUT_S = 240

pytestmark = [pytest.mark.chaos, pytest.mark.world, pytest.mark.timeout(600)]


def tour() -> list[str]:
    """The lines of the first shell block below the heading "Tour"."""
    text = (ROOT / "README.md").read_text()
    _, _, after = text.partition("## Tour")
    block = re.search(r"```sh\n(.*?)```", after, re.DOTALL)
    assert block is not None, "README.md has no tour"
    return [line for line in block.group(1).splitlines() if line.strip()]


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A newcomer's shell: our command in PATH, a state folder of its own; the lab ends whatever happens."""
    bin_dir = Path(sys.executable).parent
    env = {
        **os.environ,
        "PATH": f"{bin_dir}:{os.environ['PATH']}",
        "XDG_STATE_HOME": str(tmp_path),
        "COLUMNS": "140",
    }
    env.pop("ISTHMUS_API", None)
    yield env
    subprocess.run(["isthmus", "lab", "down"], env=env, timeout=60, check=False)


def test_every_line_of_the_tour_works(environment: dict[str, str]) -> None:
    """Why: two commands and a tour are all that most people ever try."""
    said: dict[str, str] = {}
    lines = tour()
    assert len(lines) > 8
    for line in lines:
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=LINE_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        said[line] = done.stdout
    assert "running" in said["isthmus get"]
    assert " 0% packet loss" in next(text for line, text in said.items() if "ping" in line)
    assert "nothing" in said["isthmus lab down"]
