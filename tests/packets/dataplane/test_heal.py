"""What breaks, is noticed, and comes back; and what an observer of packets sees of it (G14)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.packets.dataplane.kit import (
    SERVER,
    Ground,
    OneNode,
    chain_of,
    probe_during,
    python,
    start_echo,
)
from tests.support import eventually

from isthmus.infrastructure import Change, InstanceSpec, StaleIncarnation
from isthmus.infrastructure.linux import LinuxCompute, LinuxFabric
from isthmus.vswitch import NETNS_DIR, Node, PatchPanel

pytestmark = pytest.mark.world


async def _next(watch: asyncio.Task[Change]) -> Change:
    async with asyncio.timeout(10):
        return await watch


async def test_repatching_in_place_loses_nothing(ground: Ground, one: OneNode) -> None:
    """Make-before-break (G14): the second instance is ready, then two cords are swapped in place;
    a probe every 2 ms must not miss one packet, there and back, twice."""
    await one.panel.reconcile(await one.chain("i-1"))
    spare = await one.instance("i-2")
    first = await one.instance("i-1")
    await start_echo(ground)
    probe = await probe_during(ground, 2.0)
    for legs in (spare, first, spare):
        await one.panel.reconcile(chain_of([one.ends["cli"], *legs, one.ends["srv"]]))
    record = await probe
    assert record["lost"] == 0, record["longest_gap_ms"]
    assert record["sent"] > 100
    counters = await one.panel.counters()
    assert counters[spare[0]].rx_packets > 0, "the spare never carried anything"


async def test_patching_again_changes_nothing(ground: Ground, one: OneNode) -> None:
    """Level-triggered means asked often: twenty times the same wish is twenty looks, no command,
    and no packet lost."""
    panel = await one.chain("i-1", "i-2")
    await one.panel.reconcile(panel)
    await start_echo(ground)
    probe = await probe_during(ground, 2.0)
    before = await one.compute.list_instances()
    for _ in range(20):
        await one.instance("i-1")
        assert (await one.panel.reconcile(panel)).commands == ()
        assert not await one.panel.ensure_cord(panel.cords[0].a, panel.cords[0].b)
    assert await one.compute.list_instances() == before
    assert (await probe)["lost"] == 0


async def test_asking_again_issues_no_command(
    one: OneNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cost of idempotence is looking: no batch and no script is run the second time."""
    await one.instance("i-1")
    seen: list[tuple[str, ...]] = []
    plain = Node.run

    async def listen(self: Node, *argv: str, stdin: str = "", **more: float) -> str:
        seen.append((*argv, stdin))
        return await plain(self, *argv, stdin=stdin, timeout_s=more.get("timeout_s"))

    monkeypatch.setattr(Node, "run", listen)
    await one.instance("i-1")
    assert seen
    changing = (" add ", " set ", " del ", " replace ", "nft -f", "echo 1")
    text = [" ".join(words) for words in seen]
    assert not [line for line in text if any(word in line for word in changing)], text


async def test_a_lost_namespace_is_heard_of_and_rebuilt(ground: Ground, one: OneNode) -> None:
    """A kernel sandbox has no process that could be missed: the loss of its namespace must be an
    event. The rebuilt life has new devices and the chain is whole again (how fast: bench heal)."""
    await one.panel.reconcile(await one.chain("i-1", "i-2", "i-3"))
    await start_echo(ground)
    watch = one.compute.watch()
    await anext(watch)
    probe = await probe_during(ground, 3.0)
    heard = asyncio.ensure_future(anext(watch))
    await Node().ip([f"netns del {await one.netns_of('i-2')}"])
    assert (await _next(heard)).subject == "i-2"
    new = await one.instance("i-2", 2)
    legs = [await one.instance("i-1"), new, await one.instance("i-3")]
    ends = [one.ends["cli"], *(device for pair in legs for device in pair), one.ends["srv"]]
    await one.panel.reconcile(chain_of(ends))
    record = await probe
    assert 0 < record["lost"] < record["sent"], record["longest_gap_ms"]
    assert any(rtt is not None for _, rtt, _ in record["timeline"][-20:]), "packets pass again"
    await watch.aclose()


