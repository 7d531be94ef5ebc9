"""A small piece of Isthmus's world for packet tests: nodes, customers, a WAN and what runs there.

The module around a test lives in a private world (``tests/world.py``), so names need no clean-up
between modules; between tests ``Ground`` takes its own namespaces and processes away.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isthmus.infrastructure import AttachmentSpec, InstanceSpec
from isthmus.infrastructure.linux import AttachmentPlace, LinuxCompute, LinuxFabric, LinuxSettings
from isthmus.vswitch import Cord, Node, Panel, PatchPanel

REFUSING_FIREWALL = """table inet fw {
 chain forward { type filter hook forward priority 0; policy accept;
  tcp dport 5999 reject with tcp reset
 }
}
"""
CLIENT, SERVER = "10.1.0.2", "10.2.0.2"


@dataclass
class Run:
    """A finished command."""

    code: int
    output: str


@dataclass
class Ground:
    """Namespaces and processes of one test."""

    folder: Path
    names: list[str] = field(default_factory=list)
    processes: list[asyncio.subprocess.Process] = field(default_factory=list)

    async def netns(self, *names: str) -> None:
        """Make empty network namespaces with their loopback up."""
        for name in names:
            self.names.append(name)
            await Node().ip([f"netns add {name}"])
            await Node(name).ip(["link set lo up"])

    async def clear(self) -> None:
        """End what was started and remove every namespace of the world."""
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        listed = await Node().run("ip", "-j", "netns", "list")
        for entry in json.loads(listed or "[]"):
            await Node().ip([f"netns del {entry['name']}"], force=True)

    async def run(self, netns: str, *argv: str, timeout_s: float = 20.0) -> Run:
        """Run a command in a namespace, whatever its exit code."""
        return await self.run_here(*Node(netns).command(*argv), timeout_s=timeout_s)

    async def run_here(self, *argv: str, timeout_s: float = 20.0) -> Run:
        """Run a command where the test runs, whatever its exit code."""
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(timeout_s):
            output, _ = await process.communicate()
        return Run(process.returncode or 0, output.decode())

    async def start(
        self, netns: str, *argv: str, ready: str = "ready"
    ) -> asyncio.subprocess.Process:
        """Start a process in a namespace and wait for the line that says it serves."""
        process = await asyncio.create_subprocess_exec(
            *Node(netns).command(*argv),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        self.processes.append(process)
        assert process.stdout is not None
        async with asyncio.timeout(20):
            while ready not in (line := (await process.stdout.readline()).decode()):
                assert line, f"{argv} ended before it said {ready!r}"
        return process

    async def ping(self, netns: str, to: str, *options: str) -> Run:
        """Three pings; the run's code is 0 if any was answered."""
        return await self.run(netns, "ping", "-c", "3", "-i", "0.05", "-W", "1", *options, to)


def ttl_of(ping: Run) -> int:
    """The hop count left in the answer."""
    found = re.search(r"ttl=(\d+)", ping.output)
    assert found, ping.output
    return int(found[1])


def rtt_ms_of(ping: Run) -> float:
    """The smallest round trip."""
    found = re.search(r"= ([\d.]+)/", ping.output)
    assert found, ping.output
    return float(found[1])


def python(*words: str) -> tuple[str, ...]:
    """This interpreter with arguments."""
    return (sys.executable, *words)


def settings(nodes: dict[str, str | None], **more: Any) -> LinuxSettings:
    """Customers "cli" and "srv" and the given nodes; scope "s1"."""
    places = {
        "cli": AttachmentPlace("cli", f"{CLIENT}/24"),
        "srv": AttachmentPlace("srv", f"{SERVER}/24"),
    }
    return LinuxSettings(scope="s1", nodes=nodes, attachments=places, **more)


