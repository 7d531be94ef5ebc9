"""``lab up | down | status | exec``: the lab seen from outside its world."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from isthmus.deploy.errors import DeployError
from isthmus.deploy.lab.addresses import Addresses
from isthmus.deploy.lab.carrier import carrier
from isthmus.deploy.lab.daemon import FAILED, READY
from isthmus.deploy.lab.home import Home, NoLab
from isthmus.deploy.lab.spec import LabSpec
from isthmus.deploy.supervisor import read_state
from isthmus.deploy.world import world_command

UP_TIMEOUT_S = 180.0
DOWN_TIMEOUT_S = 20.0
Tell = Callable[[str], None]


class LabFailed(DeployError):
    """The lab did not come up; says at which step and which log tells more."""


def read_spec(path: Path | None) -> LabSpec:
    """The spec in a JSON file, or the demo's carrier; raises LabFailed naming the field."""
    if path is None:
        return carrier()
    try:
        return LabSpec.model_validate_json(path.read_text())
    except OSError as error:
        raise LabFailed(f"{path}: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise LabFailed(f"{path}: field {where}: {first['msg']}") from None


def up(*, spec: Path | None = None, tell: Tell = print) -> dict[str, Any]:
    """Start a lab that stays; returns what it is once it is ready."""
    wanted = read_spec(spec)
    home = Home.of()
    lock = home.acquire("lab")
    base = home.new_base()
    try:
        process = subprocess.Popen(
            world_command(
                [
                    sys.executable,
                    "-m",
                    "isthmus.deploy.lab.daemon",
                    str(base),
                    wanted.model_dump_json(),
                ]
            ),
            pass_fds=(lock,),
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(base / "daemon.log").open("wb"),
        )
        document = describe("the lab", process.pid, base, wanted)
        home.write(document)
        _follow(process, base, tell)
    except BaseException:
        down(tell=lambda _: None)
        raise
    finally:
        os.close(lock)
    return document


def describe(what: str, pid: int, base: Path, spec: LabSpec) -> dict[str, Any]:
    """The state file's content: ``apis`` is what ``isthmus --at NAME`` looks up."""
    tiers = Addresses(spec).tiers
    return {
        "what": what,
        "name": spec.name,
        "pid": pid,
        "base": str(base),
        "apis": {tier: str(base / tier / "api.sock") for tier in tiers},
    }


def _follow(process: subprocess.Popen[bytes], base: Path, tell: Tell) -> None:
    """Tell the daemon's progress until it is ready; raises LabFailed."""
    deadline = time.monotonic() + UP_TIMEOUT_S
    told = 0
    while time.monotonic() < deadline:
        path = base / "progress"
        lines = path.read_text().splitlines() if path.exists() else []
        for line in lines[told:]:
            if line == READY:
                return
            if line.startswith(FAILED):
                raise LabFailed(f"the lab did not come up: {line.removeprefix(FAILED)}")
            tell(line)
        told = len(lines)
        if process.poll() is not None:
            log = (base / "daemon.log").read_text(errors="replace").strip().splitlines()
            raise LabFailed(f"the lab ended: {log[-1] if log else f'code {process.returncode}'}")
        time.sleep(0.05)
    raise LabFailed(f"the lab was not ready within {UP_TIMEOUT_S:.0f} s; see {base}/logs")


def down(*, tell: Tell = print) -> dict[str, Any]:
    """End the running lab; nothing is left. Also cleans what a killed lab left."""
    home = Home.of()
    document = home.read()
    if document is None:
        return {"lab": "none was running"}
    pid = int(document.get("pid", 0))
    if home.busy() and pid > 1:
        tell(f"ending {document.get('what', 'the lab')} (pid {pid})")
        _end(pid, home)
    lock = home.acquire("clean-up")  # acquiring cleans
    os.close(lock)
    base = Path(str(document.get("base", "")))
    return {"lab": "ended", "left behind": str(base) if base.exists() else "nothing"}


def _end(pid: int, home: Home) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + DOWN_TIMEOUT_S
        while home.busy() and time.monotonic() < deadline:
            time.sleep(0.05)
        if not home.busy():
            return


def status() -> dict[str, Any]:
    """What runs: processes with their states, links with theirs."""
    home = Home.of()
    document = home.read()
    if document is None or not home.busy():
        return {"lab": "none is running; start one with 'isthmus lab up'"}
    base = Path(str(document["base"]))
    report: dict[str, Any] = {"lab": document["name"], "pid": document["pid"], "base": str(base)}
    state = base / "supervisor.json"
    if state.exists():
        told = read_state(state)
        for process in told.processes if told is not None else ():
            restarts = f", {process.restarts} restarts" if process.restarts else ""
            report[process.name] = f"{process.state}{restarts}"
    links = base / "global" / "links.json"
    if links.exists():
        told = json.loads(links.read_text())
        for link in told["links"]:
            report[f"link {link['peer']}"] = (
                f"{link['state']}, {'synced' if link['synced'] else 'not synced'}"
            )
        refused = told.get("refused") or {}
        if refused:
            report["gateway refused"] = ", ".join(
                f"{why} {refused[why]}" for why in sorted(refused)
            )
    return report


def execute(namespace: str, command: Sequence[str]) -> int:
    """Run a command in one of the lab's namespaces; its exit code."""
    home = Home.of()
    document = home.read()
    if document is None or not home.busy():
        raise NoLab("no lab is running; start one with 'isthmus lab up'")
    init = _init_of(int(document["pid"]))
    enter = ["nsenter", f"--target={init}", "--mount", "--net", "--pid", "--"]
    known = subprocess.run(
        [*enter, "ls", "/run/netns"], capture_output=True, text=True, timeout=10, check=False
    ).stdout.split()
    if namespace not in known:
        raise NoLab(f"the lab has no namespace {namespace!r}; there are: {', '.join(known)}")
    words = command[1:] if command[:1] in (["--"], ("--",)) else command
    inside = ["nsenter", f"--net=/run/netns/{namespace}", "--", *words]
    return subprocess.run([*enter, *inside], check=False).returncode


def _init_of(gate: int) -> int:
    """Process 1 of the world whose gate is ``gate``."""
    children = Path(f"/proc/{gate}/task/{gate}/children").read_text().split()
    if not children:
        raise NoLab(f"the lab (pid {gate}) is ending")
    return int(children[0])


def remove(base: Path) -> None:
    """Remove a lab's folder; absent is fine."""
    shutil.rmtree(base, ignore_errors=True)
