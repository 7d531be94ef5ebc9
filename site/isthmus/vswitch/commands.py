"""The edge to the kernel's tools: one node is one network namespace, every call has a deadline.

``ip -n`` and ``ip netns exec`` copy the mount table, which grows with the number of namespaces
(measured: 4 to 11 ms at 288 of them); ``nsenter --net=`` does not, so it is the only way in.
Work goes through the batch modes of ``ip``, ``tc`` and ``nft``: a namespace costs six processes
instead of thirty.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from isthmus.vswitch.errors import CommandFailed, CommandTimedOut, NodeGone

__all__ = ["NETNS_DIR", "Node"]

NETNS_DIR = Path("/run/netns")
DEFAULT_TIMEOUT_S = 10.0
"""A loaded two-core machine needed 1 s for the largest batch seen; ten times that is a fault."""
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True, slots=True)
class Node:
    """A place where packets are patched: the namespace ``netns``, or the current one for None."""

    netns: str | None = None
    timeout_s: float = DEFAULT_TIMEOUT_S

    @property
    def path(self) -> Path:
        """The file that stands for the namespace."""
        return Path("/proc/self/ns/net") if self.netns is None else NETNS_DIR / self.netns

    def command(self, *argv: str) -> tuple[str, ...]:
        """Return ``argv`` wrapped so that it runs inside the node."""
        return argv if self.netns is None else ("nsenter", f"--net={self.path}", *argv)

    async def run(self, *argv: str, stdin: str = "", timeout_s: float | None = None) -> str:
        """Run a tool inside the node and return its output; raise the typed error otherwise."""
        if self.netns is not None and not self.path.exists():
            raise NodeGone(self.netns)
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        process = await self._start(argv)
        try:
            async with asyncio.timeout(limit_s):
                out, err = await process.communicate(stdin.encode())
        except TimeoutError:
            raise CommandTimedOut(argv, limit_s) from None
        finally:
            await _end(process)
        if process.returncode:
            self._fail(argv, process.returncode, err.decode(errors="replace"))
        return out.decode(errors="replace")

    async def _start(self, argv: tuple[str, ...]) -> asyncio.subprocess.Process:
        command = self.command(*argv)
        try:
            return await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=_environment(),
            )
        except FileNotFoundError:
            problem = f"{command[0]} is not installed (iproute2, nftables, util-linux are needed)"
            raise CommandFailed(argv, 127, problem) from None

    def _fail(self, argv: tuple[str, ...], returncode: int, stderr: str) -> None:
        gone = "nsenter" in stderr and "No such file" in stderr
        if self.netns is not None and (gone or "reassociate" in stderr):
            raise NodeGone(self.netns)
        raise CommandFailed(argv, returncode, stderr)

    async def ip(self, lines: Iterable[str], *, force: bool = False) -> str:
        """Apply a batch of ``ip`` commands; with ``force`` go on behind a line that fails."""
        return await self._batch(("ip",), lines, force=force)

    async def tc(self, lines: Iterable[str], *, force: bool = False) -> str:
        """Apply a batch of ``tc`` commands; with ``force`` go on behind a line that fails."""
        return await self._batch(("tc",), lines, force=force)

    async def nft(self, script: str) -> None:
        """Apply an nft script: one transaction, all of it or nothing."""
        if script:
            await self.run("nft", "-f", "-", stdin=script)

    async def _batch(self, tool: tuple[str, ...], lines: Iterable[str], *, force: bool) -> str:
        text = "".join(f"{line}\n" for line in lines)
        if not text:
            return ""
        flags = ("-force", "-batch", "-") if force else ("-batch", "-")
        try:
            return await self.run(*tool, *flags, stdin=text)
        except CommandFailed:
            if force:
                return ""
            raise


def _environment() -> dict[str, str]:
    """The tools need a path with sbin and plain English; they need nothing of ours."""
    return {"PATH": f"{_SBIN}:{os.environ.get('PATH', '')}", "LC_ALL": "C"}


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill a tool that still runs (deadline passed or we were cancelled) and reap it."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
