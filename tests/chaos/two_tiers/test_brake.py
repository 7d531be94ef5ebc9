"""The tier above loses its mind behind a cut; its sites go on, say so, and wait for their own operators (attack 19)."""

from __future__ import annotations

import time
from typing import Any

from tests.chaos.two_tiers.kit import MILAN, PARIS, TENANT, WEB, World
from tests.support import eventually

from isthmus.deploy.lab.spec import GLOBAL

LETTERS = "cdef"
NAMES = [f"shop-{letter}" for letter in LETTERS]


async def brake(two: World, site: str) -> dict[str, Any]:
    """What a site says about its brake for the tier above."""
    answer = await two.stage.api(site).get("/v1/brakes")
    rows: list[dict[str, Any]] = answer.json()["brakes"]
    return next(row for row in rows if row["peer"] == GLOBAL)


async def holds(two: World, site: str) -> None:
    """Wait until the site holds all four deletions."""

    async def all_four() -> bool:
        held: list[str] = (await brake(two, site))["chains_held"]
        return held == [f"{TENANT}/{name}" for name in NAMES]

    await eventually(all_four, f"{site} holds the deletions", timeout_s=30)


async def confirm(two: World, site: str) -> None:
    """The operator of the site gives the word; then nothing of the four is left there."""
    answer = await two.stage.api(site).put(f"/v1/brakes/{GLOBAL}", json={"for_s": 60})
    assert (answer.json()["result"], answer.json()["held"]) == ("confirmed", 4)
    began = time.monotonic()

    async def gone() -> bool:
        return not any("/shop-" in key for key in await two.keys(site, "/isthmus/v1/specs/"))

    await eventually(gone, f"{site} has let go", timeout_s=30)
    two.measured(f"confirmed deletions admitted by {site}", time.monotonic() - began)
    assert (await two.stage.api(site).delete(f"/v1/brakes/{GLOBAL}")).json()["result"] == "held"


async def test_what_a_tier_deletes_at_once_waits_for_the_sites_operators(two: World) -> None:
    """Why: with the real users of a real store: the API may write the word and the event, and intake may read it;
    packets go on until the site's own operator has spoken."""
    for letter in LETTERS:
        await two.run(two.chain(f"shop-{letter}", f"milan-{letter}", f"paris-{letter}"))
    await two.away(f"{GLOBAL}.gateway")
    for name in NAMES:
        await two.remove(name)
    await two.lab.supervisor.restart(f"{GLOBAL}.gateway")
    for site in (MILAN, PARIS):
        await holds(two, site)
    await two.passes("milan-c", "paris-c")
    assert (await two.stage.api(GLOBAL).get("/v1/brakes")).status_code == 404

    async def told_above() -> bool:
        rows = (await two.stage.api(GLOBAL).get("/v1/sites")).json()["sites"]
        reasons = {row["site"]: row["reason"] for row in rows}
        return all("brake: 4 deletions held" in reasons[site] for site in (MILAN, PARIS))

    await eventually(told_above, "the tier's operator is told whom to call", timeout_s=30)
    await confirm(two, PARIS)
    await holds(two, MILAN)
    await confirm(two, MILAN)
    assert (await two.stage.chain(WEB))["row"]["phase"] == "running"
    events = (await two.stage.api(MILAN).get("/v1/events", params={"limit": 500})).json()["events"]
    about = [event["kind"] for event in events if event["subject"] == GLOBAL]
    told = [kind for kind in about if not kind.startswith("link-")]
    assert told == ["held", "confirmed", "confirmed-no-more"]
