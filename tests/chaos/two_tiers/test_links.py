"""The control link in trouble: cut in silence, losing everything, reset, its history gone (G4, DESIGN section 6)."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from tests.chaos.two_tiers.kit import MILAN, PARIS, SITES, Watched, World, specs_of
from tests.support import eventually

from isthmus.contract.families import G_REMOTE
from isthmus.deploy.lab.spec import GLOBAL
from isthmus.deploy.lab.wan import link_name

LINK = link_name(MILAN)
SILENCE_S = 6.0
"""Longer than a beat (5 s): a link that lets anything through would show it."""


def frames(two: World, kind: str) -> list[dict[str, Any]]:
    """Frames of one kind that milan received, from its tap."""
    found = []
    for line in two.lab.files.path(MILAN, "tap.jsonl").read_text().splitlines():
        frame = json.loads(line)
        if frame["kind"] == kind and frame["direction"] == "received":
            found.append(frame)
    return found


async def silent(two: World, for_s: float = SILENCE_S) -> None:
    """The far side's own count of bytes attests the cut."""
    await eventually(
        lambda: (
            two.link(GLOBAL, MILAN).silent_s >= for_s or two.link(GLOBAL, MILAN).state == "closed"
        ),
        f"the gateway has heard nothing from {MILAN} for {for_s} s",
    )


async def test_a_short_cut_is_bridged_by_the_same_link(two: World) -> None:
    """Why: most cuts are short; what was under way arrives, nothing is copied anew, nobody dials (G4)."""
    before = two.link(MILAN)
    await two.toxics.cut(LINK)
    await silent(two)
    await two.stage.apply(two.chain("meanwhile", "milan-c", "paris-c"))
    await two.run(two.chain("local", "milan-d", "milan-e"), tier=MILAN)
    await two.passes("milan-a", "paris-a")
    waiting = await two.stage.chain("meanwhile")
    assert waiting["row"]["phase"] != "running", "milan cannot know of it: the cut is real"
    await two.toxics.heal(LINK)
    began = time.monotonic()
    await two.stage.phase("meanwhile", "running", timeout_s=30)
    two.measured("short cut healed: a chain given meanwhile runs", time.monotonic() - began)
    two.measured("short cut healed: digests agree", await two.converged(MILAN))
    after = two.link(MILAN)
    assert (after.reconnects, after.resyncs) == (before.reconnects, before.resyncs)


async def test_a_long_cut_ends_the_link_and_resumes_where_it_was(two: World) -> None:
    """Why: after 12 s of silence both ends give up; the next link goes on from its token and copies no snapshot."""
    began_frames = len(frames(two, "begin"))
    await two.toxics.cut(LINK)
    await eventually(
        lambda: two.link(MILAN).state != "open" and two.link(GLOBAL, MILAN).state != "open",
        "both ends know that the link is lost",
        timeout_s=30,
    )
    await two.run(two.chain("local", "milan-d", "milan-e"), tier=MILAN)
    await two.stage.apply(two.chain("meanwhile", "milan-c", "paris-c"))
    await two.toxics.heal(LINK)
    began = time.monotonic()
    two.measured("long cut healed: digests agree", await two.converged(MILAN))
    await two.stage.phase("meanwhile", "running", timeout_s=30)
    two.measured("long cut healed: a chain given meanwhile runs", time.monotonic() - began)
    modes = [frame.get("mode") for frame in frames(two, "begin")[began_frames:]]
    assert modes, "a new link began"
    assert "MODE_SNAPSHOT" not in modes, modes


async def test_a_link_that_loses_everything_is_given_up_and_comes_back(two: World) -> None:
    """Why: unlike a cut, bytes are gone for good; nothing may depend on their arrival (toxic ``timeout``)."""
    async with specs_of(two, MILAN) as watched:
        await two.toxics.lose(LINK)
        await two.stage.apply(two.chain("meanwhile", "milan-c", "paris-c"))
        await silent(two)
        await two.toxics.heal(LINK)
        began = time.monotonic()
        await two.stage.phase("meanwhile", "running", timeout_s=40)
        two.measured("lossy link healed: a chain given meanwhile runs", time.monotonic() - began)
        await two.converged(MILAN)
    assert watched.deleted == []


