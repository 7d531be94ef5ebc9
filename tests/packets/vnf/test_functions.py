"""The shipped functions on real packets, driven by keys alone (DESIGN section 5; white paper: configuration by the KV).

No microcontroller runs in any of these tests: what changes the packets is a put below ``config/``.
"""

from __future__ import annotations

import asyncio
import sys

import pytest
from tests.packets.vnf.packet_lab import (
    CONNECT,
    GREET,
    LEFT,
    RIGHT,
    UDP_BACK,
    UDP_SEND,
    UPLOAD,
    packet_lab,
)
from tests.support import eventually

from isthmus.contract.families import APPLIED

pytestmark = [pytest.mark.world, pytest.mark.etcd]

FW, NAT, LIM = "i-000000000001", "i-000000000002", "i-000000000003"


async def test_a_put_by_etcdctl_changes_what_the_firewall_lets_through() -> None:
    """The promise of the white paper: the function reads its own configuration; nobody has to be alive to push it."""
    async with packet_lab() as lab:
        firewall = await lab.instance(FW, "firewall")
        await lab.patch(firewall)
        await lab.serve("right", GREET, 5999, 6000)
        await lab.start_agent()
        deny = {"action": "deny", "protocol": "tcp", "ports": [5999]}
        await lab.etcdctl_put(FW, "firewall", {"default_policy": "accept", "rules": [deny]})
        applied = await lab.in_force(FW, 1)
        assert applied.incarnation == 1
        origin = await lab.origin(APPLIED.key(instance=FW))
        assert origin == f"spiffe://carrier.example/site/a/instance.{FW}"
        assert await lab.connect(6000) == LEFT
        assert await lab.connect(5999) == "ConnectionRefusedError"  # a reset, not a silence
        assert await lab.ping()
        deny["ports"] = ["6000-6010"]
        await lab.etcdctl_put(FW, "firewall", {"default_policy": "accept", "rules": [deny]}, 2)
        await lab.in_force(FW, 2)
        assert await lab.connect(6000) == "ConnectionRefusedError"
        assert await lab.connect(5999) == LEFT


async def test_before_the_first_configuration_nothing_passes() -> None:
    """Fail closed: a sandbox rebuilt elsewhere was measured to forward for 11 s without its rules."""
    async with packet_lab() as lab:
        firewall = await lab.instance(FW, "firewall")
        await lab.serve("right", GREET, 6000)
        await lab.start_agent()
        state = await lab.state(FW)
        assert state.healthy
        assert state.facts["open"] is False
        await lab.patch(
            firewall
        )  # the manager would wait for `applied`; the function does not rely on it
        assert await lab.connect(6000, timeout_s=1.0) == "TimeoutError"
        assert not await lab.ping()
        assert await lab.etcd.applied(FW) is None
        await lab.etcdctl_put(FW, "firewall", {"default_policy": "accept"})
        await lab.in_force(FW, 1)
        assert await lab.connect(6000) == LEFT


