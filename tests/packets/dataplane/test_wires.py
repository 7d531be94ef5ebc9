"""Wires between nodes, and the distance that the lab's relay puts between them."""

from __future__ import annotations

import asyncio
import json
import signal
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.packets.dataplane.kit import (
    SERVER,
    Ground,
    probe_during,
    python,
    rtt_ms_of,
    settings,
    start_echo,
    ttl_of,
)

from isthmus.infrastructure import AttachmentSpec, InstanceSpec
from isthmus.infrastructure.linux import LinuxCompute, LinuxFabric
from isthmus.vswitch import Cord, InvalidPanel, Node, Panel, PatchPanel, WireSpec

pytestmark = pytest.mark.world

ADDRESS = {"h1": "10.101.0.1", "h2": "10.102.0.1"}
RELAY = ("-m", "isthmus.deploy.wan_relay")


@dataclass
class TwoNodes:
    """Two nodes joined by a WAN namespace; the customer is at h1, the server at h2."""

    ground: Ground
    compute: LinuxCompute
    fabric: LinuxFabric
    panels: dict[str, PatchPanel] = field(default_factory=dict)
    ends: dict[str, str] = field(default_factory=dict)

    @classmethod
    async def make(cls, ground: Ground) -> TwoNodes:
        await ground.netns("h1", "h2", "wan", "cli", "srv")
        await Node("wan").run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
        for number, (node, address) in enumerate(ADDRESS.items()):
            gateway = address.removesuffix("1") + "2"
            await Node(node).ip(
                [
                    f"link add name wan type veth peer name w{number} netns wan",
                    f"addr add {address}/30 dev wan",
                    "link set wan up",
                ]
            )
            await Node("wan").ip([f"addr add {gateway}/30 dev w{number}", f"link set w{number} up"])
            await Node(node).ip([f"route add default via {gateway}"])
            await ground.run(node, *python(*RELAY, "tx-off", "wan"))
        chosen = settings({"h1": "h1", "h2": "h2"})
        self = cls(ground, LinuxCompute(chosen), LinuxFabric(chosen))
        for node, name in (("h1", "cli"), ("h2", "srv")):
            self.panels[node] = PatchPanel(Node(node))
            state = await self.fabric.ensure_attachment(AttachmentSpec(name, node))
            self.ends[name] = state.device
        return self

    async def instance(self, node: str, instance_id: str) -> tuple[str, str]:
        state = await self.compute.ensure_instance(InstanceSpec(instance_id, 1, node))
        return state.legs["in"], state.legs["out"]

    async def chain(self) -> dict[str, Panel]:
        """cli - i-1 (h1) - wire - i-2 (h2) - srv."""
        first, second = await self.instance("h1", "i-1"), await self.instance("h2", "i-2")
        near, far = wire("h1", "h2"), wire("h2", "h1")
        panels = {
            "h1": Panel(
                cords=(Cord(self.ends["cli"], first[0]), Cord(first[1], near.device)), wires=(near,)
            ),
            "h2": Panel(
                cords=(Cord(far.device, second[0]), Cord(second[1], self.ends["srv"])), wires=(far,)
            ),
        }
        for node, panel in panels.items():
            await self.panels[node].reconcile(panel)
        return panels


def wire(local: str, remote: str, **more: int) -> WireSpec:
    return WireSpec("w-1", more.pop("vni", 1001), ADDRESS[local], ADDRESS[remote], **more)


@pytest.fixture
async def two(ground: Ground) -> TwoNodes:
    return await TwoNodes.make(ground)


def relay_config(path: Path, delay_us: int, **more: int) -> Path:
    """Both directions between the two nodes."""
    nets = ("10.101.0.0/16", "10.102.0.0/16")
    pairs = (nets, nets[::-1])
    entries = [{"from": a, "to": b, "delay_us": delay_us, **more} for a, b in pairs]
    path.write_text(json.dumps({"delays": entries}))
    return path


