"""``isthmus demo``: a carrier in one command, with real packets, and a verdict that can be "FAILED" (issue 3).

The demo itself runs inside a private world (:mod:`isthmus.chaos.demo.inner`); this side starts it, looks whether
anything was left behind, and has the last word.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from isthmus.chaos.demo.sabotage import KINDS
from isthmus.deploy import kernel
from isthmus.deploy.errors import DeployError
from isthmus.deploy.lab.carrier import carrier
from isthmus.deploy.lab.control import describe
from isthmus.deploy.lab.home import Home
from isthmus.deploy.world import world_command

KEEP_POLL_S = 0.2
LEAVE_S = 30.0
INTERRUPTED = 130


class DemoRefused(DeployError):
    """The demo cannot be started like this."""


def run(
    *, keep: bool = False, record: Path | None = None, sabotage: str = "", runtime: str = "ray"
) -> int:
    """Play the demo; 0 for OK, 1 for FAILED, 130 when interrupted."""
    if sabotage and sabotage not in KINDS:
        told = "\n".join(f"  {name}: {what}" for name, what in KINDS.items())
        raise DemoRefused(f"sabotage {sabotage!r} is unknown; there are:\n{told}")
    home = Home.of()
    lock = home.acquire("demo")
    base = home.new_base()
    options = json.dumps({"sabotage": sabotage, "keep": keep, "runtime": runtime})
    began = time.monotonic()
    children: list[subprocess.Popen[bytes]] = []
    signals: list[int] = []
    try:
        with _signals_to(children, signals):
            process = _start(base, options, lock, keep=keep)
            children.append(process)
            if signals:
                process.terminate()
            home.write(describe("the demo", process.pid, base, carrier()))
            code = _wait_kept(process, base) if keep else process.wait()
        code = INTERRUPTED if signals else code
        result = _result(base)
        if record is not None and result:
            record.write_text(json.dumps(result, indent=2) + "\n")
        kept = keep and process.poll() is None
        left = [] if kept else _left_behind(base)
        return _verdict(code, result, left, time.monotonic() - began, kept)
    finally:
        if not (keep and children and children[0].poll() is None):
            shutil.rmtree(base, ignore_errors=True)
            with contextlib.suppress(OSError):
                home.state_file.unlink()
        os.close(lock)


def _start(base: Path, options: str, lock: int, *, keep: bool) -> subprocess.Popen[bytes]:
    """The world with the demo in it, in a session of its own: ctrl-C is for us, and we pass on *one* signal (a second
    one would cut the clean-up short). It dies with us, unless it is to be kept.
    """
    death = signal.SIGKILL
    return subprocess.Popen(
        world_command([sys.executable, "-m", "isthmus.chaos.demo.inner", str(base), options]),
        pass_fds=(lock,),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=None if keep else lambda: kernel.set_parent_death_signal(death),
    )


def _wait_kept(process: subprocess.Popen[bytes], base: Path) -> int:
    """Until the result is there; the lab goes on."""
    while process.poll() is None and not (base / "result.json").exists():
        time.sleep(KEEP_POLL_S)
    if process.poll() is not None:
        return int(process.returncode)
    checks = _result(base).get("checks", [])
    return 0 if all(check["ok"] for check in checks) else 1


@contextlib.contextmanager
def _signals_to(children: list[subprocess.Popen[bytes]], told: list[int]) -> Iterator[None]:
    """Ctrl-C and SIGTERM are noted in ``told`` and end the world in order."""

    def pass_on(number: int, _: Any) -> None:
        told.append(number)
        for process in children:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()

    before = {n: signal.signal(n, pass_on) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _result(base: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads((base / "result.json").read_text())
    except (OSError, ValueError):
        return {}
    return document


def _left_behind(base: Path) -> list[str]:
    """Processes that still know the lab's folder: the world's end must have ended them all."""
    deadline = time.monotonic() + LEAVE_S
    while True:
        left = []
        for command in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if int(command.parent.name) != os.getpid() and str(base) in command.read_text():
                    left.append(f"process {command.parent.name}")
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.1)


def _verdict(code: int, result: dict[str, Any], left: list[str], took_s: float, kept: bool) -> int:
    checks = result.get("checks", [])
    failed = [check for check in checks if not check["ok"]]
    print(f"\n{len(checks)} statements checked in {took_s:.0f} s; figures: {_figures(result)}")
    if kept:
        print(
            "the lab stays up: isthmus sites | isthmus get | isthmus lab status; end it with isthmus lab down"
        )
    else:
        print(f"left behind: {', '.join(left) or 'nothing'}")
    if code == INTERRUPTED:
        print("demo: FAILED (interrupted)")
        return INTERRUPTED
    if failed:
        print(f"demo: FAILED ({failed[0]['promise']}: {failed[0]['statement']})")
        return 1
    if code != 0 or not checks or left:
        reason = f"left behind: {', '.join(left)}" if left else f"it ended with code {code}"
        print(f"demo: FAILED ({reason})")
        return 1
    print("demo: OK")
    return 0


def _figures(result: dict[str, Any]) -> str:
    return (
        ", ".join(f"{name} {value}" for name, value in result.get("figures", {}).items()) or "none"
    )
