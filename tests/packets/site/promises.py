"""What chains of one site promise: order, two hosts, live updates, deletion. Run by the modules beside it, each on
another fabric: chaining is the manager's own, the infrastructure needs not know of it (R15)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tests.packets.site.kit import (
    NAT_ADDRESS,
    OPEN_PORT,
    ROOT_KEY,
    SHUT_PORT,
    SITE,
    Site,
    chain,
    deny,
    firewall,
    limiter,
    nat,
)
from tests.support import eventually

from isthmus.contract.ids import instance_id

pytestmark = pytest.mark.asyncio(loop_scope="module")


def functions_of(detail: dict[str, Any]) -> list[dict[str, Any]]:
    """The functions of a chain's status, in its order."""
    functions: list[dict[str, Any]] = detail["status"]["functions"]
    return functions


async def test_packets_pass_three_functions_in_order(site: Site) -> None:
    """Why: each function is a hop that counts and, if it is a NAT, changes the source; all three agree or none is."""
    await site.run_chain(chain("order", [firewall(), nat(), limiter()]))
    text = await site.ping("a1", "a2", "-c", "20")
    assert set(re.findall(r"ttl=(\d+)", text)) == {"61"}
    await site.greet("a2", OPEN_PORT)
    assert await site.connect("a1", "a2", OPEN_PORT) == NAT_ADDRESS

    async def counted() -> bool:
        found = functions_of(await site.api.detail("acme", "order"))
        return all(f["packets_forward"] >= 20 and f["packets_reverse"] >= 20 for f in found)

    await eventually(counted, "all three functions tell of the packets")
    found = functions_of(await site.api.detail("acme", "order"))
    assert [f["function"] for f in found] == ["fw", "nat", "lim"]


async def test_swapping_the_order_changes_what_packets_meet(site: Site) -> None:
    """Why: an order that cannot be told from its opposite is not kept. A NAT hides the customer."""
    fence = firewall(deny("tcp", source=[f"{site.address('a1')}/32"]))
    await site.run_chain(chain("swap", [fence, nat()]))
    await site.greet("a2", OPEN_PORT)
    assert await site.connect("a1", "a2", OPEN_PORT) == "ConnectionRefusedError"

    answer = await site.api.apply(chain("swap", [nat(), fence]))
    assert answer.json()["result"] == "updated"

    async def behind_the_nat() -> bool:
        return await site.connect("a1", "a2", OPEN_PORT, 0.5) == NAT_ADDRESS

    await eventually(behind_the_nat, "behind the NAT the firewall does not know the customer")
    row = await site.api.until("acme", "swap", "running")
    assert [place.rsplit("/", 1)[1] for place in row["path"]] == ["nat", "fw"]


async def test_a_chain_over_two_hosts(site: Site) -> None:
    """Why: functions that must not share a host are joined by a wire, and full packets fit through it."""
    spec = chain(
        "wide",
        [firewall(), nat(), limiter()],
        ends="a1 b2",
        constraints={"anti_affinity": [["fw", "nat"], ["nat", "lim"]]},
    )
    row = await site.run_chain(spec)
    hosts = [place.split("/")[1] for place in row["path"]]
    assert hosts[0] != hosts[1] != hosts[2]
    text = await site.ping("a1", "b2", "-M", "do", "-s", "1400")
    assert set(re.findall(r"ttl=(\d+)", text)) == {"61"}
    await site.greet("b2", OPEN_PORT)
    assert await site.connect("a1", "b2", OPEN_PORT) == NAT_ADDRESS


async def test_two_chains_do_not_meet(site: Site) -> None:
    """Why: a tenant's packets on another's premises are the worst a provider can do."""
    await site.run_chain(chain("one", [firewall()]))
    await site.run_chain(chain("two", [firewall()], ends="b1 b2"))
    await site.ping("a1", "a2")
    await site.ping("b1", "b2")
    code, _ = await site.customer("a1").run("ping", "-c", "2", "-W", "1", site.address("b2"))
    assert code == 1


async def test_an_attachment_in_use_is_refused_with_its_user(site: Site) -> None:
    """Why: a circuit serves one chain; the second asker is told who has it, and is served once it is free."""
    await site.run_chain(chain("first", [firewall()]))
    second = chain("second", [firewall()], ends="b1 a2")
    await site.api.apply(second)
    row = await site.api.until("acme", "second", "refused")
    assert "'a2'" in row["reason"]
    assert "acme/first" in row["reason"]
    await site.ping("a1", "a2")
    await site.api.delete("acme", "first")
    await site.api.until("acme", "second", "running")
    await site.ping("b1", "a2")


