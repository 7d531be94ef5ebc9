"""A sandbox deleted under traffic comes back, and lets nothing pass before its rules are in force (G14)."""

from __future__ import annotations

import pytest
from tests.packets.site.kit import (
    FLOOD_PORT,
    NAT_ADDRESS,
    Site,
    chain,
    deny,
    firewall,
    limiter,
    nat,
)
from tests.support import eventually

from isthmus.vswitch.errors import CommandFailed

pytestmark = pytest.mark.asyncio(loop_scope="module")

DEATHS = 3


async def heal_once(site: Site, spec: dict[str, object], function: str) -> None:
    """Delete the namespace of ``function`` and wait until its next life is patched."""
    before = await site.runtime(function, spec)
    await site.lose(before.netns)

    async def next_life() -> bool:
        now = await site.runtime(function, spec)
        return now.incarnation == before.incarnation + 1 and now.phase == "running"

    await eventually(next_life, f"the next life of {function} runs")
    await site.api.until("acme", str(spec["chain"]), "running")
    # The report may still be of the life before: packets tell.
    await eventually(lambda: passes(site), "packets pass the next life")


async def passes(site: Site) -> bool:
    """Does a ping answer now?"""
    try:
        await site.ping("a1", "a2")
    except (AssertionError, CommandFailed):
        return False
    return True


async def test_a_firewall_that_is_rebuilt_never_lets_a_blocked_packet_through(site: Site) -> None:
    """Why: a healer that forwards first and filters later opens the network each time it helps. Not one may pass."""
    spec = chain("heal", [firewall(deny("udp", FLOOD_PORT, deny_with="drop")), limiter()])
    await site.run_chain(spec)
    await site.customer("a2").echo()
    arrived = await site.sink("a2", FLOOD_PORT)
    probe = await site.customer("a1").probe(site.address("a2"))
    await site.flood("a1", "a2", FLOOD_PORT)
    for _ in range(DEATHS):
        await heal_once(site, spec, "fw")
    report = await probe.finish()
    assert arrived.read_text() == ""
    assert 0 < report["lost"] < report["sent"]
    last_answer = max(sent for sent, rtt, _ in report["timeline"] if rtt is not None)
    last_lost = max(sent for sent, rtt, _ in report["timeline"] if rtt is None)
    assert last_answer > last_lost, "packets flow again after the last death"

    await site.update(chain("heal", [firewall(), limiter()]), "fw")

    async def something() -> bool:
        return arrived.read_text() != ""

    await eventually(something, "the flood was there all the time: without the rule it arrives")


async def test_a_nat_that_is_rebuilt_never_shows_a_customer(site: Site) -> None:
    """Why: one packet with the inner address on the outside is a leak that no later packet repairs."""
    spec = chain("mask", [firewall(), nat()])
    await site.run_chain(spec)
    arrived = await site.sink("a2", FLOOD_PORT)
    await site.flood("a1", "a2", FLOOD_PORT)

    async def flows() -> bool:
        return arrived.read_text() != ""

    await eventually(flows, "the flood arrives")
    for _ in range(DEATHS):
        await heal_once(site, spec, "nat")
    lines = len(arrived.read_text().splitlines())

    async def flows_again() -> bool:
        return len(arrived.read_text().splitlines()) > lines

    await eventually(flows_again, "the flood arrives after the last death")
    assert {line.split()[1] for line in arrived.read_text().splitlines()} == {NAT_ADDRESS}


async def test_a_chain_asked_for_again_does_not_live_on_the_word_of_the_earlier(site: Site) -> None:
    """Why: lives are counted anew after a deletion; an old "applied" must not open a new sandbox."""
    spec = chain("again", [firewall(deny("udp", FLOOD_PORT, deny_with="drop"))])
    await site.run_chain(spec)
    arrived = await site.sink("a2", FLOOD_PORT)
    await site.flood("a1", "a2", FLOOD_PORT)
    for _ in range(DEATHS):
        await site.api.delete("acme", "again")
        await site.run_chain(spec)
    assert arrived.read_text() == ""


async def test_a_lost_device_is_put_back(site: Site) -> None:
    """Why: a hand in the wrong place takes single devices, not whole sandboxes."""
    spec = chain("leg", [firewall(), limiter()])
    await site.run_chain(spec)
    before = await site.runtime("fw", spec)
    await site.at("milan-h1").run("ip", "link", "del", before.legs["out"])

    async def next_life() -> bool:
        return (await site.runtime("fw", spec)).incarnation == before.incarnation + 1

    await eventually(next_life, "a sandbox without a leg is a lost one")
    await site.api.until("acme", "leg", "running")
    await site.ping("a1", "a2")


async def test_a_cord_taken_by_a_foreign_hand_is_put_back(site: Site) -> None:
    """Why: the panel is compared with the kernel, so nobody needs to tell the manager what was broken."""
    spec = chain("cord", [firewall()])
    await site.run_chain(spec)
    device = (await site.runtime("fw", spec)).legs["in"]
    await site.at("milan-h1").run("tc", "qdisc", "del", "dev", device, "clsact")

    async def flows() -> bool:
        words = ("ping", "-c", "1", "-W", "1", site.address("a2"))
        return (await site.customer("a1").run(*words))[0] == 0

    await eventually(flows, "the cord is back", timeout_s=45)