@pytest.mark.slow
async def test_neighbours_tell_a_site_that_is_cut_off_from_a_dead_one(two: World) -> None:
    """Why: chains of a dead site have to move, those of a site that is only cut off must not; its own link tells
    neither. The data path does, as long as packets come."""

    async def judged(state: str) -> None:
        async def told() -> bool:
            rows = (await two.stage.api().get("/v1/sites")).json()["sites"]
            return any((row["site"], row["state"]) == (MILAN, state) for row in rows)

        await eventually(told, f"milan is said to be {state}", timeout_s=60)

    address = two.lab.addresses.customer("paris-a")
    async with two.stage.serving("paris-a", (8080,)), two.stage.probing("milan-a", address):
        await two.toxics.cut(LINK)
        await judged("cut-off")
        await two.away("wan.relay")  # what stands for the fibre: now no packet passes either
        await judged("dead")
        await two.lab.supervisor.restart("wan.relay")
        await two.toxics.heal(LINK)
        await judged("alive")


async def test_resets_under_changes_lose_nothing_and_double_nothing(two: World) -> None:
    """Why: each reset tears a stream in the middle of a batch; replay and resume must come out even (G3, G4)."""
    before = two.link(MILAN).reconnects
    for number in range(4):
        await two.stage.apply(two.chain(f"r{number}", "milan-c", "paris-c") | {"priority": number})
        await two.toxics.reset(LINK)
        await eventually(lambda: two.link(MILAN).state != "open", "the link is down")
        await two.toxics.heal(LINK)
        if number < 3:
            await two.stage.api().delete(f"/v1/chains/acme/r{number}")
    began = time.monotonic()
    await two.stage.phase("r3", "running", timeout_s=40)
    two.measured("resets over: the last chain runs", time.monotonic() - began)
    await two.converged(MILAN, PARIS)
    assert two.link(MILAN).reconnects > before
    for site in (MILAN, PARIS):
        text = await two.text(site)
        assert not [name for name in ("r0", "r1", "r2") if f"/{name} " in text]


async def test_history_lost_during_a_cut_is_a_full_copy_that_blanks_nothing(two: World) -> None:
    """Why: after a compaction nobody can tell what was deleted, so everything is copied; a copy that began by deleting
    would end every chain of the site (G4). Both directions: the tier's store, and the site's.
    """
    mirror = G_REMOTE.key(site=MILAN)
    async with specs_of(two, MILAN) as specs, Watched(two.stores[GLOBAL], mirror) as told:
        await two.toxics.cut(LINK)
        await silent(two)
        await two.run(two.chain("local", "milan-d", "milan-e"), tier=MILAN)
        await two.stage.apply(two.chain("meanwhile", "milan-c", "paris-c"))
        await eventually(
            lambda: two.link(MILAN).state != "open" and two.link(GLOBAL, MILAN).state != "open",
            "both ends know that the link is lost",
            timeout_s=30,
        )
        for side in (GLOBAL, MILAN):
            await two.compact(side)
        await two.toxics.heal(LINK)
        two.measured("cut with compaction at both ends: digests agree", await two.converged(MILAN))
        await two.stage.phase("meanwhile", "running", timeout_s=30)

        def told_copied() -> bool:
            """Both ends tell of the new link, and that it began with a copy; they may tell of the link first."""
            ends = two.link(MILAN), two.link(GLOBAL, MILAN)
            return all(end.connected and end.resyncs for end in ends)

        await eventually(told_copied, "both ends tell of the new link and its full copy")
        assert two.link(MILAN).resyncs == 1, "everything was copied down, once"
        assert two.link(GLOBAL, MILAN).resyncs == 1, "everything was copied up, once"
    assert specs.deleted == [], "no segment vanished, not even for a moment"
    assert specs.seen > 0
    # A wire that an earlier test gave up may be taken back only now; blanked is what is told again.
    held = await two.text(GLOBAL)
    blanked = [key for key in told.deleted if "/meta." not in key and f"{key} " in held]
    assert blanked == [], "nor what the site had told"


async def test_three_links_cut_at_once_come_back_together(two: World) -> None:
    """Why: a backbone fails for everybody; sites that come back together must not starve each other (R45)."""
    for site in SITES:
        await two.toxics.cut(link_name(site))
    await two.stage.apply(two.chain("meanwhile", "milan-c", "paris-c"))
    await silent(two)
    await two.passes("milan-a", "paris-a")
    await two.passes("paris-b", "zurich-a")
    await asyncio.gather(*(two.toxics.heal(link_name(site)) for site in SITES))
    began = time.monotonic()
    await two.stage.phase("meanwhile", "running", timeout_s=30)
    two.measured("all links cut and healed: a chain given meanwhile runs", time.monotonic() - began)
