"""Real packets through sandboxes on one node: what the recipe promises to a chain."""

from __future__ import annotations

import re

import pytest
from tests.packets.dataplane.kit import (
    CLIENT,
    REFUSING_FIREWALL,
    SERVER,
    Ground,
    OneNode,
    chain_of,
    python,
    ttl_of,
)

from isthmus.infrastructure import AttachmentSpec, InstanceSpec
from isthmus.vswitch import Node, Panel, Split

pytestmark = pytest.mark.world

CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3).close()"
LISTEN = (
    "import socket; s = socket.create_server(('', 6000)); print('ready', flush=True);\n"
    "while True: s.accept()[0].close()"
)


async def test_hops_are_passed_in_the_order_of_the_panel(ground: Ground, one: OneNode) -> None:
    """Chaining is the panel's alone (R15): each instance takes one hop, and order is what we say."""
    await one.panel.reconcile(await one.chain("i-1", "i-2", "i-3"))
    assert ttl_of(await ground.ping("cli", SERVER)) == 64 - 3
    for place, instance_id in enumerate(("i-1", "i-2", "i-3")):
        await Node(await one.netns_of(instance_id)).nft(
            "table ip t {\n chain f { type filter hook prerouting priority 0;\n"
            f'  iifname "in" ip ttl {64 - place} counter\n }}\n}}\n'
        )
    await ground.ping("cli", SERVER)
    for instance_id in ("i-1", "i-2", "i-3"):
        listed = await ground.run(
            await one.netns_of(instance_id), "nft", "list", "table", "ip", "t"
        )
        assert "counter packets 3" in listed.output, f"{instance_id}: {listed.output}"


async def test_an_attachment_works_in_either_direction(ground: Ground, one: OneNode) -> None:
    """A customer's line may begin one chain and end another, so its end knows no direction."""
    await one.panel.reconcile(await one.chain("i-1"))
    assert (await ground.ping("cli", SERVER)).code == 0
    assert (await ground.ping("srv", CLIENT)).code == 0
    devices = [one.ends["srv"], *await one.instance("i-1"), one.ends["cli"]]
    await one.panel.reconcile(chain_of(devices))
    assert (await ground.ping("cli", SERVER)).code == 0
    assert (await ground.ping("srv", CLIENT)).code == 0


async def test_unpatched_sandboxes_pass_nothing(ground: Ground, one: OneNode) -> None:
    """Fail closed: legs that exist but carry no cord lead nowhere, not into the node's own stack."""
    await one.chain("i-1")
    await Node("h1").run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
    assert (await ground.ping("cli", SERVER)).code != 0
    counters = await one.panel.counters()
    assert counters[one.ends["cli"]].rx_packets >= 3, "the customer did send"


async def test_a_download_arrives_whole(ground: Ground, one: OneNode) -> None:
    """TCP with large segments crosses the chain byte for byte, in both directions."""
    await one.panel.reconcile(await one.chain("i-1", "i-2"))
    payload = bytes(range(256)) * 8192
    (ground.folder / "file").write_bytes(payload)
    words = ("-u", "-m", "http.server", "8080", "--directory", str(ground.folder))
    await ground.start("srv", *python(*words), ready="Serving")
    target = ground.folder / "got"
    got = await ground.run("cli", "curl", "-sf", "-o", str(target), f"http://{SERVER}:8080/file")
    assert got.code == 0, got.output
    assert target.read_bytes() == payload


async def test_a_refused_port_is_refused_at_once(ground: Ground, one: OneNode) -> None:
    """A reset made inside a sandbox has no leg of arrival; without the marks it would vanish and
    the customer would wait for a time-out instead of hearing "refused"."""
    await one.panel.reconcile(await one.chain("i-1", "i-2"))
    await Node(await one.netns_of("i-2")).nft(REFUSING_FIREWALL)
    await ground.start("srv", *python("-c", LISTEN))
    refused = await ground.run("cli", *python("-c", CONNECT, SERVER, "5999"))
    assert "ConnectionRefusedError" in refused.output
    allowed = await ground.run("cli", *python("-c", CONNECT, SERVER, "6000"))
    assert allowed.code == 0, allowed.output


async def test_too_long_packets_are_answered(ground: Ground, one: OneNode) -> None:
    """The limit is the route's: a sender that must not fragment hears of it from the sandbox."""
    await one.fabric.ensure_attachment(AttachmentSpec("cli", "h1", mtu=1500))
    await one.panel.reconcile(await one.chain("i-1"))
    long = await ground.run("cli", *("ping", "-c2", "-i0.1", "-W1", "-Mdo", "-s1460", SERVER))
    assert "mtu=1450" in long.output or "mtu = 1450" in long.output, long.output
    fits = await ground.run("cli", *("ping", "-c1", "-W1", "-Mdo", "-s1422", SERVER))
    assert fits.code == 0, fits.output


