"""The doctor: each thing Isthmus needs, where it was found, its version, or how to get it.

One list, in the order a person would fix it: Python, programs, system tools, rights, kernel,
extras, size of the machine. Three verdicts: *ok*; *warn* (works, but a named feature will be
refused or slower); *missing* (labs and packet chains cannot run). The report is data; the command
line and ``python -m isthmus.deploy.doctor [--json]`` only render it. Exit code: 0 when nothing is
missing (warnings included), 1 when something is.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from isthmus.deploy.binaries import NAMES, Name, find, floor_text
from isthmus.deploy.command import run
from isthmus.deploy.errors import DeployError
from isthmus.deploy.kernel_probe import FEATURES, probe_kernel
from isthmus.deploy.packages import TOOLS, find_tool, install_command, packages_of
from isthmus.failpoint import VARIABLE as FAILPOINTS_VARIABLE

Verdict = Literal["ok", "warn", "missing"]
Group = Literal["python", "programs", "tools", "rights", "kernel", "extras", "machine"]

PYTHON_FLOOR: Final = (3, 11)
MEMORY_WANTED_GB: Final = 4.0  # the demo's four sites, with Ray
CORES_WANTED: Final = 2
_UNSHARE_S: Final = 15.0

# What can be done without: feature -> what we do instead.
_OPTIONAL: Final[Mapping[str, str]] = {
    "tc netem": "not needed: a relay delays the data links of the lab instead",
}


class Need(BaseModel):
    """One thing needed: what was found, and what to do when that is not enough."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    group: Group
    name: str
    verdict: Verdict
    found: str  # where and which version, or why not
    remedy: str = ""  # empty when nothing is to be done


class Diagnosis(BaseModel):
    """All needs of this machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    needs: tuple[Need, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst of all."""
        verdicts = {need.verdict for need in self.needs}
        return "missing" if "missing" in verdicts else "warn" if "warn" in verdicts else "ok"

    @property
    def exit_code(self) -> int:
        """1 when something is missing, else 0."""
        return 1 if self.verdict == "missing" else 0


async def diagnose(environ: Mapping[str, str] = os.environ) -> Diagnosis:
    """Look at this machine. Changes nothing; the kernel is tried in a world that vanishes."""
    programs = [_program(name, environ) for name in NAMES]
    *found, kernel, rights = await asyncio.gather(*programs, _kernel(), _rights())
    needs = (_python(), *(n for group in found for n in group), *_tools(environ))
    return Diagnosis(needs=(*needs, *rights, *kernel, _ray(), *_machine(), *_failpoints(environ)))


def _python() -> Need:
    version = platform.python_version()
    enough = sys.version_info[:2] >= PYTHON_FLOOR
    return Need(
        group="python",
        name="python",
        verdict="ok" if enough else "missing",
        found=f"{version} {sys.executable}",
        remedy="" if enough else "install Python 3.11 or later",
    )


async def _program(name: Name, environ: Mapping[str, str]) -> list[Need]:
    try:
        binary = await find(name, environ)
    except DeployError as error:
        text = str(error).splitlines()[0]
        remedy = "make, or python -m isthmus.deploy.binaries ensure (builds it with Go)"
        return [Need(group="programs", name=name, verdict="missing", found=text, remedy=remedy)]
    found = f"{binary.version} {binary.path} ({binary.origin}; floor {floor_text(name)})"
    return [Need(group="programs", name=name, verdict="ok", found=found)]


def _tools(environ: Mapping[str, str]) -> list[Need]:
    needs = []
    for tool in TOOLS:
        path = find_tool(tool, environ)
        needs.append(
            Need(
                group="tools",
                name=tool,
                verdict="ok" if path else "missing",
                found=path or f"not installed (package {packages_of([tool])[0]})",
                remedy="" if path else install_command([tool]),
            )
        )
    return needs