async def test_closing_a_port_ends_the_connection_that_is_open_on_it() -> None:
    """An operator who closes a port means the thief who is already inside as well."""
    async with packet_lab() as lab:
        firewall = await lab.instance(FW, "firewall")
        await lab.patch(firewall)
        await lab.serve("right", GREET, 6000)
        await lab.start_agent()
        await lab.etcdctl_put(FW, "firewall", {"default_policy": "accept"})
        await lab.in_force(FW, 1)
        talk = (
            "import socket,sys\n"
            f"s=socket.create_connection(('{RIGHT}',6000),timeout=20)\n"
            "s.recv(100); print('open',flush=True); sys.stdin.readline()\n"
            "try:\n"
            "  while True: s.sendall(b'x'); s.settimeout(0.1)\n"
            "except OSError as e: print(type(e).__name__)\n"
        )
        talker = await asyncio.create_subprocess_exec(
            "nsenter",
            "--net=/run/netns/left",
            *(sys.executable, "-I", "-c", talk),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        lab.processes.append(talker)
        assert talker.stdout is not None
        assert await talker.stdout.readline() == b"open\n"
        deny = {"action": "deny", "protocol": "tcp", "ports": [6000]}
        await lab.etcdctl_put(FW, "firewall", {"default_policy": "accept", "rules": [deny]}, 2)
        await lab.in_force(FW, 2)
        async with asyncio.timeout(20):
            output, _ = await talker.communicate(b"\n")
        assert output.decode().strip() in ("ConnectionResetError", "BrokenPipeError")


async def test_counters_as_published_equal_the_packets_sent() -> None:
    """Whoever bills, scales or proves by these numbers needs them exact, over a reload of the rules too."""
    async with packet_lab() as lab:
        firewall = await lab.instance(FW, "firewall")
        await lab.patch(firewall)
        await lab.serve("right", UDP_BACK, 6000)
        await lab.start_agent()
        allow = {"action": "allow", "protocol": "udp", "ports": [6000]}
        await lab.etcdctl_put(FW, "firewall", {"rules": [allow]})
        await lab.in_force(FW, 1)
        await lab.python("left", UDP_SEND, RIGHT, 6000, 30, "answer")
        await lab.etcdctl_put(FW, "firewall", {"rules": [allow], "allow_ping": False}, 2)
        await lab.in_force(FW, 2)
        await lab.python("left", UDP_SEND, RIGHT, 6000, 20, "silence")
        await lab.python("left", UDP_SEND, RIGHT, 7000, 11, "dropped")

        async def counted() -> tuple[int, int, int]:
            stats = await lab.stats(FW)
            return stats.packets_forward, stats.packets_reverse, stats.packets_dropped

        async def right() -> bool:
            return await counted() == (50, 30, 11)

        try:
            _: bool = await eventually(right, "counters 50 forward, 30 reverse, 11 dropped")
        except AssertionError as error:
            raise AssertionError(f"{error}: {await counted()}") from None
        stats = await lab.stats(FW)
        assert stats.incarnation == 1
        assert stats.bytes_forward == 30 * (28 + 6) + 20 * (28 + 7)


async def test_nat_hides_the_client_and_forwards_declared_ports_only() -> None:
    """The server must never see the client's own address; from outside only what was declared comes in."""
    async with packet_lab() as lab:
        nat = await lab.instance(NAT, "nat")
        await lab.patch(nat)
        await lab.serve("right", GREET, 6000)
        await lab.serve("left", GREET, 8080, 8081)
        await lab.start_agent()
        public = "203.0.113.10"
        forward = {"port": 80, "to_address": LEFT, "to_port": 8080}
        await lab.etcdctl_put(NAT, "nat", {"address": public, "port_forwards": [forward]})
        await lab.in_force(NAT, 1)
        assert await lab.connect(6000) == public
        assert await lab.ping()

        async def from_outside(to: str, port: int) -> str:
            return await lab.python("right", CONNECT, to, port, 1.0)

        assert await from_outside(public, 80) == RIGHT
        assert await from_outside(public, 8081) == "TimeoutError"
        assert await from_outside(LEFT, 8080) == "TimeoutError"
        await lab.etcdctl_put(NAT, "nat", {"address": public}, 2)
        await lab.in_force(NAT, 2)
        assert await from_outside(public, 80) == "TimeoutError"


async def test_the_limiter_limits_both_ways_and_its_limit_changes_live() -> None:
    """A queue shapes one direction only, so there must be two; judged against the same path unlimited."""
    async with packet_lab() as lab:
        limiter = await lab.instance(LIM, "limiter")
        await lab.patch(limiter)
        await lab.serve("right", GREET, 6000)
        await lab.serve("left", GREET, 6000)
        await lab.start_agent()

        async def bits_per_second(sender: str, to: str) -> float:
            size = 1_000_000
            return size * 8 / float(await lab.python(sender, UPLOAD, to, 6000, size))

        await lab.etcdctl_put(LIM, "limiter", {"rate_kbps": 10_000_000})
        await lab.in_force(LIM, 1)
        free = [await bits_per_second("left", RIGHT), await bits_per_second("right", LEFT)]
        await lab.etcdctl_put(LIM, "limiter", {"rate_kbps": 8_000, "burst_kib": 32}, 2)
        await lab.in_force(LIM, 2)
        limited = [await bits_per_second("left", RIGHT), await bits_per_second("right", LEFT)]
        for before, after in zip(free, limited, strict=True):
            assert after < 8_000_000 * 1.2  # a slow machine can only make it smaller
            assert before > 4 * after, (free, limited)


async def test_a_wrong_configuration_names_its_field_and_the_old_one_stays() -> None:
    """A typing error must never open or close a customer's line."""
    async with packet_lab() as lab:
        firewall = await lab.instance(FW, "firewall")
        await lab.patch(firewall)
        await lab.serve("right", GREET, 6000)
        await lab.start_agent()
        await lab.etcdctl_put(FW, "firewall", {"default_policy": "accept"})
        good = await lab.in_force(FW, 1)
        bad = {"rules": [{"action": "deny", "protocol": "tcp", "ports": ["6000; drop"]}]}
        await lab.etcdctl_put(FW, "firewall", bad, 2)

        async def refused() -> bool:
            applied = await lab.etcd.applied(FW)
            return applied is not None and applied.refused_generation == 2

        _: bool = await eventually(refused, "the function refuses generation 2")
        applied = await lab.etcd.applied(FW)
        assert applied is not None
        assert applied.error.startswith("rules.0.ports.0: '6000; drop' is refused; give a port")
        assert (applied.config_generation, applied.config_revision) == (1, good.config_revision)
        assert await lab.connect(6000) == LEFT
