"""One lab site with two hosts and four customers, driven as its users drive it.

c-a1 -- h1          h2 -- c-b1          attachments go round the hosts
c-a2 -- h1          h2 -- c-b2
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.packets.vnf.packet_lab import CONNECT, GREET
from tests.support import eventually

from isthmus.chaos.lab_user import ChainClient, Premises, controllers_ready
from isthmus.contract import Stamp, seal, unseal, utc_seconds
from isthmus.contract.families import APPLIED, CONFIG, RUNTIME
from isthmus.contract.ids import instance_id
from isthmus.contract.instance import Applied, InstanceConfig, InstanceRuntime
from isthmus.deploy.binaries import find
from isthmus.deploy.lab.engine import Lab
from isthmus.deploy.lab.spec import LabSite, LabSpec

SITE = "milan"
ROOT_KEY = "/isthmus/v1/"
NAT_ADDRESS = "203.0.113.10"
FLOOD_PORT, OPEN_PORT, SHUT_PORT = 6000, 8080, 9090

SINK = """
import selectors, socket, sys
out = open(sys.argv[1], "a", buffering=1)
poll = selectors.DefaultSelector()
for port in sys.argv[2:]:
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind(("0.0.0.0", int(port)))
    poll.register(one, selectors.EVENT_READ, port)
print("ready", flush=True)
while True:
    for key, _ in poll.select():
        data, peer = key.fileobj.recvfrom(2048)
        out.write(f"{key.data} {peer[0]} {data.decode()}\\n")
"""
"""Writes a line for each datagram: port, source, text."""

FLOOD = """
import socket, sys, time
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.bind(("0.0.0.0", 40001))
number = 0
print("ready", flush=True)
while True:
    try:
        one.sendto(str(number).encode(), (sys.argv[1], int(sys.argv[2])))
    except OSError:
        pass
    number += 1
    time.sleep(0.001)