async def _rights() -> list[Need]:
    """Root, or user namespaces: one of the two makes a world."""
    root = os.geteuid() == 0
    refused = await _user_namespaces()
    return [
        Need(
            group="rights",
            name="root",
            verdict="ok" if root or not refused else "missing",
            found="yes" if root else f"no (user {os.geteuid()})",
            remedy="" if root or not refused else "run as root, or allow user namespaces",
        ),
        Need(
            group="rights",
            name="user namespaces",
            verdict="ok" if not refused else "warn" if root else "missing",
            found=refused or "allowed",
            remedy="sysctl user.max_user_namespaces; AppArmor's restriction" if refused else "",
        ),
    ]


async def _user_namespaces() -> str:
    try:
        done = await run(["unshare", "--user", "true"], timeout_s=_UNSHARE_S, check=False)
    except DeployError as error:
        return str(error)
    return "" if done.code == 0 else done.output.strip() or "refused"


async def _kernel() -> list[Need]:
    answers = await probe_kernel()
    needs = []
    for feature in FEATURES:
        refused, instead = answers[feature], _OPTIONAL.get(feature)
        bad: Verdict = "missing" if instead is None else "warn"
        remedy = instead or "another kernel, or more rights for this container"
        needs.append(
            Need(
                group="kernel",
                name=feature,
                verdict=bad if refused else "ok",
                found=refused or "works (tried)",
                remedy=remedy if refused else "",
            )
        )
    return needs


def _ray() -> Need:
    """Ray is looked for, never imported: it costs seconds, and only the global tier may."""
    if importlib.util.find_spec("ray") is None:
        remedy = "pip install 'isthmus[global]'; a site needs none"
        return Need(
            group="extras", name="ray", verdict="warn", found="not installed", remedy=remedy
        )
    version = importlib.metadata.version("ray")
    return Need(group="extras", name="ray", verdict="ok", found=version)


def _failpoints(environ: Mapping[str, str]) -> list[Need]:
    """Told only when there is something to tell, and then loudly: what is armed will misbehave on order."""
    orders = environ.get(FAILPOINTS_VARIABLE, "")
    if not orders:
        return []
    return [
        Need(
            group="machine",
            name="failpoints",
            verdict="warn",
            found=f"ARMED: {FAILPOINTS_VARIABLE}={orders}",
            remedy=f"unset {FAILPOINTS_VARIABLE}, unless you mean processes to fail on order",
        )
    ]


def _machine() -> list[Need]:
    cores = len(os.sched_getaffinity(0))
    available_gb = _available_memory_gb()
    return [
        Need(
            group="machine",
            name="cores",
            verdict="ok" if cores >= CORES_WANTED else "warn",
            found=str(cores),
            remedy="" if cores >= CORES_WANTED else f"{CORES_WANTED} or the lab is slow",
        ),
        Need(
            group="machine",
            name="memory",
            verdict="ok" if available_gb >= MEMORY_WANTED_GB else "warn",
            found=f"{available_gb:.1f} GB available, kernel {platform.release()}",
            remedy=""
            if available_gb >= MEMORY_WANTED_GB
            else f"{MEMORY_WANTED_GB:.0f} GB for the demo; fewer sites need less",
        ),
    ]


def _available_memory_gb() -> float:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024 / 1e9
    return 0.0


def render_text(diagnosis: Diagnosis) -> str:
    """The report for people: one line per need, then what to do, then the verdict."""
    width = max(len(need.name) for need in diagnosis.needs)
    lines: list[str] = []
    group = ""
    for need in diagnosis.needs:
        if need.group != group:
            group = need.group
            lines.append(group)
        lines.append(f"  {need.verdict:<8}{need.name:<{width}}  {need.found}")
        if need.remedy:
            lines.append(f"  {'':<8}{'':<{width}}  -> {need.remedy}")
    counts = {v: sum(n.verdict == v for n in diagnosis.needs) for v in ("ok", "warn", "missing")}
    tally = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    return "\n".join([*lines, f"doctor: {diagnosis.verdict} ({tally})"])


def main(argv: Sequence[str]) -> int:
    """The command line."""
    if list(argv) not in ([], ["--json"]):
        print("usage: python -m isthmus.deploy.doctor [--json]", file=sys.stderr)
        return 2
    diagnosis = asyncio.run(diagnose())
    print(diagnosis.model_dump_json(indent=1) if argv else render_text(diagnosis))
    return diagnosis.exit_code


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit("interrupted")
