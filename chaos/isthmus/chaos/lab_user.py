"""A user of a lab: asks for chains through the API and sends packets from customers' premises.

Benchmarks (GOALS "instantiate", "heal") and packet tests drive a lab only as people do: the API's socket, and
processes in the customers' namespaces. It measures and does not judge.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from isthmus.deploy.lab.engine import Lab

__all__ = ["ChainClient", "Premises", "ProbeRun", "controllers_ready", "until"]

WAIT_S = 30.0
LOOK_S = 0.02


async def until(
    condition: Callable[[], Awaitable[Any]], what: str, timeout_s: float = WAIT_S
) -> Any:
    """The first truthy answer; TimeoutError names what never came."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = await condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s:.0f} s: {what} (last: {answer!r})")
        await asyncio.sleep(LOOK_S)


async def controllers_ready(lab: Lab, site: str, names: int = 1, *, not_pid: int = 0) -> None:
    """Every microcontroller of ``site`` is synced and leads, in ``names`` processes, none of them ``not_pid``."""

    async def ready() -> bool:
        files = list((lab.base / site / "health").glob("*.json"))
        reports = []
        for file in files:
            with contextlib.suppress(OSError, ValueError):
                reports.append(json.loads(file.read_text()))
        living = [r for r in reports if Path(f"/proc/{r['pid']}").exists() and r["pid"] != not_pid]
        return len(living) >= names and all(
            component["ready"] for report in living for component in report["components"].values()
        )

    await until(ready, f"the microcontrollers of {site} are ready", 60.0)


@dataclass(slots=True)
class ChainClient:
    """The north side of one tier, over its Unix socket."""

    socket: Path
    _http: httpx.AsyncClient = field(init=False)

    def __post_init__(self) -> None:
        transport = httpx.AsyncHTTPTransport(uds=str(self.socket))
        self._http = httpx.AsyncClient(transport=transport, base_url="http://tier", timeout=10)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, t: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def apply(self, spec: Mapping[str, Any]) -> httpx.Response:
        """Ask for a chain; whatever the answer is."""
        return await self._http.put(f"/v1/chains/{spec['tenant']}/{spec['chain']}", json=dict(spec))

    async def detail(self, tenant: str, chain: str) -> dict[str, Any]:
        """All the API tells of a chain; empty when it knows none."""
        answer = await self._http.get(f"/v1/chains/{tenant}/{chain}")
        body: dict[str, Any] = answer.json()
        return body if answer.status_code == 200 else {}

    async def row(self, tenant: str, chain: str) -> dict[str, Any]:
        """The chain's line in a list: phase, reason, path."""
        row: dict[str, Any] = (await self.detail(tenant, chain)).get("row", {})
        return row

    async def until(
        self, tenant: str, chain: str, phase: str, timeout_s: float = WAIT_S
    ) -> dict[str, Any]:
        """Wait until the chain is in ``phase``; its line."""

        async def reached() -> dict[str, Any]:
            seen.update(await self.row(tenant, chain))
            return seen if seen.get("phase") == phase else {}

        seen: dict[str, Any] = {}
        try:
            row: dict[str, Any] = await until(reached, f"{tenant}/{chain} {phase}", timeout_s)
        except TimeoutError as error:
            raise TimeoutError(
                f"{error}; it is {seen.get('phase')}: {seen.get('reason')}"
            ) from None
        return row

    async def delete(self, tenant: str, chain: str) -> None:
        """Take a chain back and wait until nobody knows it."""

        async def gone() -> bool:
            return not await self.detail(tenant, chain)

        await self._http.delete(f"/v1/chains/{tenant}/{chain}")
        await until(gone, f"{tenant}/{chain} is gone")


@dataclass(slots=True)
class ProbeRun:
    """A running probe; :meth:`finish` stops it and gives its record."""

    process: asyncio.subprocess.Process
    record: Path

    async def finish(self) -> dict[str, Any]:
        """End the run in order; the probe's own report."""
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        async with asyncio.timeout(20):
            await self.process.wait()
        report: dict[str, Any] = json.loads(self.record.read_text())
        return report


@dataclass(slots=True)
class Premises:
    """A customer's place: a namespace, and what runs in it until :meth:`close`."""

    netns: str
    folder: Path
    _processes: list[asyncio.subprocess.Process] = field(default_factory=list)

    async def run(self, *argv: str, timeout_s: float = 60.0) -> tuple[int, str]:
        """A command to its end: exit code, and what it printed; of a failed one its complaints too.

        What a command that succeeded wrote to its standard error is no part of its answer: etcdctl warns there of
        an attempt that it repeated.
        """
        process = await asyncio.create_subprocess_exec(
            *self._enter(),
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(timeout_s):
                answer, complaint = await process.communicate()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        code = process.returncode or 0
        return code, (answer + complaint if code else answer).decode()

    async def python(self, script: str, *arguments: object) -> str:
        """A small program to its end; RuntimeError with its output when it fails."""
        words = (sys.executable, "-I", "-c", script, *(str(one) for one in arguments))
        code, output = await self.run(*words)
        if code:
            raise RuntimeError(output)
        return output.strip()

    async def start(self, *argv: str, ready: str = "") -> asyncio.subprocess.Process:
        """A program that stays; returns once it printed the line ``ready`` (empty: at once)."""
        process = await asyncio.create_subprocess_exec(
            *self._enter(),
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE if ready else asyncio.subprocess.DEVNULL,
        )
        self._processes.append(process)
        if process.stdout is not None:
            async with asyncio.timeout(WAIT_S):
                line = await process.stdout.readline()
            if line.decode().strip() != ready:
                raise RuntimeError(f"{' '.join(argv[:4])} said {line!r}, not {ready!r}")
        return process

    async def echo(self, port: int = 7007) -> None:
        """Answer probes from now on."""
        words = (sys.executable, "-m", "isthmus.chaos.probe", "server")
        await self.start(*words, "--port", str(port), "--name", self.netns, ready="ready")

    async def probe(self, to: str, *, answered: bool = True, port: int = 7007) -> ProbeRun:
        """Send every 2 ms until finished; returns after the first answer, or at once if not ``answered``."""
        record = self.folder / f"probe-{self.netns}-{time.monotonic_ns()}.json"
        words = (sys.executable, "-m", "isthmus.chaos.probe", "client", "--to", to)
        more = ("--port", str(port), "--seconds", "0", "--json", str(record), "--announce")
        process = await self.start(*words, *more, ready="first answer" if answered else "")
        return ProbeRun(process, record)

    async def close(self) -> None:
        """End what was started here."""
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        self._processes.clear()

    def _enter(self) -> tuple[str, ...]:
        return ("nsenter", f"--net=/run/netns/{self.netns}", "setpriv", "--pdeathsig", "KILL", "--")


@contextlib.asynccontextmanager
async def premises(netns: str, folder: Path) -> AsyncIterator[Premises]:
    """A customer's place that is cleared at the end."""
    place = Premises(netns, folder)
    try:
        yield place
    finally:
        await place.close()