async def test_a_lost_leg_is_heard_of_and_listed(ground: Ground, one: OneNode) -> None:
    """Half a sandbox is a lost one: its partner leg is named as the reason."""
    legs = await one.instance("i-1")
    watch = one.compute.watch()
    await anext(watch)
    heard = asyncio.ensure_future(anext(watch))
    await Node("h1").ip([f"link del dev {legs[1]}"])
    assert (await _next(heard)).subject == "i-1"
    state = (await one.compute.list_instances())[0]
    assert (state.phase, state.reason) == ("lost", "leg 'out' is gone")
    await watch.aclose()


async def test_a_node_that_comes_back_is_watched_again(ground: Ground, one: OneNode) -> None:
    """A host that restarts is a new namespace under its old name; listening must follow it."""
    watch = one.compute.watch()
    await anext(watch)
    await Node().ip(["netns del h1"])
    assert "gone" in (await _next(asyncio.ensure_future(anext(watch)))).reason
    await ground.netns("h1")
    heard = await _next(asyncio.ensure_future(anext(watch)))
    while heard.reason != "node h1 is back":
        heard = await _next(asyncio.ensure_future(anext(watch)))
    legs = await one.instance("i-9")
    changes: list[Change] = []
    reader = asyncio.ensure_future(_collect(watch, changes))
    await Node("h1").ip([f"link del dev {legs[0]}"])
    await eventually(lambda: any(c.subject == "i-9" for c in changes), "the loss is heard")
    reader.cancel()


async def _collect(watch: AsyncIterator[Change], into: list[Change]) -> None:
    async for change in watch:
        into.append(change)


async def test_a_restart_adopts_what_runs(ground: Ground, one: OneNode) -> None:
    """The kernel is the state: fresh objects list what is there, ensure it and change nothing,
    while packets pass without a loss."""
    panel = await one.chain("i-1", "i-2")
    await one.panel.reconcile(panel)
    await start_echo(ground)
    probe = await probe_during(ground, 2.0)
    again = OneNode(
        ground,
        LinuxCompute(one.compute.settings),
        LinuxFabric(one.fabric.settings),
        PatchPanel(Node("h1")),
        ends={s.attachment_id: s.device for s in await one.fabric.list_attachments()},
    )
    assert again.ends == one.ends
    states = {s.instance_id: s for s in await again.compute.list_instances()}
    assert set(states) == {"i-1", "i-2"}
    assert await again.chain("i-1", "i-2") == panel
    assert (await again.panel.reconcile(panel)).commands == ()
    assert {s.instance_id: s for s in await again.compute.list_instances()} == states
    assert (await probe)["lost"] == 0


async def test_removal_touches_only_what_is_ours(ground: Ground, one: OneNode) -> None:
    """Garbage is what carries our mark and nobody wants; a neighbour's namespace, link, filter
    and a sandbox of another scope stay as they are."""
    await one.instance("i-1")
    await Node().ip(["netns add somebody", "netns add isthmus@s2@h1@i-1@1"])
    node = Node("h1")
    await node.ip(
        [
            "link add name foreign type veth peer name foreign2",
            "link set dev foreign alias isthmus:leg:s2:i-1:1:in:out up",
            "link set dev foreign2 up",
            "link add name fx type vxlan id 99 local 10.0.0.1 remote 10.0.0.2 dstport 4789",
        ]
    )
    await node.tc(
        [
            "qdisc add dev foreign clsact",
            "filter add dev foreign ingress prio 1 protocol all u32 match u32 0 0 "
            "action mirred egress redirect dev foreign2",
        ]
    )
    await one.compute.remove_instance("i-1")
    await one.panel.reconcile(chain_of([]))
    assert await one.compute.list_instances() == ()
    assert {"somebody", "isthmus@s2@h1@i-1@1"} <= set(os.listdir(NETNS_DIR))
    assert not [name for name in os.listdir(NETNS_DIR) if name.startswith("isthmus@s1")]
    links = json.loads(await node.run("ip", "-j", "link", "show"))
    assert {"foreign", "foreign2", "fx", *one.ends.values()} <= {link["ifname"] for link in links}
    assert "foreign2" in await node.run("tc", "filter", "show", "dev", "foreign", "ingress")


async def test_a_process_inside_does_not_keep_a_removed_sandbox(
    ground: Ground, one: OneNode
) -> None:
    """A process holds its namespace and the legs alive after the name is gone: it goes first."""
    legs = await one.instance("i-1")
    inside = await ground.start(
        await one.netns_of("i-1"), *python("-uc", "print('ready'); import time; time.sleep(99)")
    )
    await one.compute.remove_instance("i-1")
    assert await inside.wait() == -signal.SIGKILL
    assert legs[0] not in await Node("h1").run("ip", "-j", "link", "show")


