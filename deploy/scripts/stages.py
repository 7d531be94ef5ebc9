"""Run the test suite in stages, each in a private world, each timed; say at the end what passed.

    python deploy/scripts/stages.py [STAGE...]

A stage is one run of pytest over its folders, so a crash in one cannot hide the others; all stages
run even when one failed, and the exit code is 1 when any did. The closing line of each pytest is
printed again at the end, and the last line is the verdict.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HOUSE = Path(__file__).resolve().parents[2]
CLOSING = re.compile(r"\d+ [a-z]+.* in \d+\.\d+s")  # "3 failed, 8 passed in 1.02s"

# name -> (folders, extra arguments of pytest)
STAGES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    # Nothing in here is timed or touches the kernel, so both cores work at once, a file each.
    "pure": (
        ("unit", "property", "simulation"),
        ("-n", "2", "--dist", "loadfile", "-m", "not slow"),
    ),
    "integration": (("integration",), ()),
    "packets": (("packets",), ()),
    "attacks": (("attacks",), ()),
    "chaos": (("chaos",), ("-m", "not slow")),
    "bench": (("bench",), ("-m", "not slow")),
}


@dataclass(frozen=True)
class Outcome:
    """How one stage ended."""

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
    # ctrl-C reaches pytest by itself; we only wait for its clean-up and start nothing more.
    interrupted: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: interrupted.append(number))
    outcomes = []
    for name in argv or STAGES:
        if not interrupted:
            outcomes.append(run_stage(name))
    print("\nstage         verdict    time   pytest says")
    for done in outcomes:
        print(f"{done.stage:<13} {done.verdict:<7} {done.seconds:>6.0f} s   {done.closing}")
    failed = [done.stage for done in outcomes if done.verdict == "failed"]
    total = sum(done.seconds for done in outcomes)
    print(f"tests: {'FAILED: ' + ', '.join(failed) if failed else 'OK'} in {total:.0f} s")
    return 130 if interrupted else 1 if failed else 0


def run_stage(name: str) -> Outcome:
    """One pytest over the folders of a stage; its output passes through as it comes."""
    folders, extra = STAGES[name]
    paths = [f"tests/{folder}" for folder in folders if has_tests(HOUSE / "tests" / folder)]
    if not paths:
        return Outcome(name, "empty", 0.0, "no tests yet")
    print(f"\n--- stage {name}: {' '.join(paths)}", flush=True)
    began = time.monotonic()
    command = [sys.executable, "-m", "isthmus.deploy.world", "--", sys.executable, "-m", "pytest"]
    pytest = subprocess.Popen(
        [*command, "-q", *paths, *extra, *os.environ.get("PYTEST_ARGS", "").split()],
        cwd=HOUSE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        bufsize=1,
    )
    closing = ""
    assert pytest.stdout is not None
    for line in pytest.stdout:
        print(line, end="", flush=True)
        closing = line.strip("= \n") if CLOSING.search(line) else closing
    code = pytest.wait()
    # A test that ended the interpreter leaves code 0, perhaps, but no closing line.
    verdict = "passed" if code == 0 and "passed" in closing else "failed"
    if not closing:
        closing = f"nothing: it vanished with exit code {code}"
    elif code > 1 or (code and "failed" not in closing and "error" not in closing):
        closing += f"; then exit code {code}: what pytest printed last says why"
    return Outcome(name, verdict, time.monotonic() - began, closing)


def has_tests(folder: Path) -> bool:
    """An empty folder is told as such; a folder whose tests are all deselected is a failure."""
    return any(folder.rglob("test_*.py"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
