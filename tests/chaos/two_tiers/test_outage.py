"""The tier above dies whole; packets do not notice, sites decide for themselves and take it back (G1, G3)."""

from __future__ import annotations

import time

from tests.chaos.two_tiers.kit import GLOBAL_PROCESSES, MILAN, SITES, WEB, World
from tests.support import eventually

from isthmus.contract.families import G_INTENTS, G_PLACEMENTS
from isthmus.deploy.lab.spec import GLOBAL


async def test_without_the_global_tier_packets_and_sites_go_on(two: World) -> None:
    """Why: a carrier whose packets need its orchestrator has one thing that takes all sites down at once (R5, G1)."""
    await two.run(two.chain("early", "milan-e", "paris-e"))
    before = await two.keys(GLOBAL, G_PLACEMENTS.prefix())
    address = two.lab.addresses.customer("paris-a")
    async with (
        two.stage.serving("paris-a", (8080,)),
        two.stage.probing("milan-a", address) as probe,
    ):
        assert probe.alive
        for process in reversed(GLOBAL_PROCESSES):
            await two.away(f"{GLOBAL}.{process}")
        began = time.monotonic()
        await two.run(two.chain("alone", "milan-c", "milan-d"), tier=MILAN)
        two.measured("local apply while the tier is dead", time.monotonic() - began)
        await two.passes("milan-c", "milan-d")
        assert not two.link(MILAN).connected or two.link(MILAN).silent_s > 0
        began = time.monotonic()
        for process in GLOBAL_PROCESSES:
            await two.lab.supervisor.restart(f"{GLOBAL}.{process}")
            if process == "etcd":
                await two.lab.supervisor.wait_ready(f"{GLOBAL}.etcd", 30)
        await two.answers()
        await two.converged()
        two.measured("tier back from dead: all digests agree", time.monotonic() - began)
    # Distance is a relay in user space: starved by its neighbours it loses a burst. Packets that needed the tier would
    # have been lost for all the seconds it was dead.
    assert probe.sent > 500
    assert probe.lost * 500 <= probe.sent, (probe.sent, probe.lost)
    assert probe.longest_gap_ms <= 250, probe.longest_gap_ms
    assert await two.keys(GLOBAL, G_PLACEMENTS.prefix()) == before, "nothing was placed anew"
    assert (await two.stage.chain(WEB))["row"]["phase"] == "running"
    await two.run(two.chain("late", "milan-f", "paris-f"))
    two.measured("apply after the tier came back", time.monotonic() - began)


async def test_what_was_deleted_below_while_the_tier_was_away_is_told(two: World) -> None:
    """Why: a tier that comes back from its own store must learn what changed, not what it remembers."""
    await two.run(two.chain("annex", "paris-c", "paris-d"), tier="paris")
    await two.away(f"{GLOBAL}.controllers")
    await two.away(f"{GLOBAL}.gateway")
    await two.remove("annex", tier="paris")
    await two.run(two.chain("other", "paris-c", "paris-d"), tier="paris")
    for process in ("gateway", "controllers"):
        await two.lab.supervisor.restart(f"{GLOBAL}.{process}")
    await two.converged()
    assert [key for key in await two.keys(GLOBAL) if "/annex" in key] == []


async def test_an_intent_given_just_before_the_tier_dies_is_carried_out(two: World) -> None:
    """Why: an acknowledged intent is in the store, whatever dies right after the answer (G3)."""
    await two.stage.apply(two.chain("last-word", "milan-e", "paris-e"))
    for process in ("controllers", "gateway", "etcd"):
        two.kill(f"{GLOBAL}.{process}")
    began = time.monotonic()
    await two.stage.phase("last-word", "running", timeout_s=60)
    two.measured(
        "intent acknowledged before kill -9 of the tier runs after", time.monotonic() - began
    )
    await two.passes("milan-e", "paris-e")
    intents = await two.keys(GLOBAL, G_INTENTS.prefix())
    assert sum("/last-word" in key for key in intents) == 1
    await eventually(lambda: all(two.link(site).synced for site in SITES), "links are synced")
