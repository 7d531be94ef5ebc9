"""Building: one program at a time, put in place in one step, by one builder at a time.

The real compiler runs once per recipe on a machine (about two minutes), far too long for a unit
test; here a stand-in ``go`` records what it was asked and writes programs that say their version.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from isthmus.deploy.binaries import NAMES, cache_folder
from isthmus.deploy.build import GO_HASHES, ensure, ensure_line
from isthmus.deploy.errors import BuildFailed

STAND_IN = """#!/usr/bin/env python3
import json, os, sys
if sys.argv[1] == "version":
    print("go version go@GO@ linux/amd64"); sys.exit()
with open("@LOG@", "a") as log:
    print(json.dumps({"argv": sys.argv[1:], "cwd": os.getcwd(), "env": dict(os.environ)}), file=log)
if "@FAIL@" in sys.argv[-1:]:
    print("dial tcp: no route to host"); sys.exit(1)
out = sys.argv[sys.argv.index("-o") + 1]
with open(out, "w") as program:
    program.write("#!/bin/sh\\necho version 3.7.3\\n")
os.chmod(out, 0o755)
"""


class Bench:
    """A machine with a stand-in Go and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.said: list[str] = []
        path = f"{folder / 'path'}:{os.defpath}"
        self.environ = {"HOME": str(folder / "home"), "PATH": path, "GOEXPERIMENT": "odd"}

    def put_go(self, version: str = "1.26.8", fail: str = "-") -> None:
        text = STAND_IN.replace("@GO@", version).replace("@LOG@", str(self.log))
        go = self.folder / "path" / "go"
        go.parent.mkdir(exist_ok=True)
        go.write_text(text.replace("@FAIL@", fail))
        go.chmod(0o755)

    def calls(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def files(self) -> set[str]:
        return {entry.name for entry in cache_folder(self.environ).iterdir()} - {".lock"}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """See Bench."""
    return Bench(tmp_path)


async def test_each_program_is_built_by_itself_under_its_own_name(bench: Bench) -> None:
    """Two servers are called "server": built together, one silently replaces the other."""
    bench.put_go()
    found = await ensure(progress=bench.said.append, environ=bench.environ)
    assert tuple(found) == NAMES
    assert all(
        b.origin == "built" and b.path.parent == cache_folder(bench.environ) for b in found.values()
    )
    sources = [call["argv"][-1] for call in bench.calls()]
    assert len(set(sources)) == len(NAMES) == len(sources)
    assert bench.files() == set(NAMES)
    assert any("built etcd 3.7.3" in line for line in bench.said)


async def test_a_build_depends_on_the_recipe_only(bench: Bench) -> None:
    """No Go fetched behind our back, no module outside go.sum, no experiment of the user's."""
    bench.put_go()
    await ensure(environ=bench.environ)
    for call in bench.calls():
        env = call["env"]
        assert env["GOTOOLCHAIN"] == "local"
        assert "-mod=readonly" in env["GOFLAGS"]
        assert env["CGO_ENABLED"] == "0"
        assert "GOEXPERIMENT" not in env
        assert (Path(str(call["cwd"])) / "go.sum").is_file()
        assert "tool" not in call["argv"]


async def test_a_second_ensure_builds_nothing(bench: Bench) -> None:
    """`make` calls it each time."""
    bench.put_go()
    await ensure(environ=bench.environ)
    built = len(bench.calls())
    again = await ensure(environ=bench.environ)
    assert {b.origin for b in again.values()} == {"cache"}
    assert len(bench.calls()) == built


async def test_only_what_is_missing_is_built(bench: Bench) -> None:
    """A program lost from the cache costs its own build, not five."""
    bench.put_go()
    await ensure(environ=bench.environ)
    (cache_folder(bench.environ) / "etcdutl").unlink()
    bench.log.unlink()
    await ensure(environ=bench.environ)
    assert [call["argv"][-1] for call in bench.calls()] == ["go.etcd.io/etcd/etcdutl/v3"]


async def test_two_at_once_build_once(bench: Bench) -> None:
    """Two shells, one cache: the second waits for the first and takes its result."""
    bench.put_go()
    both = await asyncio.gather(
        ensure(progress=bench.said.append, environ=bench.environ),
        ensure(progress=bench.said.append, environ=bench.environ),
    )
    assert len(bench.calls()) == len(NAMES)
    assert sorted({b.origin for found in both for b in found.values()}) == ["built", "cache"]


async def test_a_failed_build_leaves_no_half_program(bench: Bench) -> None:
    """Half a program in the cache would be found, and believed, next time."""
    bench.put_go(fail="go.etcd.io/etcd/etcdctl/v3")
    with pytest.raises(BuildFailed, match=r"(?s)etcdctl.*module proxy.*no route to host"):
        await ensure(environ=bench.environ)
    assert bench.files() == {"etcd"}


async def test_an_old_go_is_said_and_not_used(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Go 1.24 cannot build it; without a pinned toolchain for this machine we say what to do."""
    bench.put_go("1.24.4")
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(BuildFailed, match=r"none is pinned for riscv64; install Go 1\.26"):
        await ensure(progress=bench.said.append, environ=bench.environ)
    assert any("older than Go 1.26" in line for line in bench.said)
    assert bench.files() == set()


def test_the_throw_away_go_is_pinned_by_hash() -> None:
    """What is fetched and run is what was looked at; 64 hex digits, one per kind of machine."""
    assert set(GO_HASHES) == {"x86_64", "aarch64"}
    assert all(len(h) == 64 and int(h, 16) >= 0 for h in GO_HASHES.values())


async def test_another_line_of_etcd_is_built_apart_from_ours(bench: Bench) -> None:
    """Conformance runs against 3.6, too; its programs must never be taken for those of the house."""
    bench.put_go()
    folder = await ensure_line("3.6", progress=bench.said.append, environ=bench.environ)
    assert folder != cache_folder(bench.environ)
    assert {entry.name for entry in folder.iterdir()} - {".lock"} == {"etcd", "etcdctl", "etcdutl"}
    assert all(str(call["cwd"]).endswith("binaries-etcd-3.6") for call in bench.calls())
    built = len(bench.calls())
    assert await ensure_line("3.6", environ=bench.environ) == folder
    assert len(bench.calls()) == built, "once"


async def test_a_line_without_a_recipe_is_told(bench: Bench) -> None:
    """A typing mistake must not fetch whatever the name may mean."""
    with pytest.raises(BuildFailed, match=r"no recipe for etcd '3\.1'; there are: 3\.6"):
        await ensure_line("3.1", environ=bench.environ)
