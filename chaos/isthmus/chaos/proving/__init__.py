"""``isthmus prove``: the judges of the simulation on real processes, under a seeded schedule of faults (issue 5).

The run itself lives in a private world (:mod:`isthmus.chaos.proving.inner`): whatever ends it, were it SIGKILL, the
kernel takes every process, namespace and file of it along. This side starts it, passes ctrl-C on, and looks whether
anything was left behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from isthmus.chaos.proving.kills import KILLS
from isthmus.chaos.proving.schedule import KINDS
from isthmus.deploy import kernel
from isthmus.deploy.errors import DeployError
from isthmus.deploy.world import world_command

__all__ = ["prove"]

LEAVE_S = 30.0
INTERRUPTED = 130


def prove(
    *,
    minutes: float = 5.0,
    seed: int | None = None,
    history: Path | None = None,
    as_json: bool = False,
    only: Sequence[str] = (),
    without: Sequence[str] = (),
) -> int:
    """0: every promise kept; 1: one is broken or was not tried; 2: the run failed; 130: interrupted."""
    kinds = _chosen(only, without)
    seed = int(time.strftime("%Y%m%d", time.gmtime())) if seed is None else seed
    mark = f"{os.getpid()}-{time.monotonic_ns()}"
    options = {
        "minutes": minutes,
        "seed": seed,
        "history": str(history.resolve()) if history is not None else "",
        "json": as_json,
        "commit": _commit(),
        "kinds": kinds,
        "command": " ".join(
            [
                f"isthmus prove --minutes {minutes:g} --seed {seed}",
                *(f"--only {kind}" for kind in only),
                *(f"--without {kind}" for kind in without),
            ]
        ),
        "mark": mark,
    }
    told: list[int] = []
    process = subprocess.Popen(
        world_command([sys.executable, "-m", "isthmus.chaos.proving.inner", json.dumps(options)]),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: kernel.set_parent_death_signal(signal.SIGKILL),
    )
    with _signals_to(process, told):
        code = process.wait()
    left = _left_behind(mark)
    if left:
        print(f"left behind: {', '.join(left)}", file=sys.stderr)
        return 1
    return INTERRUPTED if told else code


def _chosen(only: Sequence[str], without: Sequence[str]) -> list[str]:
    """The kinds that are played; DeployError when that is not possible."""
    if KILLS in only:
        if len({*only, *without}) > 1:
            raise DeployError(
                f"--only {KILLS} is a schedule of its own; no other kind goes with it"
            )
        return [KILLS]
    for option, asked in (("--only", only), ("--without", without)):
        unknown = sorted({*asked} - {*KINDS})
        if unknown:
            raise DeployError(
                f"{option} {', '.join(unknown)}: no such kind; there are: {', '.join(KINDS)}"
                + (f", or {KILLS} alone" if option == "--only" else "")
            )
    kinds = [kind for kind in only or KINDS if kind not in without]
    if not kinds:
        raise DeployError("--without leaves no kind of fault: nothing would be proven")
    return kinds


@contextlib.contextmanager
def _signals_to(process: subprocess.Popen[bytes], told: list[int]) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the world in order; one is passed on, a second would cut the clean-up short."""

    def pass_on(number: int, _: Any) -> None:
        told.append(number)
        if len(told) == 1:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()

    before = {n: signal.signal(n, pass_on) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _left_behind(mark: str) -> list[str]:
    """Processes that still know the run's mark."""
    deadline = time.monotonic() + LEAVE_S
    while True:
        left = []
        for command in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if mark in command.read_text(errors="replace"):
                    left.append(f"process {command.parent.name}")
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.1)


def _commit() -> str:
    """Of the checkout, if it is one."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"],
            cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
        return done.stdout.strip()
    return "unknown"
