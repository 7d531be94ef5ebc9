"""One host of a site, with a customer on either side, a real store, a real agent process, and no microcontroller.

left customer -- [instance] -- [instance] -- right customer; the instances are built by the Linux plug-in and joined by
the patch panel as the manager would do it, but by the test: nothing of the manager runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.integration.vnf.secure_etcd import SERVER_NAME, STAMP, SecureEtcd
from tests.support import eventually

from isthmus.contract import seal, utc_seconds
from isthmus.contract.families import CONFIG
from isthmus.contract.family import Tier
from isthmus.contract.instance import Applied, InstanceConfig, InstanceState, InstanceStats
from isthmus.contract.roles import role
from isthmus.deploy.binaries import find
from isthmus.infrastructure.linux import AttachmentPlace, LinuxCompute, LinuxFabric, LinuxSettings
from isthmus.infrastructure.ports import AttachmentSpec, InstanceSpec
from isthmus.infrastructure.ports import InstanceState as Sandbox
from isthmus.kv.grants import Access, Grant
from isthmus.vswitch import Node, PatchPanel

LEFT, RIGHT = "10.1.0.2", "10.2.0.2"

CONNECT = """
import socket, sys
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=float(sys.argv[3])) as peer:
        print(peer.recv(100).decode())
except OSError as error:
    print(type(error).__name__)
"""

GREET = """
import asyncio, sys
async def greet(reader, writer):
    writer.write(writer.get_extra_info("peername")[0].encode())
    await writer.drain()
    while await reader.read(65536):
        pass
    writer.close()
async def main():
    servers = [await asyncio.start_server(greet, "0.0.0.0", int(port)) for port in sys.argv[1:]]
    print("ready", flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))
asyncio.run(main())
"""

UDP_BACK = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.bind(("0.0.0.0", int(sys.argv[1])))
    print("ready", flush=True)
    while True:
        data, peer = one.recvfrom(2048)
        if data == b"answer":
            one.sendto(data, peer)
"""

UDP_SEND = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.bind(("0.0.0.0", 40000))
    one.settimeout(10)
    for _ in range(int(sys.argv[3])):
        one.sendto(sys.argv[4].encode(), (sys.argv[1], int(sys.argv[2])))
        if sys.argv[4] == "answer":
            one.recv(100)  # an answer to a closed port would be answered by one more packet
"""

UPLOAD = """
import socket, sys, time
left = int(sys.argv[3])
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=30) as peer:
    peer.recv(100)
    start = time.monotonic()
    while left > 0:
        left -= peer.send(bytes(min(left, 65536)))
    peer.shutdown(socket.SHUT_WR)
    peer.recv(1)
    print(time.monotonic() - start)
