"""The lab's partner link runs under an agreement both signed at start; its numbers explain themselves at both ends."""

from __future__ import annotations

import asyncio
import json

from click.testing import CliRunner
from tests.chaos.two_tiers.kit import ZURICH, World
from tests.support import eventually

from isthmus.cli.main import cli
from isthmus.contract.summaries import SUMMARIES
from isthmus.deploy.lab.spec import GLOBAL
from isthmus.federation.agreement import load
from isthmus.federation.status import read_status


async def test_both_ends_hold_the_partner_to_what_both_signed(two: World) -> None:
    """Each by its own copy, and only the partner's link: one's own sites need none."""
    files = two.lab.files
    copies = [load(files.path(tier, f"agreement-{ZURICH}.yaml")) for tier in (GLOBAL, ZURICH)]
    assert copies[0] == copies[1]
    assert len(copies[0].signatures) == 2

    async def agreed() -> bool:
        above = {one.peer: one for one in read_status(files.path(GLOBAL, "links.json"))}
        below = read_status(files.path(ZURICH, "links.json"))[0]
        own = [one.agreement for name, one in above.items() if name != ZURICH]
        both = above[ZURICH].connected and below.connected
        return both and above[ZURICH].agreement == below.agreement != "" and set(own) == {""}

    await eventually(agreed, "the partner's link stands under its agreement")


async def test_a_number_says_the_same_of_itself_at_the_site_and_above(two: World) -> None:
    """The real summarizer, the real link: value, bound and reason arrive as they were told."""

    async def told() -> bool:
        seen = {}
        for tier in (ZURICH, GLOBAL):
            answer = (await two.stage.api(tier).get("/v1/sites")).json()
            row = next(one for one in answer["sites"] if one["site"] == ZURICH)
            seen[tier] = (row["summary"] or {}).get("told")
        return bool(seen[ZURICH]) and seen[ZURICH] == seen[GLOBAL]

    await eventually(told, "both say the same")
    socket = two.lab.files.api_socket(GLOBAL)
    arguments = ["federation", "explain-summary", "--json", "--api", f"unix:{socket}"]
    result = await asyncio.to_thread(CliRunner().invoke, cli, arguments)
    assert result.exit_code == 0, result.output
    mine = [one for one in json.loads(result.stdout)["summaries"] if one["site"] == ZURICH]
    assert {one["field"] for one in mine} == {one.field for one in SUMMARIES}
    assert {one["state"] for one in mine} == {"told"}
