"""A peer that leaves the settings by a slip: what it runs at a site must not end with it (attack 19)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.simulation.site.test_brake import NAMES, confirm, gone, held
from tests.simulation.site.wishes import admitted, ask, explained, record, segment
from tests.simulation.site.world import HollowSite
from tests.support import eventually

from isthmus.contract.peering import Delegation
from isthmus.kv.memory import MemoryStore


@pytest.fixture
async def site() -> AsyncIterator[HollowSite]:
    running = HollowSite(MemoryStore())
    running.start()
    for name in NAMES:
        await ask(running, segment(name))
    await admitted(running, *NAMES)
    yield running
    await running.stop()


async def without_the_peer(site: HollowSite) -> None:
    """The next start of intake reads settings without it."""
    await site.kill("intake")
    site.delegations = (Delegation("partner"),)
    site.start_component("intake")


async def test_a_peer_that_is_listed_no_more_keeps_what_runs(site: HollowSite) -> None:
    """Why: a line that went missing from `peers` deleted all of a peer's chains at once, past the brake. (Mutant: no
    delegation, no brake.)"""
    await without_the_peer(site)
    await held(site, *NAMES)
    assert all([await record(site, name) is not None for name in NAMES])
    why = await explained(site, NAMES[0])
    assert why is not None
    assert why.constraint == "brake"
    assert "may not ask for anything here any more" in why.reason


async def test_the_operators_word_ends_it(site: HollowSite) -> None:
    """Why: leaving is a decision; then all of it goes."""
    await without_the_peer(site)
    await held(site, *NAMES)
    await confirm(site)
    await gone(site, *NAMES)


async def test_listed_again_it_goes_on_as_if_nothing_had_been(site: HollowSite) -> None:
    """Why: the slip is mended where it was made; nothing stays "held"."""
    await without_the_peer(site)
    await held(site, *NAMES)
    await site.kill("intake")
    site.delegations = (Delegation("global"),)
    site.start_component("intake")

    await accepted(site)
    assert all([await record(site, name) is not None for name in NAMES])


async def accepted(site: HollowSite) -> None:
    """Wait until intake says of each that it is accepted."""

    async def all_accepted() -> bool:
        found = [await explained(site, name) for name in NAMES]
        return all(why is not None and why.decision == "accepted" for why in found)

    await eventually(all_accepted, "accepted again")