"""


@dataclass
class Lab:
    """What a test acts on. Commands run as the customers; keys are put as ``configurator`` or ``root``."""

    folder: Path
    etcd: SecureEtcd
    instances: Path
    nodes: Mapping[str, str | None] = field(default_factory=lambda: {"h1": None})
    processes: list[asyncio.subprocess.Process] = field(default_factory=list)
    built: list[Sandbox] = field(default_factory=list)
    agent: asyncio.subprocess.Process | None = None

    def __post_init__(self) -> None:
        settings = LinuxSettings(
            scope="test",
            nodes=self.nodes,
            attachments={
                "left": AttachmentPlace("left", f"{LEFT}/24"),
                "right": AttachmentPlace("right", f"{RIGHT}/24"),
            },
        )
        self.compute, self.fabric = LinuxCompute(settings), LinuxFabric(settings)
        self.panel = PatchPanel(Node(None))

    # ---- building

    async def instance(self, instance: str, type_: str, *, incarnation: int = 1) -> Sandbox:
        """A sandbox and its folder, as a launcher leaves them; not patched yet."""
        await self.etcd.admit(instance)
        state = await self.compute.ensure_instance(InstanceSpec(instance, incarnation, "h1"))
        self.etcd.make_folder(
            self.instances, instance, type_=type_, incarnation=incarnation, netns=state.netns
        )
        self.built.append(state)
        return state

    async def patch(self, *path: Sandbox) -> None:
        """left -- path -- right."""
        ends = [
            await self.fabric.ensure_attachment(AttachmentSpec(name, "h1"))
            for name in ("left", "right")
        ]
        devices = [ends[0].device]
        for state in path:
            devices += [state.legs["in"], state.legs["out"]]
        devices.append(ends[1].device)
        for one, other in zip(devices[::2], devices[1::2], strict=True):
            await self.panel.ensure_cord(one, other)

    async def start_agent(self) -> None:
        """The real process, as a host runs it."""
        upstream = self.etcd.upstream
        log = (self.folder / "agent.log").open("ab")
        self.agent = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "isthmus.functions.agent",
            f"--instances={self.instances}",
            f"--etcd={upstream.host}:{upstream.port}",
            f"--ca={upstream.ca_file}",
            f"--server-name={SERVER_NAME}",
            "--stats-interval-s=0.1",
            stdout=log,
            stderr=log,
        )
        log.close()
        self.processes.append(self.agent)

    def agent_log(self) -> str:
        return (self.folder / "agent.log").read_text()

    # ---- keys

    async def etcdctl_put(
        self, instance: str, type_: str, parameters: dict[str, Any], generation: int = 1
    ) -> None:
        """A put by etcdctl with the certificate of ``configurator``: any program could be its writer."""
        value = seal(
            InstanceConfig(type=type_, parameters=parameters),
            STAMP,
            as_of=utc_seconds(),
            generation=generation,
        )
        cert, key = self.etcd.files_of("configurator")
        etcdctl = (await find("etcdctl")).path
        code, output = await self.run(
            None,
            str(etcdctl),
            f"--endpoints=https://{self.etcd.server.endpoint}",
            f"--cacert={self.etcd.authority.ca_file}",
            f"--cert={cert}",
            f"--key={key}",
            "put",
            CONFIG.key(owner="configurator", instance=instance),
            value.decode(),
        )
        assert (code, output.strip()) == (0, "OK"), output

    async def in_force(self, instance: str, generation: int) -> Applied:
        """Wait until the function says that this generation is in force."""

        async def applied() -> Applied | None:
            value = await self.etcd.applied(instance)
            return value if value and value.config_generation == generation else None

        try:
            found: Applied | None = await eventually(
                applied, f"{instance} applies generation {generation}"
            )
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.agent_log()}") from None
        assert found is not None
        assert not found.error
        return found

    async def stats(self, instance: str) -> InstanceStats:
        async def some() -> InstanceStats | None:
            return await self.etcd.stats(instance)

        found: InstanceStats | None = await eventually(some, f"{instance} publishes counters")
        assert found is not None
        return found

    async def origin(self, key: str) -> str:
        """Who wrote the value, in his own words."""
        entry = await self.etcd.root.get(key)
        assert entry is not None
        return str(json.loads(entry.value)["origin"])

    async def state(self, instance: str) -> InstanceState:
        async def some() -> InstanceState | None:
            return await self.etcd.state(instance)

        found: InstanceState | None = await eventually(some, f"{instance} publishes its state")
        assert found is not None
        return found

    # ---- packets

    async def run(self, netns: str | None, *command: str) -> tuple[int, str]:
        """A command at a customer's place: exit code, and what it printed; of a failed one its complaints too."""
        enter = () if netns is None else ("nsenter", f"--net=/run/netns/{netns}")
        process = await asyncio.create_subprocess_exec(
            *enter, *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(60):
            answer, complaint = await process.communicate()
        code = process.returncode or 0
        return code, (answer + complaint if code else answer).decode()

    async def python(self, netns: str, script: str, *arguments: object) -> str:
        code, output = await self.run(
            netns, sys.executable, "-I", "-c", script, *(str(one) for one in arguments)
        )
        assert code == 0, output
        return output.strip()

    async def serve(self, netns: str, script: str, *ports: int) -> None:
        """A server at a customer's place, until the end of the test."""
        process = await asyncio.create_subprocess_exec(
            "nsenter",
            f"--net=/run/netns/{netns}",
            *(sys.executable, "-I", "-c", script),
            *(str(port) for port in ports),
            stdout=asyncio.subprocess.PIPE,
        )
        self.processes.append(process)
        assert process.stdout is not None
        async with asyncio.timeout(20):
            assert await process.stdout.readline() == b"ready\n"

    async def connect(self, port: int, *, timeout_s: float = 5.0, to: str = RIGHT) -> str:
        """What the left customer meets: the address the right one sees, or the name of the error."""
        return await self.python("left", CONNECT, to, port, timeout_s)

    async def ping(self) -> bool:
        return (await self.run("left", "ping", "-c", "1", "-W", "2", RIGHT))[0] == 0


@contextlib.asynccontextmanager
async def packet_lab() -> AsyncIterator[Lab]:
    """A lab without instances. Its folder has a short name: sockets live in it."""
    with tempfile.TemporaryDirectory(prefix="vnf") as name:
        folder = Path(name)
        etcd = await SecureEtcd(folder / "etcd").start()
        lab = Lab(folder, etcd, folder / "instances")
        lab.instances.mkdir()
        try:
            await _manager_user(etcd, "configurator")
            for customer in ("left", "right"):
                assert (await lab.run(None, "ip", "netns", "add", customer))[0] == 0
            yield lab
        finally:
            for process in lab.processes:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
            for state in lab.built:
                await lab.compute.remove_instance(state.instance_id)
            for customer in ("left", "right"):
                await lab.run(None, "ip", "netns", "del", customer)
            await etcd.stop()


async def _manager_user(etcd: SecureEtcd, component: str) -> None:
    granted = role(Tier.SITE, component)
    grants = [Grant.of(one.target, Access[one.access.name]) for one in granted.grants]
    await etcd.admin.ensure_role(granted.name, grants)
    await etcd.admin.ensure_user(component, [granted.name])


def pss_kib(pid: int) -> int:
    """Proportional set size of a process now, in KiB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("Pss:")).split()[1])
