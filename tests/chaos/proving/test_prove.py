"""The runner on real processes: a short set passes, and whatever ends it, nothing of it is left.

``isthmus prove`` makes a private world of its own; these tests only start it, as a user does, and look from outside.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import eventually

from isthmus.chaos.history import read

pytestmark = [pytest.mark.chaos, pytest.mark.world, pytest.mark.timeout(600)]
PROVE = (sys.executable, "-m", "isthmus.cli.main", "prove")
SHORT = ("--minutes", "0.75", "--seed", "2825", "--without", "lost")
"""Without lost sandboxes: their healing is measured in milliseconds, and a machine that runs other tests beside
has none to give. ``make chaos`` has them. The seed deals a silence longer than a site's word is believed (G12)."""
KILLS = ("--minutes", "0.35", "--seed", "98", "--only", "kills")
"""Nine deaths within four seconds: gateway, two sites' links, every etcd. ``make chaos`` goes on for ten minutes."""


@contextlib.contextmanager
def started(folder: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """A run with its words in a file; ended when the block ends."""
    with (folder / "said").open("w") as said:
        process = subprocess.Popen(
            [*PROVE, *more], stdin=subprocess.DEVNULL, stdout=said, stderr=said, text=True
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait(30)


def said(folder: Path) -> str:
    """All its words so far."""
    return (folder / "said").read_text()


def mounts() -> str:
    """What is mounted in this world."""
    return Path("/proc/self/mountinfo").read_text()


def runners(mark: str) -> list[str]:
    """Processes of a run, found by the history file that its arguments name."""
    found = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if mark in command.read_text(errors="replace") and command.parent.name != str(
                os.getpid()
            ):
                found.append(command.parent.name)
    return found


def lab_processes() -> set[str]:
    """Stores, proxies and controllers of labs whose folder only a proving ground has."""
    found = set()
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if "/mnt/lab/" in command.read_text(errors="replace"):
                found.add(command.parent.name)
    return found


def proved(history: Path, schedule: tuple[str, ...], timeout_s: int) -> dict[str, Any]:
    """The report of a run that broke nothing; what it broke and said, otherwise."""
    done = subprocess.run(
        [*PROVE, *schedule, "--history", str(history), "--json"],
        capture_output=True, text=True, timeout=timeout_s, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr[-3000:]
    report: dict[str, Any] = json.loads(done.stdout)
    broken = [one for one in report["promises"] if one["outcome"] == "broken"]
    assert not broken, f"{json.dumps(broken, indent=1)[:6000]}\n{done.stderr[-3000:]}"
    assert done.returncode == 0, done.stderr[-3000:]
    return report


def test_a_short_schedule_keeps_every_promise(tmp_path: Path) -> None:
    """Why: the same judges as in simulation, where clocks, kernels and sockets are real."""
    history = tmp_path / "history.jsonl"
    report = proved(history, SHORT, timeout_s=540)
    outcomes = {one["id"]: one["outcome"] for one in report["promises"]}
    assert report["ok"]
    assert {outcomes[name] for name in ("G3", "G4", "G5", "G6", "G7", "G9", "G12")} == {"kept"}
    assert "isthmus prove --minutes 0.75 --seed 2825 --without lost" in report["reproduce"]
    recorded = read(history)
    assert len([one for one in recorded.records if one.what == "fault"]) >= 10
    assert len([one for one in recorded.records if one.what == "ask"]) >= 20
    stale = [
        one
        for one in recorded.records
        if one.what == "fact" and one.number("now") - one.number("as_of") > one.number("ttl_s")
    ]
    asked = {one.text("by") for one in stale}
    assert asked == {"global.api", "global.placer"}, "who was asked of a site that fell silent"
    per_hour = history.stat().st_size * 80
    assert per_hour < 200e6, f"{per_hour / 1e6:.0f} MB an hour"


def test_gateway_agents_and_stores_die_at_random_and_nothing_is_lost(tmp_path: Path) -> None:
    """Why: issue 7 is done when churn under such deaths ends with equal digests and no intent lost on the link."""
    history = tmp_path / "history.jsonl"
    report = proved(history, KILLS, timeout_s=300)
    kept = {one["id"] for one in report["promises"] if one["outcome"] == "kept"}
    assert kept >= {"G3", "G4", "G5", "G6"}
    recorded = read(history).records
    died = {one.text("target") for one in recorded if one.what == "fault"}
    assert {"global.gateway", "global.etcd"} < died
    assert {name.rpartition(".")[2] for name in died} == {"gateway", "etcd", "link", "h1"}
    assert len({one.text("link") for one in recorded if one.what == "heal"}) == 6


async def test_a_run_that_is_killed_leaves_nothing(tmp_path: Path) -> None:
    """Why: kill -9 gives it no chance to clean; its world must take processes, namespaces and files along."""
    before, before_mounts = lab_processes(), mounts()
    with started(tmp_path, "--minutes", "2", "--history", str(tmp_path / "h")) as process:
        await eventually(lambda: "stores: " in said(tmp_path), "stores run", timeout_s=120)
        assert lab_processes() - before, "nothing ran: this test would prove nothing"
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        await eventually(lambda: not runners(str(tmp_path)), "the runner is gone", timeout_s=60)
        await eventually(lambda: lab_processes() <= before, "the lab is gone", timeout_s=60)
    assert mounts() == before_mounts
    assert not Path("/mnt/lab").exists()


async def test_ctrl_c_ends_it_in_order(tmp_path: Path) -> None:
    """Why: a person who has seen enough gets the shell back, and the machine as it was."""
    before = lab_processes()
    with started(tmp_path, "--minutes", "2", "--history", str(tmp_path / "h")) as process:
        await eventually(
            lambda: "certificates" in said(tmp_path), "it is on its way", timeout_s=120
        )
        process.send_signal(signal.SIGINT)
        await eventually(lambda: process.poll() is not None, "it ended", timeout_s=120)
    assert process.returncode == 130, said(tmp_path)
    assert "interrupted" in said(tmp_path)
    assert lab_processes() <= before


def test_a_kind_that_does_not_exist_is_told_with_those_that_do(tmp_path: Path) -> None:
    """Why: a run without the fault that was meant proves nothing."""
    done = subprocess.run(
        [*PROVE, "--without", "earthquake"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "earthquake" in done.stderr
    assert "silent-up" in done.stderr
    assert "Traceback" not in done.stderr