async def test_a_live_update_changes_the_rules_and_loses_no_packet(site: Site) -> None:
    """Why: a configuration is changed in place; the instance, its connections and other packets go on."""
    spec = chain("live", [firewall(deny("tcp", OPEN_PORT))])
    await site.run_chain(spec)
    await site.greet("a2", OPEN_PORT, SHUT_PORT)
    await site.customer("a2").echo()
    assert await site.connect("a1", "a2", OPEN_PORT) == "ConnectionRefusedError"
    probe = await site.customer("a1").probe(site.address("a2"))
    before = await site.runtime("fw", spec)
    await site.update(chain("live", [firewall(deny("tcp", SHUT_PORT))]), "fw")
    assert await site.connect("a1", "a2", OPEN_PORT) == site.address("a1")
    assert await site.connect("a1", "a2", SHUT_PORT) == "ConnectionRefusedError"
    assert await site.runtime("fw", spec) == before
    report = await probe.finish()
    assert report["sent"] > 50
    assert report["lost"] == 0


async def test_a_bad_update_keeps_the_old_rules_and_says_why(site: Site) -> None:
    """Why: a typing error at three in the morning must not open (or close) a firewall."""
    await site.run_chain(chain("firm", [firewall(deny("tcp", OPEN_PORT))]))
    await site.greet("a2", OPEN_PORT, SHUT_PORT)
    bad = firewall({"action": "deny", "protocol": "tcp", "ports": [70000]})
    answer = await site.api.apply(chain("firm", [bad]))
    if answer.status_code == 200:

        async def told() -> bool:
            return "70000" in (await site.api.row("acme", "firm"))["reason"]

        await eventually(told, "the status says which value is refused")
    else:
        assert "70000" in answer.text
    assert await site.connect("a1", "a2", OPEN_PORT) == "ConnectionRefusedError"
    assert await site.connect("a1", "a2", SHUT_PORT) == site.address("a1")


async def test_a_bad_value_at_the_key_keeps_the_old_rules_and_says_why(site: Site) -> None:
    """Why: configurations may come from anybody with the right to write them; the VNF itself must stand firm."""
    await site.run_chain(chain("firm2", [firewall(deny("tcp", OPEN_PORT))]))
    await site.greet("a2", OPEN_PORT)
    await site.lab.supervisor.stop(site_process := await _controllers(site))
    instance = instance_id("acme", "firm2", "fw")
    await site.put_config(instance, "firewall", {"default_policy": "perhaps"}, generation=9)

    async def refused() -> bool:
        applied = await site.applied(instance)
        return applied is not None and "default_policy" in applied.error

    await eventually(refused, "the function says which field it refuses")
    assert await site.connect("a1", "a2", OPEN_PORT) == "ConnectionRefusedError"
    await site.lab.supervisor.restart(site_process)
    await site.ready()


async def _controllers(site: Site) -> str:
    """The supervised name of this lab's microcontrollers."""
    names = [status.name for status in site.lab.supervisor.status() if status.pid]
    return next(name for name in names if name in (f"{SITE}.controllers", f"{SITE}.plain"))


async def everything(site: Site) -> dict[str, list[str]]:
    """All that a chain could leave behind at a site, but for events, which are history."""
    seen: dict[str, list[str]] = {}
    for netns in (f"{SITE}-h1", f"{SITE}-h2", "c-a1", "c-a2"):
        _, text = await site.at(netns).run("sh", "-c", "ls /sys/class/net; nft list tables")
        _, links = await site.at(netns).run("ip", "-br", "link")
        seen[netns] = sorted(line.split()[0].split("@")[0] for line in links.splitlines())
    seen["namespaces"] = sorted(path.name for path in Path("/run/netns").iterdir())
    seen["keys"] = [
        key
        for key in await site.keys()
        if not key.startswith((f"{ROOT_KEY}events/", f"{ROOT_KEY}catalog/", f"{ROOT_KEY}leases/"))
    ]
    for kind in ("user", "role"):
        code, text = await site.etcdctl("admin", kind, "list")
        assert code == 0, text
        seen[kind] = text.split()
    for host in ("h1", "h2"):
        base = site.lab.base / SITE / host
        seen[f"files {host}"] = sorted(str(path.relative_to(base)) for path in base.rglob("*"))
    return seen


async def test_deleting_leaves_nothing_behind(site: Site) -> None:
    """Why: a namespace, a device, a key, a user or a private key that stays is a leak, and some day an entrance."""
    before = await everything(site)
    spec = chain(
        "gone",
        [firewall(), nat(), limiter()],
        ends="a1 b2",
        constraints={"anti_affinity": [["fw", "nat"]]},
    )
    await site.run_chain(spec)
    during = await everything(site)
    for kind in ("namespaces", "keys", "user", "role", f"{SITE}-h1", f"{SITE}-h2", "files h1"):
        assert set(during[kind]) - set(before[kind]), f"the chain has {kind} while it lives"
    await site.api.delete("acme", "gone")

    async def as_before() -> bool:
        now = await everything(site)
        left.clear()
        left.update({kind: sorted(set(now[kind]) - set(before[kind])) for kind in now})
        return not any(left.values())

    left: dict[str, list[str]] = {}
    try:
        await eventually(as_before, "nothing is left", every_s=0.3)
    except AssertionError as error:
        raise AssertionError(f"{error}: { ({k: v for k, v in left.items() if v}) }") from None