async def start_relay(ground: Ground, path: Path) -> asyncio.subprocess.Process:
    return await ground.start("wan", *python("-u", *RELAY, "run", "--config", str(path)))


async def test_a_chain_crosses_two_nodes(ground: Ground, two: TwoNodes) -> None:
    """Node to node only VNI, address and port are agreed; no instance knows where the next is."""
    await two.chain()
    answer = await ground.ping("cli", SERVER)
    assert answer.code == 0, answer.output
    assert ttl_of(answer) == 64 - 2
    wires = await two.panels["h1"].list_wires()
    assert [(w.wire_id, w.vni, w.remote_ip, w.up) for w in wires] == [
        ("w-1", 1001, ADDRESS["h2"], True)
    ]
    counters = await two.panels["h1"].counters()
    assert counters[wires[0].device].tx_packets >= 3


async def test_a_removed_wire_is_a_cut_and_nothing_is_left(ground: Ground, two: TwoNodes) -> None:
    """remove_wire takes the tunnel; the cord to it is told as broken, not kept silently."""
    await two.chain()
    await two.panels["h1"].remove_wire("w-1")
    await two.panels["h1"].remove_wire("w-1")
    assert await two.panels["h1"].list_wires() == ()
    assert (await ground.ping("cli", SERVER)).code != 0
    broken = [cord for cord in await two.panels["h1"].list_cords() if cord.problem]
    assert len(broken) == 1
    assert "gone" in broken[0].problem


async def test_a_reconciliation_repairs_a_swallowing_cord(ground: Ground, two: TwoNodes) -> None:
    """A cord to a device that vanished swallows packets silently; reconciling finds it."""
    panels = await two.chain()
    await Node("h1").ip([f"link del dev {panels['h1'].wires[0].device}"])
    report = await two.panels["h1"].reconcile(panels["h1"])
    assert report.commands
    assert (await ground.ping("cli", SERVER)).code == 0
    assert (await two.panels["h1"].reconcile(panels["h1"])).commands == ()


async def test_a_wire_follows_its_peer_without_being_rebuilt(two: TwoNodes) -> None:
    """When the far end moves, the tunnel is re-pointed in place; its device, and so every cord on
    it, stays. Another VNI is another tunnel."""
    panel = two.panels["h1"]
    device = await panel.ensure_wire(wire("h1", "h2"))
    index = (await panel.observe()).links[device].index
    moved = WireSpec("w-1", 1001, ADDRESS["h1"], "10.103.0.1")
    assert await panel.ensure_wire(moved) == device
    assert (await panel.observe()).links[device].index == index
    assert (await panel.list_wires())[0].remote_ip == "10.103.0.1"
    assert await panel.ensure_wire(wire("h1", "h2", vni=1002)) == device
    assert (await panel.observe()).links[device].index != index


async def test_a_vni_is_used_once_for_each_port(two: TwoNodes) -> None:
    """The kernel takes one tunnel per VNI and port; the second is refused before it is tried."""
    twin = WireSpec("w-2", 1001, ADDRESS["h1"], "10.103.0.1")
    with pytest.raises(InvalidPanel, match="same vni and port"):
        Panel(wires=(wire("h1", "h2"), twin))
    other_port = WireSpec("w-2", 1001, ADDRESS["h1"], "10.103.0.1", udp_port=4790)
    panel = Panel(wires=(wire("h1", "h2"), other_port))
    assert len((await two.panels["h1"].reconcile(panel)).commands) == 4


async def test_the_relay_delays_each_direction(ground: Ground, two: TwoNodes) -> None:
    """A site 20 ms away answers after 40 ms: the round trip grows by twice the delay."""
    await two.chain()
    near = rtt_ms_of(await ground.ping("cli", SERVER))
    await start_relay(ground, relay_config(ground.folder / "relay.json", 20_000))
    far = rtt_ms_of(await ground.ping("cli", SERVER))
    assert 40 <= far - near < 200, (near, far)


