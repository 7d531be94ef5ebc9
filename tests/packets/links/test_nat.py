"""A site behind NAT (issue 7, point 7): nobody can call it, so it calls; and what a NAT forgets is dialled anew.

Three namespaces: the tier (the test's own, with gateway and store), a router that masquerades, and the site behind it
with its store and link process. Real etcd, real TLS, real packets.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.federation_support import SITE, summary, until
from tests.integration.federation.lab import AGENT, GATEWAY, Lab
from tests.integration.kv.server import EtcdServer, serves

from isthmus.contract.scopes import import_root
from isthmus.deploy.binaries import find
from isthmus.federation import read_status
from isthmus.federation.status import LinkStatus
from isthmus.vswitch import CommandFailed, Node

OUTSIDE, OTHER, TIER, INSIDE, HOME = (
    "203.0.113.2", "203.0.113.9", "203.0.113.1", "192.168.7.1", "192.168.7.2",
)  # fmt: skip
MAPPING_S = 3
"""So long this NAT keeps the mapping of a connection that is silent; a real one keeps it for minutes."""
NAT = """
table ip nat {
    chain post { type nat hook postrouting priority 100; oifname "out" masquerade; }
    chain pass {
        type filter hook forward priority 0; policy drop;
        ct state invalid drop
        iifname "in" accept
        ct state established,related accept
    }
}
"""
SILENT = "import socket,sys,time; s=socket.create_connection(('%s', %d)); print('up', flush=True); s.recv(1)"


class HomeEtcd(EtcdServer):
    """The site's store, in the site's namespace."""

    def argv(self) -> list[str]:
        return list(Node("home").command(*super().argv()))

    async def listening(self) -> None:
        """As its own machine sees it."""
        await until(lambda: home_etcdctl(self, "endpoint", "health"), "the site's etcd answers")


async def home_etcdctl(server: EtcdServer, *words: str) -> str:
    """The answer; empty when there was none."""
    program = str((await find("etcdctl")).path)
    with contextlib.suppress(CommandFailed):
        return await Node("home").run(program, f"--endpoints={server.client_url}", *words)
    return ""


@dataclass
class House:
    """What runs."""

    world: Lab
    processes: list[asyncio.subprocess.Process] = field(default_factory=list)

    async def start(self) -> None:
        world = self.world
        await _wire()
        world.site_etcd = HomeEtcd(world.folder / "home-etcd")
        await asyncio.gather(world.hub_etcd.start(), world.site_etcd.start())
        world.hub = world.hub_etcd.store()
        await serves(world.hub)
        world.enroll(GATEWAY, AGENT)
        world.proxy = SimpleNamespace(port=0)  # type: ignore[assignment]
        gateway = world.gateway_settings(listen=f"{TIER}:{world.port}")
        site = world.site_settings(dial=(f"{TIER}:{world.port}",))
        for name, settings, node in (("gateway", gateway, Node()), ("site", site, Node("home"))):
            file = world.folder / f"{name}.json"
            file.write_text(settings.model_dump_json())
            words = (sys.executable, "-m", f"isthmus.federation.{name}_main", str(file))
            told = ("--status", str(world.folder / f"{name}.status"))
            await self.run(node, *words, *told)

    async def run(self, node: Node, *words: str) -> asyncio.subprocess.Process:
        """A process that is ended with the house."""
        process = await asyncio.create_subprocess_exec(
            *node.command(*words), stdout=asyncio.subprocess.PIPE
        )
        self.processes.append(process)
        return process

    def link(self, name: str) -> LinkStatus | None:
        """What one end says."""
        path = self.world.folder / f"{name}.status"
        return read_status(path)[0] if path.exists() else None

    def open(self) -> bool:
        """Both ends say so, and hold the same."""
        ends = [self.link(name) for name in ("gateway", "site")]
        return all(end is not None and end.connected and end.digests_equal for end in ends)

    async def up(self, number: int) -> None:
        """A word of the site arrives above."""
        value = f"word-{number}"
        await home_etcdctl(self.world.site_etcd, "put", summary("chains/acme/web"), value)

        async def there() -> bool:
            entry = await self.world.hub.get(import_root(SITE) + "summary/chains/acme/web")
            return entry is not None and entry.value == value.encode()

        await until(there, "the site's word is above")

    async def down(self, number: int) -> None:
        """An intent arrives behind the NAT."""
        value = f"wish-{number}"
        await self.world.hub.put(f"/isthmus/v1/outbox/{SITE}/intents/acme/web", value.encode())
        key = import_root("global") + "intents/acme/web"

        async def there() -> bool:
            told = await home_etcdctl(self.world.site_etcd, "get", key, "--print-value-only")
            return told.strip() == value

        await until(there, "the intent is at the site")

    async def stop(self) -> None:
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.communicate()
        with contextlib.suppress(AttributeError):
            await self.world.hub.aclose()
        for server in (self.world.hub_etcd, self.world.site_etcd):
            server.kill()


async def _wire() -> None:
    here, router, home = Node(), Node("router"), Node("home")
    for name in ("router", "home"):
        await here.run("ip", "netns", "add", name)
    await here.run(
        "ip", "link", "add", "tier", "type", "veth", "peer", "name", "out", "netns", "router"
    )
    await router.run(
        "ip", "link", "add", "name", "in", "type", "veth", "peer", "name", "wan", "netns", "home"
    )
    for node, device, address in (
        (here, "tier", TIER), (router, "out", OUTSIDE), (router, "in", INSIDE), (home, "wan", HOME),
    ):  # fmt: skip
        await node.run("ip", "addr", "add", f"{address}/24", "dev", device)
        await node.run("ip", "link", "set", device, "up")
    await home.run("ip", "link", "set", "lo", "up")
    await home.run("ip", "route", "add", "default", "via", INSIDE)
    for name, value in (
        ("net.ipv4.ip_forward", 1),
        ("net.netfilter.nf_conntrack_tcp_loose", 0),  # what it forgot it lets pass no more
        ("net.netfilter.nf_conntrack_tcp_timeout_established", MAPPING_S),
    ):
        await router.run("sysctl", "-qw", f"{name}={value}")
    await router.run("nft", "-f", "-", stdin=NAT)


async def mappings(port: int) -> set[str]:
    """The source ports that the router maps for connections to ``port``."""
    table = await Node("router").run("cat", "/proc/net/nf_conntrack")
    lines = (line for line in table.splitlines() if "ESTABLISHED" in line and f"src={HOME}" in line)
    found = (re.search(rf"sport=(\d+) dport={port}\b", line) for line in lines)
    return {match[1] for match in found if match}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = House(Lab(tmp_path))
    try:
        await made.start()
        await until(made.open, "the link is open", timeout_s=40)
        yield made
    finally:
        await made.stop()
        for name in ("router", "home"):
            with contextlib.suppress(CommandFailed):
                await Node().run("ip", "netns", "del", name)


async def test_a_site_that_nobody_can_call_links_and_stays_linked(house: House) -> None:
    """Why: edge sites sit behind NAT; and a NAT forgets who is silent, so heartbeats must keep the mapping."""
    with pytest.raises(CommandFailed):
        await Node().run("ping", "-c", "1", "-W", "1", HOME)
    opened = house.link("site")
    assert opened is not None
    await house.up(1)
    await house.down(1)
    (mine,) = await mappings(house.world.port)
    with socket.create_server((TIER, 0)) as listener:
        port = listener.getsockname()[1]
        caller = await house.run(Node("home"), sys.executable, "-c", SILENT % (TIER, port))
        assert caller.stdout is not None
        assert await caller.stdout.readline() == b"up\n"
        assert await mappings(port), "the router maps the silent one, too"

        async def forgotten() -> bool:
            return not await mappings(port)

        await until(forgotten, "the router forgot the silent connection")
    assert await mappings(house.world.port) == {mine}, "the link's own is the one of before"
    site = house.link("site")
    assert site is not None
    assert site.reconnects == opened.reconnects, "(it may have dialled before the gateway listened)"
    await house.up(2)
    await house.down(2)


async def test_what_the_router_forgets_is_dialled_anew(house: House) -> None:
    """Why: a line gets another outside address at night; nobody is told, packets of the old connection are dropped.
    Both ends have to notice by themselves. (The dead connection stays in the gateway's kernel for 30 s.)"""
    await house.up(1)
    (old,) = await mappings(house.world.port)
    router = Node("router")
    await router.run("ip", "addr", "del", f"{OUTSIDE}/24", "dev", "out")
    await router.run("ip", "addr", "add", f"{OTHER}/24", "dev", "out")

    async def anew() -> bool:
        site = house.link("site")
        return site is not None and site.reconnects > 0 and house.open()

    await until(anew, "the site has dialled again by itself", timeout_s=40)
    assert old not in await mappings(house.world.port)
    await house.up(2)
    await house.down(2)
    seen = await Node().run("ss", "-Htn", f"( sport = :{house.world.port} )")
    assert OTHER in seen, "the gateway sees the router's new address, and never the site's"
    assert HOME not in seen
