"""The demo's hands: the tiers' APIs, commands in customers' and tiers' namespaces, waiting for facts."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx

from isthmus.chaos.demo.facts import Facts
from isthmus.chaos.ending import end, send
from isthmus.deploy.lab.engine import Lab
from isthmus.deploy.lab.spec import GLOBAL
from isthmus.vswitch import Node

T = TypeVar("T")
TENANT = "acme"


class Late(Exception):
    """A fact did not come in time; names it."""


@dataclass(slots=True)
class Stage:
    """One run: the lab, what is stated, and what is broken on purpose (empty: nothing)."""

    lab: Lab
    facts: Facts
    sabotage: str = ""
    _clients: dict[str, httpx.AsyncClient] = field(default_factory=dict)

    def api(self, tier: str = GLOBAL) -> httpx.AsyncClient:
        """The northbound API of a tier, over its Unix socket: what the command uses, too."""
        if tier not in self._clients:
            transport = httpx.AsyncHTTPTransport(uds=str(self.lab.files.api_socket(tier)))
            self._clients[tier] = httpx.AsyncClient(
                transport=transport, base_url="http://isthmus", timeout=10.0
            )
        return self._clients[tier]

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            await client.aclose()

    async def apply(self, spec: dict[str, Any], tier: str = GLOBAL) -> dict[str, Any]:
        """Ask for a chain; the API's answer."""
        path = f"/v1/chains/{spec['tenant']}/{spec['chain']}"
        answer = await self.api(tier).put(path, json=spec)
        if answer.status_code not in (200, 201):
            raise Late(f"apply of {spec['chain']} was refused by the API: {answer.text[:300]}")
        result: dict[str, Any] = answer.json()
        return result

    async def chain(self, name: str, tier: str = GLOBAL) -> dict[str, Any]:
        """Everything a tier knows of a chain ({} when it does not know it)."""
        answer = await self.api(tier).get(f"/v1/chains/{TENANT}/{name}")
        document: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
        return document

    async def phase(
        self, name: str, phase: str, *, tier: str = GLOBAL, timeout_s: float = 60.0
    ) -> dict[str, Any]:
        """Wait until a tier reports ``phase`` of a chain; raises Late with what it says instead."""
        last: dict[str, Any] = {}

        async def reached() -> dict[str, Any] | None:
            nonlocal last
            last = await self.chain(name, tier)
            return last if last.get("row", {}).get("phase") == phase else None

        try:
            return await eventually(reached, f"{name} {phase}", timeout_s=timeout_s)
        except Late:
            row = last.get("row", {})
            raise Late(
                f"chain {name} is {row.get('phase', 'unknown')} after {timeout_s:.0f} s, "
                f"not {phase}: {row.get('reason') or 'no reason given'}"
            ) from None

    async def customer(self, attachment: str, verb: str, *arguments: str) -> dict[str, Any]:
        """What a customer's client says."""
        output = await self._customer(attachment).run(
            sys.executable, "-m", "isthmus.chaos.customer", verb, *arguments, timeout_s=15.0
        )
        answer: dict[str, Any] = json.loads(output)
        return answer

    async def ping(self, attachment: str, to: str, count: int = 5) -> float | None:
        """Median round trip in ms, or None when nothing comes back."""
        try:
            output = await self._customer(attachment).run(
                "ping", "-n", "-c", str(count), "-i", "0.2", "-W", "2", to, timeout_s=20.0
            )
        except Exception:
            return None
        times = sorted(
            float(part.removeprefix("time=")) for part in output.split() if part.startswith("time=")
        )
        return times[len(times) // 2] if times else None

    async def peek(self, tier: str, *arguments: str) -> Any:
        """A question to a tier's store with the admin's key."""
        spec = self.lab.spec.model_dump_json()
        output = await self.lab.run_python(
            tier, "isthmus.chaos.peek", str(self.lab.base), tier, spec, *arguments
        )
        return json.loads(output)

    @asynccontextmanager
    async def digests(self, tier: str, peer: str) -> AsyncIterator[dict[str, str]]:
        """What a tier's store sends to and holds of a peer, kept up to date while the block runs."""
        spec = self.lab.spec.model_dump_json()
        argv = (sys.executable, "-m", "isthmus.chaos.peek", str(self.lab.base), tier, spec)
        process = await asyncio.create_subprocess_exec(
            *Node(tier).command(*argv, "digests", peer), stdout=asyncio.subprocess.PIPE
        )
        newest: dict[str, str] = {}

        async def follow() -> None:
            assert process.stdout is not None
            async for line in process.stdout:
                newest.update(json.loads(line))

        following = asyncio.create_task(follow())
        try:
            await eventually(_known(newest), f"the first digests of {tier}", timeout_s=20)
            yield newest
        finally:
            await end(process)
            await following

    @asynccontextmanager
    async def serving(self, attachment: str, ports: tuple[int, ...]) -> AsyncIterator[None]:
        """A web server at a customer's premises, and an echo for the probe; on every address, for the line may be
        plugged in later."""
        address = "0.0.0.0"
        node = self._customer(attachment)
        text = f"premises {attachment}"
        web = (sys.executable, "-m", "isthmus.chaos.customer", "serve", "--bind", address,
               "--text", text, "--ports", *map(str, ports))  # fmt: skip
        echo = (sys.executable, "-m", "isthmus.chaos.probe", "server", "--bind", address)
        processes = [
            await asyncio.create_subprocess_exec(
                *node.command(*argv), stdout=asyncio.subprocess.PIPE
            )
            for argv in (web, echo)
        ]
        try:
            for process in processes[:1]:
                assert process.stdout is not None
                async with asyncio.timeout(15):
                    await process.stdout.readline()
            yield
        finally:
            for process in processes:
                await end(process)

    @asynccontextmanager
    async def probing(self, attachment: str, to: str) -> AsyncIterator[Probe]:
        """A packet every 2 ms while the block runs; what became of them stands in the Probe afterwards."""
        argv = (sys.executable, "-m", "isthmus.chaos.probe", "client", "--to", to,
                "--seconds", "0", "--json", "-", "--announce")  # fmt: skip
        process = await asyncio.create_subprocess_exec(
            *self._customer(attachment).command(*argv),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=64 * 1024 * 1024,
        )
        probe = Probe()
        assert process.stdout is not None
        try:
            async with asyncio.timeout(15):
                probe.alive = b"first answer" in await process.stdout.readline()
            yield probe
        finally:
            send(process)
            async with asyncio.timeout(15):
                output, _ = await process.communicate()
            lines = [line for line in output.splitlines() if line.startswith(b"{")]
            probe.report = json.loads(lines[-1]) if lines else {}

    def _customer(self, attachment: str) -> Node:
        return Node(self.lab.addresses.customer_netns(attachment))


@dataclass(slots=True)
class Probe:
    """``report`` is the probe's record once the block has ended."""

    alive: bool = False
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def lost(self) -> int:
        """Packets without an answer."""
        return int(self.report.get("lost", -1))

    @property
    def sent(self) -> int:
        """Packets sent."""
        return int(self.report.get("sent", 0))

    @property
    def longest_gap_ms(self) -> float:
        """The longest outage."""
        return float(self.report.get("longest_gap_ms", -1.0))


def _known(newest: dict[str, str]) -> Callable[[], Awaitable[bool]]:
    async def known() -> bool:
        return bool(newest)

    return known


async def eventually(
    condition: Callable[[], Awaitable[T | None]],
    what: str,
    *,
    timeout_s: float = 30.0,
    every_s: float = 0.1,
) -> T:
    """The first answer that is not None (or False); raises Late."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = await condition()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            raise Late(f"not within {timeout_s:.0f} s: {what}")
        await asyncio.sleep(every_s)
