"""The system's own tools Isthmus stands on, and how a machine gets them.

What builds data planes and labs are the kernel's own tools (iproute2, nftables), what proves them
are ping, iperf3 and tcpdump, and one shipped function is haproxy. As root on a machine with apt
they are installed, else one message says exactly what is missing and the command that gets it.

    python -m isthmus.deploy.packages ensure
"""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from isthmus.deploy.command import run
from isthmus.deploy.errors import DeployError, PackagesMissing

Progress = Callable[[str], None]

# tool -> Debian package that holds it
TOOLS: Final[Mapping[str, str]] = {
    "ip": "iproute2",
    "tc": "iproute2",
    "ss": "iproute2",
    "nft": "nftables",
    "ping": "iputils-ping",
    "iperf3": "iperf3",
    "haproxy": "haproxy",
    "tcpdump": "tcpdump",
    "ethtool": "ethtool",
    "ps": "procps",
    "sysctl": "procps",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "unshare": "util-linux",
    "mount": "mount",
    "make": "make",
}

_UPDATE_S: Final = 300.0
_INSTALL_S: Final = 900.0


def search_path(environ: Mapping[str, str] = os.environ) -> str:
    """PATH with the administrator's folders, which Debian keeps out of a user's."""
    folders = environ.get("PATH", os.defpath).split(os.pathsep)
    extra = [f for f in ("/usr/local/sbin", "/usr/sbin", "/sbin") if f not in folders]
    return os.pathsep.join([*folders, *extra])


def find_tool(tool: str, environ: Mapping[str, str] = os.environ) -> str | None:
    """Where ``tool`` is, None when it is not installed."""
    return shutil.which(tool, path=search_path(environ))


def missing_tools(environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The tools that are not there."""
    return tuple(tool for tool in TOOLS if find_tool(tool, environ) is None)


def packages_of(tools: Sequence[str]) -> tuple[str, ...]:
    """The packages that hold ``tools``, each once."""
    return tuple(dict.fromkeys(TOOLS[tool] for tool in tools))


def install_command(tools: Sequence[str]) -> str:
    """What a person types to get ``tools``."""
    return f"apt-get install -y --no-install-recommends {shlex.join(packages_of(tools))}"


async def ensure(
    *,
    progress: Progress = lambda _: None,
    environ: Mapping[str, str] = os.environ,
    is_root: bool | None = None,
) -> tuple[str, ...]:
    """Install what is missing; the tools that were. PackagesMissing when we cannot. Idempotent."""
    missing = missing_tools(environ)
    if not missing:
        return ()
    apt = shutil.which("apt-get", path=search_path(environ))
    if apt is None:
        raise PackagesMissing(
            f"missing tools: {_named(missing)}; there is no apt-get here, install them with this "
            "system's own package manager (Debian's package names are in brackets)",
            tools=missing,
        )
    if not (os.geteuid() == 0 if is_root is None else is_root):
        raise PackagesMissing(
            f"missing tools: {_named(missing)}; run as root: {install_command(missing)}",
            tools=missing,
        )
    await _install(apt, missing, progress, environ)
    still = missing_tools(environ)
    if still:
        raise PackagesMissing(
            f"still missing after {install_command(missing)}: {_named(still)}", tools=still
        )
    return missing


async def _install(
    apt: str, missing: Sequence[str], progress: Progress, environ: Mapping[str, str]
) -> None:
    quiet = {**environ, "PATH": search_path(environ), "DEBIAN_FRONTEND": "noninteractive"}
    packages = packages_of(missing)
    progress(f"installing {', '.join(packages)} with apt-get")
    try:
        await run([apt, "update", "-q"], timeout_s=_UPDATE_S, env=quiet)
        argv = [apt, "install", "-y", "-q", "--no-install-recommends", *packages]
        await run(argv, timeout_s=_INSTALL_S, env=quiet)
    except DeployError as error:
        raise PackagesMissing(
            f"missing tools: {_named(missing)}; apt-get could not install them (is its source "
            f"reachable?): {error}",
            tools=tuple(missing),
        ) from error


def _named(tools: Sequence[str]) -> str:
    return ", ".join(f"{tool} ({TOOLS[tool]})" for tool in tools)


def main(argv: Sequence[str]) -> int:
    """The command line: ``ensure`` installs what is missing, or says how to."""
    if list(argv) != ["ensure"]:
        print("usage: python -m isthmus.deploy.packages ensure", file=sys.stderr)
        return 2
    try:
        asyncio.run(ensure(progress=print))
    except PackagesMissing as error:
        print(error, file=sys.stderr)
        return 1
    print(f"system tools: all {len(TOOLS)} are there")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit("interrupted")