async def test_a_name_lost_under_a_living_process_is_lost(ground: Ground, one: OneNode) -> None:
    """Legs without a name cannot be entered any more: it counts as lost, and is built anew."""
    await one.instance("i-1")
    netns = await one.netns_of("i-1")
    await ground.start(netns, *python("-uc", "print('ready'); import time; time.sleep(99)"))
    await Node().ip([f"netns del {netns}"])
    state = (await one.compute.list_instances())[0]
    assert (state.phase, state.reason) == ("lost", "its network namespace is gone")
    assert set(state.legs) == {"in", "out"}
    await one.instance("i-1")
    assert (await one.compute.list_instances())[0].phase == "running"


async def test_an_older_life_is_replaced_and_never_returns(one: OneNode) -> None:
    """A higher incarnation is a new life (new devices, new token); a delayed order for the old one
    is refused, or it would tear down what was healed."""
    old = await one.instance("i-1", 1)
    before = (await one.compute.list_instances())[0]
    new = await one.instance("i-1", 2)
    after = (await one.compute.list_instances())[0]
    assert not set(old) & set(new)
    assert before.sandbox != after.sandbox
    assert len(await one.compute.list_instances()) == 1
    with pytest.raises(StaleIncarnation, match="incarnation 1 was asked for, 2 is there"):
        await one.instance("i-1", 1)


async def test_the_same_life_rebuilt_shows_another_token(one: OneNode) -> None:
    """Fail closed needs to tell a rebuilt sandbox from the configured one even if the incarnation
    did not change: an unconfigured firewall forwards everything."""
    await one.instance("i-1")
    before = (await one.compute.list_instances())[0]
    await Node().ip([f"netns del {before.netns}"])
    await one.instance("i-1")
    after = (await one.compute.list_instances())[0]
    assert before.incarnation == after.incarnation
    assert before.sandbox != after.sandbox


async def test_damage_inside_is_repaired_in_place(ground: Ground, one: OneNode) -> None:
    """Rules, routes, neighbours and switches that vanish are put back; the rest is not touched."""
    await one.panel.reconcile(await one.chain("i-1"))
    before = (await one.compute.list_instances())[0]
    inside = Node(before.netns)
    await inside.ip(["rule del pref 101", "route flush table 102", "neigh flush all nud permanent"])
    await inside.run("sh", "-c", "echo 0 >/proc/sys/net/ipv4/ip_forward")
    await inside.nft("delete table inet isthmus_steer\n")
    assert (await ground.ping("cli", SERVER)).code != 0
    await one.instance("i-1")
    assert (await ground.ping("cli", SERVER)).code == 0
    assert (await one.compute.list_instances())[0] == before


async def test_a_process_sandbox_is_started_watched_and_adopted(
    ground: Ground, tmp_path: Path
) -> None:
    """Form "process": one command inside, found again after a restart, its end is an event."""
    share = tmp_path / "share"
    share.mkdir()
    script = "import sys, time; open(sys.argv[1] + '/up', 'w').close(); time.sleep(99)"
    argv = (*python("-c", script), "{share_dir}")
    one = await OneNode.make(ground, process_argv=argv)
    spec = InstanceSpec("i-p", 1, "h1", form="process", share_dir=str(share))
    assert (await one.compute.ensure_instance(spec)).phase == "running"
    await eventually((share / "up").exists, "the process runs and sees its share")
    again = LinuxCompute(one.compute.settings)
    (share / "up").unlink()
    assert (await again.ensure_instance(spec)).phase == "running"
    watch = again.watch()
    await anext(watch)
    heard = asyncio.ensure_future(anext(watch))
    netns = await one.netns_of("i-p")
    pids = (await Node().run("ip", "netns", "pids", netns)).split()
    assert len(pids) == 1, "adopted, not started twice"
    os.kill(int(pids[0]), signal.SIGKILL)
    assert (await _next(heard)) == Change("i-p", "its process ended")
    assert (await again.list_instances())[0].phase == "lost"
    assert (await again.ensure_instance(spec)).phase == "running"
    await eventually((share / "up").exists, "it was started again")
    await watch.aclose()
    await again.close()
    await one.compute.close()
