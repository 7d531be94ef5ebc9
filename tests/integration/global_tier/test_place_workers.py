"""``isthmus what-if`` on a real Ray cluster of its own: same bytes, and nothing is left."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path

import pytest

from isthmus.placement.generator import drawn, make
from isthmus.placement.problem import dump

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]
ALONE = ("unshare", "--pid", "--fork", "--kill-child=KILL", "--mount-proc")
SCRIPT = """
import sys
from pathlib import Path
from click.testing import CliRunner
from isthmus.cli.place import what_if_command
told = CliRunner().invoke(what_if_command, sys.argv[1:])
print(told.stderr)
left = []
for folder in Path("/proc").glob("[0-9]*"):
    try:
        words = (folder / "cmdline").read_bytes().split(b"\\0")[0]
    except OSError:
        continue
    if b"raylet" in words or b"gcs_server" in words:
        left.append(words)
print("left", left)
sys.exit(told.exit_code)
"""


async def ask(problem: Path, out: Path, where: str, temporary: Path) -> str:
    """The command in a pid namespace of its own; what it said on standard error."""
    user = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    process = await asyncio.create_subprocess_exec(
        *ALONE, *user, sys.executable, "-c", SCRIPT, "--problem", str(problem), "--out", str(out),
        "--work", "0", "--kind", "site", "--workers", where,
        stdout=asyncio.subprocess.PIPE, env={**os.environ, "TMPDIR": str(temporary)},
    )  # fmt: skip
    async with asyncio.timeout(200):
        said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return said.decode()


async def test_what_if_on_ray_gives_the_same_bytes_and_leaves_nothing(tmp_path: Path) -> None:
    """Why: a stand-in pool proves the order, not that Ray takes our values, ends, and cleans up."""
    problem = tmp_path / "p.json"
    problem.write_text(json.dumps(dump(make(drawn(12, 3), 12, regime="relaxed", seed=3))))
    with tempfile.TemporaryDirectory(
        prefix="i", dir="/tmp"
    ) as short:  # paths of sockets end at 107 bytes
        temporary = Path(short)
        await ask(problem, tmp_path / "a", "in-process", temporary)
        said = await ask(problem, tmp_path / "b", "ray", temporary)
        assert list(temporary.glob("isthmus-*")) == []
    assert "workers: ray (as asked)" in said
    assert "left []" in said
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