"""
"""A datagram each millisecond to one port, whatever comes back."""


def firewall(*rules: dict[str, Any], default: str = "accept", name: str = "fw") -> dict[str, Any]:
    """A firewall function."""
    config = {"default_policy": default, "rules": list(rules)}
    return {"name": name, "type": "firewall", "config": config}


def deny(protocol: str, *ports: int, **more: Any) -> dict[str, Any]:
    """A rule."""
    return {"action": "deny", "protocol": protocol, "ports": list(ports), **more}


def nat(name: str = "nat", address: str = NAT_ADDRESS) -> dict[str, Any]:
    """A source NAT function."""
    return {"name": name, "type": "nat", "config": {"address": address}}


def limiter(name: str = "lim", rate_kbps: int = 100_000) -> dict[str, Any]:
    """A rate limiter function."""
    return {"name": name, "type": "limiter", "config": {"rate_kbps": rate_kbps}}


def chain(
    name: str, functions: Sequence[dict[str, Any]], *, ends: str = "a1 a2", **more: Any
) -> dict[str, Any]:
    """A chain of tenant ``acme``; ``ends`` are its two attachments."""
    ingress, egress = ends.split()
    return {
        "tenant": "acme",
        "chain": name,
        "ingress": {"attachment": ingress},
        "egress": {"attachment": egress},
        "functions": list(functions),
        **more,
    }


@dataclass
class Site:
    """The running lab and its user."""

    lab: Lab
    api: ChainClient
    folder: Path
    customers: dict[str, Premises] = field(default_factory=dict)

    # ---- chains

    async def run_chain(self, spec: dict[str, Any]) -> dict[str, Any]:
        """Apply and wait until it runs; its status line."""
        answer = await self.api.apply(spec)
        assert answer.status_code in (200, 201), answer.text
        try:
            return await self.api.until(spec["tenant"], spec["chain"], "running")
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{self.logs()}") from None

    async def update(self, spec: dict[str, Any], function: str) -> None:
        """Apply a changed spec and wait until ``function`` says that a newer configuration is in force."""
        instance = instance_id(spec["tenant"], spec["chain"], function)
        before = await self.applied(instance)
        assert before is not None
        answer = await self.api.apply(spec)
        assert answer.status_code == 200, answer.text

        async def newer() -> bool:
            now = await self.applied(instance)
            return now is not None and now.config_revision > before.config_revision

        await eventually(newer, f"{function} has the new configuration in force")

    async def clear(self) -> None:
        """Take back every chain, and wait until the panels are empty."""
        for name in await self.chains():
            await self.api.delete(*name.split("/"))

        async def empty() -> bool:
            return not await self.keys("runtime/") and not await self.keys("cords/")

        await eventually(empty, "no instance is left")
        for customer in self.customers.values():
            await customer.close()

    async def chains(self) -> list[str]:
        """``tenant/chain`` of every request."""
        prefix = "requests/local/"
        return [key.removeprefix(ROOT_KEY + prefix) for key in await self.keys(prefix)]

    def logs(self, bytes_each: int = 1500) -> str:
        """The end of every log but the store's."""
        parts = []
        for path in sorted((self.lab.base / "logs").iterdir()):
            if "etcd" not in path.name:
                parts.append(f"== {path.name}\n{path.read_text()[-bytes_each:]}")
        return "\n".join(parts)

    # ---- keys

    async def etcdctl(
        self, component: str, *words: str, folder: Path | None = None
    ) -> tuple[int, str]:
        """etcdctl at the site with a component's certificate."""
        place = folder or self.lab.trust.folder(SITE, component)
        return await self.at(SITE).run(
            str((await find("etcdctl")).path),
            "--endpoints=https://localhost:2379",
            f"--cacert={place / 'ca.pem'}",
            f"--cert={place / 'cert.pem'}",
            f"--key={place / 'key.pem'}",
            "--command-timeout=5s",
            *words,
        )

    async def keys(self, prefix: str = "") -> list[str]:
        """All keys below a relative prefix, as the operator's own key sees them."""
        code, text = await self.etcdctl(
            "admin", "get", ROOT_KEY + prefix, "--prefix", "--keys-only"
        )
        assert code == 0, text
        return text.split()

    async def value(self, key: str) -> bytes:
        """The value of an absolute key; empty when absent."""
        code, text = await self.etcdctl("admin", "get", key, "--print-value-only")
        assert code == 0, text
        return text.strip().encode()

    async def applied(self, instance: str) -> Applied | None:
        """What an instance says is in force."""
        value = await self.value(APPLIED.key(instance=instance))
        return unseal(value, Applied).body if value else None

    async def runtime(
        self, function: str, spec: dict[str, Any], host: str = "h1"
    ) -> InstanceRuntime:
        """The launcher's view of a function's instance."""
        instance = instance_id(spec["tenant"], spec["chain"], function)
        value = await self.value(RUNTIME.key(host=host, instance=instance))
        return unseal(value, InstanceRuntime).body

    async def put_config(
        self, instance: str, type_: str, parameters: dict[str, Any], generation: int
    ) -> None:
        """What any program with the configurator's certificate can do (R24, R32)."""
        config = InstanceConfig(type=type_, parameters=parameters)
        stamp = Stamp(origin="a test", incarnation="t")
        value = seal(config, stamp, as_of=utc_seconds(), generation=generation).decode()
        key = CONFIG.key(owner="configurator", instance=instance)
        code, text = await self.etcdctl("configurator", "put", key, value)
        assert (code, text.strip()) == (0, "OK"), text

    # ---- packets

    def at(self, netns: str) -> Premises:
        """A place by the name of its namespace."""
        return self.customers.setdefault(netns, Premises(netns, self.folder))

    def customer(self, attachment: str) -> Premises:
        """A customer's place."""
        return self.at(self.lab.addresses.customer_netns(attachment))

    def address(self, attachment: str) -> str:
        """A customer's address."""
        return self.lab.addresses.customer(attachment)

    async def greet(self, attachment: str, *ports: int) -> None:
        """TCP servers that tell the peer its own address."""
        words = ("python3", "-I", "-c", GREET, *(str(port) for port in ports))
        await self.customer(attachment).start(*words, ready="ready")

    async def connect(self, source: str, target: str, port: int, timeout_s: float = 3.0) -> str:
        """The address the server saw, or the name of the error."""
        place = self.customer(source)
        return await place.python(CONNECT, self.address(target), port, timeout_s)

    async def ping(self, source: str, target: str, *options: str) -> str:
        """ping's output; AssertionError when an answer is missing."""
        words = ("ping", "-c", "3", "-i", "0.05", "-W", "2", *options, self.address(target))
        code, text = await self.customer(source).run(*words)
        assert code == 0, text
        return text

    async def sink(self, attachment: str, *ports: int) -> Path:
        """Collect datagrams; the file that gets a line for each."""
        file = self.folder / f"sink-{attachment}"
        file.write_text("")
        words = ("python3", "-I", "-c", SINK, str(file), *(str(port) for port in ports))
        await self.customer(attachment).start(*words, ready="ready")
        return file

    async def flood(self, source: str, target: str, port: int) -> None:
        """Datagrams each millisecond until the place is closed."""
        words = ("python3", "-I", "-c", FLOOD, self.address(target), str(port))
        await self.customer(source).start(*words, ready="ready")

    async def lose(self, netns: str) -> None:
        """What a hand or a fault does to a sandbox."""
        code, text = await self.at(SITE).run("ip", "netns", "del", netns)
        assert code == 0, text

    # ---- processes

    def settings(self) -> dict[str, Any]:
        """The settings file of the microcontrollers."""
        document: dict[str, Any] = json.loads((self.lab.base / SITE / "site.json").read_text())
        return document

    async def ready(self, processes: int = 1) -> None:
        """The microcontrollers work."""
        try:
            await controllers_ready(self.lab, SITE, processes)
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{self.logs()}") from None


@contextlib.asynccontextmanager
async def one_site(hosts: int = 2) -> AsyncIterator[Site]:
    """A fresh lab of one site, ready for chains."""
    site = LabSite(site=SITE, hosts=hosts, attachments=("a1", "b1", "a2", "b2"))
    spec = LabSpec(name="one", tier=False, sites=(site,))
    base = Path(tempfile.mkdtemp(prefix="st"))
    try:
        async with Lab(spec, base) as lab, ChainClient(lab.files.api_socket(SITE)) as api:
            running = Site(lab, api, base)
            await running.ready()
            try:
                yield running
            finally:
                for customer in running.customers.values():
                    await customer.close()
    finally:
        shutil.rmtree(base, ignore_errors=True)
