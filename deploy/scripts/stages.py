"""Run the test suite in stages, each in a private world, each timed; say at the end what passed.

    python deploy/scripts/stages.py [STAGE...]

A stage is a run of pytest over its folders, so a crash in one cannot hide the others; all stages
run even when one failed, and the exit code is 1 when any did. The closing line of each pytest is
printed again at the end, and the last line is the verdict.

Tests on real processes mostly wait: for a lease, a timeout, a process that starts. Two things make
use of that. A stage may have *lanes*, which run at the same time, each in a world of its own: they
share neither ports nor names nor process ids. And what nobody times runs *behind*: at the lowest
priority, beside the stages of the same call, with what processor time these leave. What runs
behind, or in a second lane, is shown when it has ended. Measurements run last, alone.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

HOUSE = Path(__file__).resolve().parents[2]
CLOSING = re.compile(r"\d+ [a-z]+.* in \d+\.\d+s")  # "3 failed, 8 passed in 1.02s"
WORLD = (sys.executable, "-m", "isthmus.deploy.world", "--", sys.executable, "-m", "pytest", "-q")


@dataclass(frozen=True)
class Stage:
    """``lanes``: folders below tests; the first lane has what no other lane names."""

    lanes: tuple[tuple[str, ...], ...]
    extra: tuple[str, ...] = ()
    behind: bool = False
    alone: bool = False


STAGES: dict[str, Stage] = {
    # Nothing in here is timed or touches the kernel: both cores at once, a file each, at leisure.
    "pure": Stage(
        (("unit", "property", "simulation"),),
        ("-n", "2", "--dist", "loadfile", "-m", "not slow", "--timeout", "600"),
        behind=True,
    ),
    "integration": Stage((("integration",), ("integration/federation", "integration/global_tier"))),
    "packets": Stage((("packets",),)),
    "attacks": Stage((("attacks",),)),
    "chaos": Stage((("chaos",),), ("-m", "not slow")),
    "bench": Stage((("bench",),), ("-m", "not slow"), alone=True),
}


@dataclass
class Run:
    """One pytest: a stage, or one lane of it."""

    name: str
    process: subprocess.Popen[str]
    said: IO[str] | None
    """Where it writes when it is not to be seen yet."""

    began: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Outcome:
    """How one run ended."""

    stage: str
    verdict: str  # passed, failed, empty
    seconds: float
    closing: str


def main(argv: list[str]) -> int:
    """Run the named stages, or all."""
    unknown = [name for name in argv if name not in STAGES]
    if unknown:
        print(f"no stage {', '.join(unknown)}; there are: {', '.join(STAGES)}", file=sys.stderr)
        return 2
    # ctrl-C reaches every pytest by itself; we only wait for its clean-up and start nothing more.
    interrupted: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: interrupted.append(number))
    began = time.monotonic()
    outcomes = run_stages(argv or list(STAGES), interrupted)
    print("\nstage         verdict    time   pytest says")
    for done in outcomes:
        print(f"{done.stage:<13} {done.verdict:<7} {done.seconds:>6.0f} s   {done.closing}")
    failed = [done.stage for done in outcomes if done.verdict == "failed"]
    total = time.monotonic() - began
    print(f"tests: {'FAILED: ' + ', '.join(failed) if failed else 'OK'} in {total:.0f} s")
    return 130 if interrupted else 1 if failed else 0


def run_stages(names: Sequence[str], interrupted: Sequence[int]) -> list[Outcome]:
    """All of them; those behind begin first and are waited for before what wants to be alone."""
    in_front = [name for name in names if not STAGES[name].behind]
    behind: list[Run] = []
    outcomes: list[Outcome] = []
    for name in names:
        if STAGES[name].behind and in_front:
            started, empty = start(name)
            behind += started
            outcomes += empty
    for name in sorted(in_front or names, key=lambda one: STAGES[one].alone):
        if interrupted:
            break
        over = [run for run in behind if STAGES[name].alone or run.process.poll() is not None]
        outcomes += [finish(run) for run in over]
        behind = [run for run in behind if run not in over]
        if not interrupted:
            started, empty = start(name, live=True)
            outcomes += [*empty, *(finish(run) for run in started)]
    return outcomes + [finish(run) for run in behind]


def start(name: str, *, live: bool = False) -> tuple[list[Run], list[Outcome]]:
    """Begin a stage: a pytest per lane. A lane without tests is told as such at once."""
    stage = STAGES[name]
    runs: list[Run] = []
    empty: list[Outcome] = []
    for number, lane in enumerate(stage.lanes):
        others = [folder for other in stage.lanes if other is not lane for folder in other]
        paths, command = chosen(lane, others)
        label = f"{name}-{number + 1}" if len(stage.lanes) > 1 else name
        if not paths:
            empty.append(Outcome(label, "empty", 0.0, "no tests yet"))
            continue
        beside = "" if live and not runs else " (shown when it has ended)"
        print(f"\n--- stage {label}: {' '.join(paths)}{beside}", flush=True)
        said = None if live and not runs else tempfile.TemporaryFile("w+")  # noqa: SIM115
        process = subprocess.Popen(
            [*(("nice", "-n", "19") if stage.behind and not live else ()), *WORLD, *command,
             *stage.extra, *os.environ.get("PYTEST_ARGS", "").split()],
            cwd=HOUSE,
            stdout=said or subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
        )  # fmt: skip
        runs.append(Run(label, process, said))
    return runs, empty


def chosen(lane: Sequence[str], others: Sequence[str]) -> tuple[list[str], list[str]]:
    """The paths of a lane that have tests, and pytest's arguments: what another lane has is left to it."""
    paths: list[str] = []
    ignored: list[str] = []
    for folder in (f"tests/{name}" for name in lane):
        inside = [f"tests/{name}" for name in others if f"tests/{name}".startswith(f"{folder}/")]
        taken = tuple(f"{HOUSE / path}{os.sep}" for path in inside)
        if any(not str(file).startswith(taken) for file in (HOUSE / folder).rglob("test_*.py")):
            paths.append(folder)
            ignored += [f"--ignore={path}" for path in inside]
    return paths, [*paths, *ignored]


def finish(run: Run) -> Outcome:
    """Show what a run says as it comes, or said, until it ends."""
    closing = ""
    if run.said is not None:
        run.process.wait()
        print(f"\n--- stage {run.name} has ended", flush=True)
        run.said.seek(0)
    lines = run.said or run.process.stdout
    assert lines is not None
    with lines:
        for line in lines:
            print(line, end="", flush=True)
            closing = line.strip("= \n") if CLOSING.search(line) else closing
    code = run.process.wait()
    # A test that ended the interpreter leaves code 0, perhaps, but no closing line.
    verdict = "passed" if code == 0 and "passed" in closing else "failed"
    if not closing:
        closing = f"nothing: it vanished with exit code {code}"
    elif code > 1 or (code and "failed" not in closing and "error" not in closing):
        closing += f"; then exit code {code}: what pytest printed last says why"
    return Outcome(run.name, verdict, time.monotonic() - run.began, closing)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
