"""A site obeys the mark on what it holds of its peer, and the word `revoked` in its settings (G9)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.simulation.site.wishes import admitted, ask, explained, record, segment
from tests.simulation.site.world import HollowSite
from tests.support import eventually

from isthmus.contract.chain import WirePeer
from isthmus.contract.families import REMOTE
from isthmus.contract.peering import Delegation
from isthmus.contract.quarantine import Quarantine, mark_key
from isthmus.kv.memory import MemoryStore

NAMES = ("a", "bb", "ccc", "dddd", "eeeee", "ffffff")


@pytest.fixture
async def site() -> AsyncIterator[HollowSite]:
    running = HollowSite(MemoryStore())
    running.start()
    yield running
    await running.stop()


async def far_end(site: HollowSite, wire: str, vni: int, address: str) -> None:
    """What the peer says of the other end of a wire."""
    body = WirePeer(wire=wire, vni=vni, address=address)
    await site.put(f"{REMOTE.key(peer='global')}wires/{wire}", body)


def remotes(site: HollowSite) -> set[str]:
    return {wire.remote_ip for panel in site.panels.values() for wire in panel.panel.wires}


async def test_nothing_new_or_changed_is_taken_and_what_stands_stays(site: HollowSite) -> None:
    """Why: the site's end cut a revoked gateway, and went on doing what it had asked for in its last second. (Mutants:
    no doubt in `_admit`; no MARKED item: the standing chain never says why.)"""
    await ask(site, segment("web"))
    await admitted(site, "web")
    await site.put(mark_key("global"), Quarantine(reason="revoked"))

    async def says_why() -> bool:
        status = await site.status("acme", "web")
        return status is not None and "global is quarantined: revoked" in status.reason

    await eventually(says_why, "the chain says why")
    await ask(site, segment("web", epoch=2))
    await ask(site, segment("new"))

    async def refused() -> bool:
        found = [await explained(site, name) for name in ("web", "new")]
        return all(one is not None and one.constraint == "quarantined" for one in found) and all(
            one is not None and one.decision == "refused" for one in found
        )

    await eventually(refused, "both are refused")
    standing = await record(site, "web")
    assert standing is not None
    assert standing.segment.epoch == 1
    assert await record(site, "new") is None
    await site.store.delete(mark_key("global"))
    await admitted(site, "new")

    async def newer() -> bool:
        now = await record(site, "web")
        return now is not None and now.segment.epoch == 2

    await eventually(newer, "and the change, too")


async def test_a_far_end_of_a_quarantined_peer_moves_no_packets(site: HollowSite) -> None:
    """Why: a gateway that was taken over could send a tenant's packets to its own address. (Mutant: `_far_address`
    without `quarantined`.)"""
    wires = [{"wire": "w-web-l", "vni": 201}, {"wire": "w-web-r", "vni": 202}]
    await ask(site, segment("web", wires=wires))
    await far_end(site, "w-web-l", 201, "10.9.0.1")
    await far_end(site, "w-web-r", 202, "10.9.0.2")

    async def patched() -> bool:
        return {"10.9.0.1", "10.9.0.2"} <= remotes(site)

    await eventually(patched, "both wires are up")

    async def reported() -> bool:
        found = await site.store.snapshot("/isthmus/v1/endpoints/")
        return sum(b"10.9.0." in entry.value for entry in found.entries) == 2

    await eventually(reported, "and reported")
    await site.put(mark_key("global"), Quarantine(reason="revoked"))
    await far_end(site, "w-web-l", 201, "10.66.0.1")
    await ask(site, segment("late"))

    async def later() -> bool:
        said = await explained(site, "late")
        return said is not None and said.decision == "refused"

    await eventually(later, "the site has seen it all")
    for name in ("chaining.h1", "chaining.h2"):  # a new life looks at everything
        await site.kill(name)
        site.start_component(name)
    await eventually(patched, "as before")
    assert "10.66.0.1" not in remotes(site)
    await site.store.delete(mark_key("global"))

    async def moved() -> bool:
        return "10.66.0.1" in remotes(site)

    await eventually(moved, "believed again")


async def test_what_stands_for_a_revoked_peer_ends_at_once(site: HollowSite) -> None:
    """Why: a tier drops what it carries for a peer with `revoked` in the settings, a site refused the new and went on
    with the old. More than the brake's floor: an operator's word is not held. (Mutant: no `_drop` in reconcile.)"""
    for name in NAMES:
        await ask(site, segment(name))
    await admitted(site, *NAMES)
    await site.kill("intake")
    site.delegations = (Delegation("global", revoked=True),)
    site.start_component("intake")

    async def all_gone() -> bool:
        return not any([await record(site, name) is not None for name in NAMES])

    await eventually(all_gone, "nothing of it stands")
    why = await explained(site, NAMES[0])
    assert why is not None
    assert why.constraint == "revoked"


async def test_a_revoked_peer_that_takes_all_back_is_not_held(site: HollowSite) -> None:
    """Why: the brake keeps a peer's slip from emptying a site; this end is the operator's own. (Mutant: no `revoked`
    in `_brake`.)"""
    for name in NAMES:
        await ask(site, segment(name))
    await admitted(site, *NAMES)
    await site.kill("intake")
    for name in NAMES:
        await site.store.delete(f"{REMOTE.key(peer='global')}intents/acme/{name}")
    site.delegations = (Delegation("global", revoked=True),)
    site.start_component("intake")

    async def all_gone() -> bool:
        return not any([await record(site, name) is not None for name in NAMES])

    await eventually(all_gone, "nothing of it stands")
