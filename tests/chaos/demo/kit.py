"""The demo as a user starts it: a process of its own, its own state folder, its whole output."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEMO_TIMEOUT_S = 400.0
ISTHMUS = (sys.executable, "-m", "isthmus.cli.main")


def environment(home: Path) -> dict[str, str]:
    """A state folder of the test's own, so that nobody's lab is in the way."""
    return {**os.environ, "XDG_STATE_HOME": str(home), "PYTHONUNBUFFERED": "1"}


def isthmus(
    home: Path, *arguments: str, timeout_s: float = DEMO_TIMEOUT_S
) -> subprocess.CompletedProcess[str]:
    """The command to its end; both outputs in one text."""
    return subprocess.run(
        [*ISTHMUS, *arguments],
        env=environment(home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
        check=False,
    )


@dataclass
class Running:
    """A demo under way, leader of its own process group as a terminal's foreground job is."""

    process: subprocess.Popen[str]
    output: Path
    home: Path

    def text(self) -> str:
        """What it said so far."""
        return self.output.read_text()

    def said(self, words: str, timeout_s: float = 120.0) -> None:
        """Wait until it said something."""
        self.until(lambda: words in self.text(), f"it said {words!r}", timeout_s)

    def until(self, condition: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
        """Wait for a fact; fails at once when the demo is over."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert self.process.poll() is None, f"it ended before {what}:\n{self.text()[-2000:]}"
            assert time.monotonic() < deadline, f"not in time: {what}:\n{self.text()[-2000:]}"
            time.sleep(0.05)

    def interrupt(self) -> None:
        """Ctrl-C: SIGINT to the whole foreground group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def ended(self, timeout_s: float = 90.0) -> int:
        """Its exit code."""
        return self.process.wait(timeout_s)

    def state(self) -> dict[str, Any]:
        """What it wrote about itself."""
        document: dict[str, Any] = json.loads((self.home / "isthmus" / "lab.json").read_text())
        return document


@contextmanager
def demo(home: Path, *arguments: str) -> Iterator[Running]:
    """Start it; whatever the test does, it is gone afterwards."""
    output = home / "output"
    with output.open("w") as sink:
        process = subprocess.Popen(
            [*ISTHMUS, "demo", "--runtime", "in-process", *arguments],
            env=environment(home),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )
    running = Running(process, output, home)
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def processes_of(base: Path | str) -> list[str]:
    """Command lines that still know a lab's folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if str(base) in line and int(path.parent.name) != os.getpid():
                found.append(f"{path.parent.name}: {line}")
    return found


def gone(base: Path | str, timeout_s: float = 30.0) -> list[str]:
    """What is left of a lab once the kernel had its time: processes, its folder."""
    deadline = time.monotonic() + timeout_s
    while (left := processes_of(base)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return [*left, *([f"folder {base}"] if Path(base).exists() else [])]