async def test_tcp_crosses_the_relay_whole(ground: Ground, two: TwoNodes) -> None:
    """Packets with unfinished checksums would pass pings and hang every TCP session."""
    await two.chain()
    await start_relay(ground, relay_config(ground.folder / "relay.json", 5_000))
    payload = bytes(range(256)) * 4096
    (ground.folder / "file").write_bytes(payload)
    words = ("-u", "-m", "http.server", "8080", "--directory", str(ground.folder))
    await ground.start("srv", *python(*words), ready="Serving")
    target = ground.folder / "got"
    got = await ground.run("cli", "curl", "-sf", "-o", str(target), f"http://{SERVER}:8080/file")
    assert got.code == 0, got.output
    assert target.read_bytes() == payload


async def test_a_killed_relay_is_a_full_cut(ground: Ground, two: TwoNodes) -> None:
    """Losing the relay must not mean losing the distance: behind it stands a drop."""
    await two.chain()
    config = relay_config(ground.folder / "relay.json", 1_000)
    relay = await start_relay(ground, config)
    assert (await ground.ping("cli", SERVER)).code == 0
    relay.kill()
    await relay.wait()
    assert (await ground.ping("cli", SERVER)).code != 0
    await start_relay(ground, config)
    assert (await ground.ping("cli", SERVER)).code == 0


async def test_the_relay_takes_a_new_distance_without_a_loss(ground: Ground, two: TwoNodes) -> None:
    """Chaos changes the WAN while it runs: SIGHUP reads the file again, SIGTERM ends cleanly."""
    await two.chain()
    path = relay_config(ground.folder / "relay.json", 1_000)
    relay = await start_relay(ground, path)
    await start_echo(ground)
    probe = await probe_during(ground, 2.0)
    relay_config(path, 8_000)
    relay.send_signal(signal.SIGHUP)
    record = await probe
    assert record["lost"] == 0
    assert record["rtt_ms_max"] >= 16
    assert rtt_ms_of(await ground.ping("cli", SERVER)) >= 16
    path.write_text("{}")
    relay.send_signal(signal.SIGHUP)
    assert relay.stdout is not None
    async with asyncio.timeout(10):
        while "old configuration stays" not in (await relay.stdout.readline()).decode():
            pass
    assert (await ground.ping("cli", SERVER)).code == 0
    relay.send_signal(signal.SIGTERM)
    async with asyncio.timeout(10):
        assert await relay.wait() == 0


async def test_loss_is_as_configured(ground: Ground, two: TwoNodes) -> None:
    """A lossy link loses its share, no more: 200 in 1000 each way leave about 64 %."""
    await two.chain()
    path = relay_config(ground.folder / "relay.json", 0, loss_permille=200)
    await start_relay(ground, path)
    await start_echo(ground)
    record = await (await probe_during(ground, 3.0))
    share = record["received"] / record["sent"]
    assert 0.55 < share < 0.73, share


async def test_a_wrong_file_is_refused_with_one_sentence(ground: Ground) -> None:
    """An operator's slip in the file names the field; no stack trace."""
    await ground.netns("wan")
    path = ground.folder / "relay.json"
    path.write_text('{"delays": [{"from": "10.0.0.0/8", "to": "10.0.0.0/8", "delay_us": -1}]}')
    done = await ground.run("wan", *python(*RELAY, "run", "--config", str(path)))
    assert done.code == 1
    assert done.output.strip().startswith("wan relay: delays[0].delay_us is -1")
    assert len(done.output.strip().splitlines()) == 1


async def test_the_relay_is_asked_only_for_listed_pairs(ground: Ground, two: TwoNodes) -> None:
    """Sites at no distance are forwarded by the kernel alone."""
    await two.chain()
    path = ground.folder / "relay.json"
    entry = {"from": "10.103.0.0/16", "to": "10.102.0.0/16", "delay_us": 500_000}
    path.write_text(json.dumps({"delays": [entry]}))
    await start_relay(ground, path)
    answer = await ground.ping("cli", SERVER)
    assert rtt_ms_of(answer) < 100