@dataclass
class OneNode:
    """A node "h1" with both customers and a chain between them."""

    ground: Ground
    compute: LinuxCompute
    fabric: LinuxFabric
    panel: PatchPanel
    ends: dict[str, str] = field(default_factory=dict)

    @classmethod
    async def make(cls, ground: Ground, **more: Any) -> OneNode:
        await ground.netns("h1", "cli", "srv")
        chosen = settings({"h1": "h1"}, **more)
        self = cls(ground, LinuxCompute(chosen), LinuxFabric(chosen), PatchPanel(Node("h1")))
        for name in ("cli", "srv"):
            state = await self.fabric.ensure_attachment(AttachmentSpec(name, "h1"))
            self.ends[name] = state.device
        return self

    @classmethod
    async def make_shared(cls, ground: Ground) -> OneNode:
        """Two users with the same addresses behind one sandbox "i-s"."""
        customers = ("cli1", "srv1", "cli2", "srv2")
        await ground.netns("h1", *customers)
        places = {
            name: AttachmentPlace(name, f"{CLIENT if name < 's' else SERVER}/32")
            for name in customers
        }
        chosen = LinuxSettings(scope="s1", nodes={"h1": "h1"}, attachments=places)
        self = cls(ground, LinuxCompute(chosen), LinuxFabric(chosen), PatchPanel(Node("h1")))
        legs = ("in1", "out1", "in2", "out2")
        state = await self.compute.ensure_instance(InstanceSpec("i-s", 1, "h1", legs=legs))
        devices = []
        for name, leg in zip(customers, legs, strict=True):
            attached = await self.fabric.ensure_attachment(AttachmentSpec(name, "h1"))
            devices.append(Cord(attached.device, state.legs[leg]))
        await self.panel.reconcile(Panel(cords=tuple(devices)))
        return self

    async def instance(
        self, instance_id: str, incarnation: int = 1, **more: Any
    ) -> tuple[str, str]:
        """Ensure an instance and return its two node-side devices."""
        spec = InstanceSpec(instance_id, incarnation, "h1", **more)
        state = await self.compute.ensure_instance(spec)
        assert state.phase == "running", state
        return state.legs["in"], state.legs["out"]

    async def reattach(self, name: str) -> str:
        """Ensure a customer's attachment again and return its device."""
        return (await self.fabric.ensure_attachment(AttachmentSpec(name, "h1"))).device

    async def netns_of(self, instance_id: str) -> str:
        """The namespace of an instance."""
        for state in await self.compute.list_instances():
            if state.instance_id == instance_id:
                return state.netns
        raise AssertionError(f"{instance_id} is not there")

    async def chain(self, *instances: str) -> Panel:
        """Build instances and patch them in this order between the customers."""
        devices = [self.ends["cli"]]
        for instance_id in instances:
            devices += await self.instance(instance_id)
        devices.append(self.ends["srv"])
        return chain_of(devices)


def chain_of(devices: list[str]) -> Panel:
    """Cords that join neighbours of an even list pairwise: 0-1, 2-3, ..."""
    return Panel(cords=tuple(Cord(a, b) for a, b in zip(devices[::2], devices[1::2], strict=True)))


async def probe_during(
    ground: Ground, seconds: float, *, client: str = "cli", to: str = SERVER
) -> asyncio.Task[dict[str, Any]]:
    """Start a 2 ms probe; await the task for its record. Returns once packets flow."""
    record = ground.folder / "probe.json"
    words = ("-m", "isthmus.chaos.probe", "client", "--to", to, "--seconds", str(seconds))
    process = await ground.start(
        client, *python(*words, "--json", str(record), "--announce"), ready="first answer"
    )

    async def finish() -> dict[str, Any]:
        async with asyncio.timeout(seconds + 20):
            await process.wait()
        answer: dict[str, Any] = json.loads(record.read_text())
        return answer

    return asyncio.create_task(finish())


async def start_echo(ground: Ground, netns: str = "srv", bind: str = SERVER) -> None:
    """Start the probe's echo server."""
    await ground.start(
        netns, *python("-m", "isthmus.chaos.probe", "server", "--bind", bind, "--name", netns)
    )