async def test_translation_stays_symmetric(ground: Ground, one: OneNode) -> None:
    """Address translation works though nobody inside knows an address of a neighbour."""
    await one.panel.reconcile(await one.chain("i-1", "i-2"))
    await Node(await one.netns_of("i-1")).nft(
        "table ip n {\n chain p { type nat hook postrouting priority srcnat;\n"
        '  oifname "out" snat to 203.0.113.10\n }\n}\n'
    )
    say = "import socket; s=socket.create_server(('', 6001)); print('ready', flush=True);\n" + (
        "while True: c, a = s.accept(); c.send(a[0].encode()); c.close()"
    )
    await ground.start("srv", *python("-c", say))
    ask = f"import socket; print(socket.create_connection(('{SERVER}', 6001), 3).recv(99))"
    assert "203.0.113.10" in (await ground.run("cli", *python("-c", ask))).output


async def test_users_of_a_shared_sandbox_do_not_meet(ground: Ground) -> None:
    """Two users with the same addresses and ports share one sandbox: each pair of legs has
    a conntrack zone of its own, so their sessions stay apart."""
    one = await OneNode.make_shared(ground)
    script = "".join(
        f'add rule ip n p oifname "out{user}" snat to 203.0.113.{user}\n' for user in (1, 2)
    )
    netns = Node(await one.netns_of("i-s"))
    chain = "add chain ip n p { type nat hook postrouting priority srcnat ; }\n"
    await netns.nft(f"add table ip n\n{chain}{script}")
    say = "import socket; s=socket.create_server(('', 6001)); print('ready', flush=True);\n" + (
        "while True: c, a = s.accept(); c.send(a[0].encode()); c.close()"
    )
    ask = (
        f"import socket; c = socket.create_connection(('{SERVER}', 6001), 3, ('{CLIENT}', 5555));"
        "print(c.recv(99))"
    )
    for user in (1, 2):
        await ground.start(f"srv{user}", *python("-c", say))
    for user in (1, 2):
        heard = await ground.run(f"cli{user}", *python("-c", ask))
        assert f"203.0.113.{user}'" in heard.output, heard.output


async def test_a_second_user_does_not_disturb_the_first(ground: Ground, one: OneNode) -> None:
    """Sharing grows while it runs: legs added for a new user leave the others' untouched."""
    panel = await one.chain("i-1")
    await one.panel.reconcile(panel)
    before = (await one.compute.list_instances())[0]
    spec = InstanceSpec("i-1", 1, "h1", legs=("in", "out", "in2", "out2"))
    after = await one.compute.ensure_instance(spec)
    assert after.sandbox == before.sandbox
    assert {leg: after.legs[leg] for leg in ("in", "out")} == dict(before.legs)
    assert await one.panel.reconcile(panel) == await one.panel.reconcile(panel)
    assert (await one.panel.reconcile(panel)).commands == ()
    assert (await ground.ping("cli", SERVER)).code == 0


async def test_a_split_sends_each_client_to_one_instance(ground: Ground, one: OneNode) -> None:
    """Scaling out keeps flows whole: a client's packets meet the same instance on both ways, and
    two instances share the clients."""
    clients = [f"10.1.0.{n}" for n in range(2, 18)]
    await Node("cli").ip([f"addr add {c}/32 dev eth0" for c in clients[1:]])
    legs = {name: await one.instance(name) for name in ("i-1", "i-2")}
    for name in legs:
        netns = Node(await one.netns_of(name))
        await netns.nft(
            "table ip t {\n set there { type ipv4_addr; flags dynamic; }\n"
            " set back { type ipv4_addr; flags dynamic; }\n"
            " chain f { type filter hook forward priority 0;\n"
            '  iifname "in" add @there { ip saddr }\n  iifname "out" add @back { ip daddr }\n }\n}\n'
        )
    report = await one.panel.reconcile(split_panel(one, legs))
    assert report.missing == ()
    for client in clients:
        answered = await ground.ping("cli", SERVER, "-I", client)
        assert answered.code == 0, (client, answered.output)
    served = {name: await _clients_seen(one, name) for name in legs}
    assert served["i-1"] | served["i-2"] == set(clients)
    assert not served["i-1"] & served["i-2"]
    assert min(len(seen) for seen in served.values()) == 8, served


async def _clients_seen(one: OneNode, name: str) -> set[str]:
    netns = Node(await one.netns_of(name))
    sets = {}
    for way in ("there", "back"):
        text = await netns.run("nft", "list", "set", "ip", "t", way)
        sets[way] = set(re.findall(r"10\.1\.0\.\d+", text))
    assert sets["there"] == sets["back"], f"{name}: ways differ: {sets}"
    return sets["there"]


def split_panel(one: OneNode, legs: dict[str, tuple[str, str]]) -> Panel:
    """Both ways split over the instances, and each instance hands on to the customers."""
    ins = tuple((name, pair[0]) for name, pair in legs.items())
    outs = tuple((name, pair[1]) for name, pair in legs.items())
    return Panel(
        splits=(
            Split(one.ends["cli"], ins, client="src"),
            Split(one.ends["srv"], outs, client="dst"),
        ),
        returns=tuple((leg, one.ends["cli"]) for _, leg in ins)
        + tuple((leg, one.ends["srv"]) for _, leg in outs),
    )
