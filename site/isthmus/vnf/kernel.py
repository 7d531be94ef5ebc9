"""The seam between a kernel-ruleset function and the kernel: apply a program, ask which is in force, read counters.

:class:`NamespaceKernel` does it in a named network namespace with ``nsenter``, ``nft`` and ``tc``; tests of the logic
above give their own :class:`Kernel`. ``nsenter`` and not ``ip netns exec``: the latter copies the mount table,
which gets slower with every namespace (measured).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from isthmus.identity.text import visible
from isthmus.vnf.errors import KernelRefused, NamespaceMissing
from isthmus.vnf.netlink import Count, read_counters, read_queue_drops
from isthmus.vnf.program import DROPPED, FORWARD, REVERSE, TABLE, Mark, Program, find_mark

_TABLE_NAME = TABLE.partition(" ")[2]
_ZERO = Count(0, 0)


@dataclass(frozen=True, slots=True)
class Reading:
    """Counters of one instance. ``queued_drops`` are a shaper's, after the ruleset let the packet through."""

    forward: Count = _ZERO
    reverse: Count = _ZERO
    dropped: Count = _ZERO
    queue_drops: int = 0


class Kernel(Protocol):
    """What the logic of a kernel-ruleset function needs of its namespace."""

    async def apply(self, program: Program) -> None:
        """Put ``program`` in force, whole or not at all; raises KernelRefused, NamespaceMissing."""
        ...

    async def in_force(self) -> Mark | None:
        """The mark of the ruleset in force, None when there is none of ours; raises NamespaceMissing."""
        ...

    async def read(self) -> Reading | None:
        """The counters, None when there is no ruleset of ours; raises NamespaceMissing."""
        ...


class NamespaceKernel:
    """The kernel's side of one instance. ``tools`` bounds how many tools run at once on a host, ``threads`` is a small
    pool that enters namespaces."""

    def __init__(
        self,
        namespace: Path,
        *,
        tools: asyncio.Semaphore,
        threads: Executor,
        timeout_s: float = 5.0,
    ) -> None:
        self._namespace = namespace
        self._tools = tools
        self._threads = threads
        self._timeout_s = timeout_s
        self._queues: tuple[str, ...] = ()

    async def apply(self, program: Program) -> None:
        """Queues first, then the ruleset: nothing passes unlimited. A refused ruleset puts the old queues back."""
        before = self._queues
        try:
            if program.tc:
                await self._run(("tc", "-batch", "-"), "\n".join(program.tc) + "\n")
            await self._run(("nft", "-f", "-"), program.nft)
        except KernelRefused:
            if program.tc and before:
                await self._run(("tc", "-batch", "-"), "\n".join(before) + "\n")
            raise
        self._queues = program.tc

    async def in_force(self) -> Mark | None:
        """Read from the comment of the chain ``passed``."""
        try:
            listing = await self._run(("nft", "list", "chain", *TABLE.split(), "passed"), "")
        except KernelRefused:
            return None
        return find_mark(listing)

    async def read(self) -> Reading | None:
        """By netlink, in a helper thread."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._timeout_s):
            return await loop.run_in_executor(self._threads, self._read)

    def _read(self) -> Reading | None:
        counters = read_counters(self._namespace, _TABLE_NAME)
        if not counters:
            return None
        return Reading(
            forward=counters.get(FORWARD, _ZERO),
            reverse=counters.get(REVERSE, _ZERO),
            dropped=counters.get(DROPPED, _ZERO),
            queue_drops=read_queue_drops(self._namespace) if self._queues else 0,
        )

    async def _run(self, command: Sequence[str], text: str) -> str:
        if not self._namespace.exists():
            raise NamespaceMissing(f"no network namespace {self._namespace.name!r}")
        async with self._tools:
            code, output, complaint = await self._finish(command, text)
        if code == 0:
            return output
        if complaint.startswith("nsenter:"):
            raise NamespaceMissing(f"cannot enter network namespace {self._namespace.name!r}")
        first = complaint.strip().partition("\n")[0]
        raise KernelRefused(f"{command[0]}: {visible(first, 200) or f'exit code {code}'}")

    async def _finish(self, command: Sequence[str], text: str) -> tuple[int, str, str]:
        try:
            process = await asyncio.create_subprocess_exec(
                "nsenter",
                f"--net={self._namespace}",
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            raise KernelRefused(f"cannot run nsenter: {error.strerror}") from None
        try:
            async with asyncio.timeout(self._timeout_s):
                output, complaint = await process.communicate(text.encode())
        except TimeoutError:
            raise KernelRefused(f"{command[0]}: no answer in {self._timeout_s:g} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode or 0, output.decode(), complaint.decode(errors="replace")
