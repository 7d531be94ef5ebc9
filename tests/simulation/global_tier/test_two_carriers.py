"""Two carriers side by side: each tier is a site to the other, and neither learns what is behind it (R44, R61)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.simulation.global_tier.tiers import HollowTier, chain, values_of
from tests.simulation.site.wishes import segment
from tests.support import eventually

from isthmus.contract import unseal
from isthmus.contract.chain import ChainSpec, Confirmation, Segment, SegmentIntent
from isthmus.contract.families import (
    G_CONFIRMATIONS,
    G_EXPLAIN,
    G_PLACEMENTS,
    G_REQUESTS,
    G_SEGMENTS,
)
from isthmus.contract.ids import tier_mark
from isthmus.contract.peering import Delegation
from isthmus.contract.world import Placement
from isthmus.global_tier.numbers import Numbers

AS_SITE = {"relation": "beside", "owner": "carrier-b"}


class Carriers:
    """A with milan, B with tokyo and osaka; each registers the other as a site of its own, under another name than the
    one under which the other asks."""

    def __init__(self) -> None:
        self.a = HollowTier("carrier-a", Numbers(1000, 1999), (Delegation("carrier-b"),))
        self.b = HollowTier(
            "carrier-b", Numbers(2000, 2999), (Delegation("carrier-a", ("acme", "good")),)
        )

    async def start(self) -> None:
        await self.a.add_site("milan")
        await self.b.add_site("tokyo")
        await self.b.add_site("osaka")
        attachments = ("tokyo-a", "tokyo-b", "osaka-a", "osaka-b")
        await self.a.add_tier(self.b, attachments, as_name="b-sites", **AS_SITE)
        await self.b.add_tier(
            self.a, ("milan-a", "milan-b"), as_name="a-sites", relation="beside", owner="carrier-a"
        )
        self.a.start()
        self.b.start()
        await self.a.heard("milan")
        await self.a.heard("b-sites", lambda told: told.sites == 2)
        await self.b.heard("a-sites", lambda told: told.sites == 1)

    async def stop(self) -> None:
        await self.a.stop()
        await self.b.stop()

    async def at_b(self, chain: str = "web", tenant: str = "acme") -> Placement | None:
        """Where B placed a segment."""
        entry = await self.b.store.get(G_PLACEMENTS.key(tenant=tenant, chain=chain))
        return None if entry is None else unseal(entry.value, Placement).body


@pytest.fixture
async def carriers() -> AsyncIterator[Carriers]:
    running = Carriers()
    await running.start()
    yield running
    await running.stop()


def through_b(name: str = "web", circuits: str = "ab", **more: object) -> ChainSpec:
    """A's chain from milan to milan; its NAT must be at carrier B."""
    document: dict[str, object] = {
        "functions": [
            {"name": "fw", "type": "firewall", "config": {"default_policy": "accept"}},
            {"name": "nat", "type": "nat", "config": {"address": "203.0.113.10"}},
            {"name": "end", "type": "firewall", "config": {"default_policy": "accept"}},
        ],
        "constraints": {"anti_affinity": [["fw", "nat"], ["nat", "end"]]},
        **more,
    }
    ends = [("milan", f"milan-{circuit}") for circuit in circuits]
    return chain(name, ends[0], ends[1], **document)


async def test_the_middle_function_of_a_chain_runs_at_the_other_carrier(carriers: Carriers) -> None:
    """Why: the last half of east-west peering: one carrier's chain uses the other's site, over the same protocol."""
    await carriers.a.apply(through_b())
    status = await carriers.a.until("web", "running")
    assert status.path == ("milan/fw", "b-sites/nat", "milan/end")
    placed = await carriers.at_b()
    assert placed is not None
    assert (placed.source, [one.function for one in placed.functions]) == ("carrier-a", ["nat"])
    at = carriers.b.sites[placed.functions[0].site].panels["h1"].panel
    home = carriers.a.sites["milan"].panels["h1"].panel
    ours = {wire.vni: (wire.local_ip, wire.remote_ip) for wire in home.wires}
    theirs = {wire.vni: (wire.remote_ip, wire.local_ip) for wire in at.wires}
    assert ours == theirs
    assert sorted(ours) == [1000, 1001], "A's numbers, for they are A's wires"


async def test_b_sees_its_segment_and_a_sees_no_site_of_b(carriers: Carriers) -> None:
    """Why: what a partner must not learn, it must not be able to (attack 21): searched in every stored byte."""
    await carriers.a.apply(through_b())
    await carriers.a.until("web", "running")
    at_a = await values_of(carriers.a.store, "/isthmus/v1/remote/b-sites/")
    shown = [
        word for word in (b"tokyo", b"osaka") for value in at_a.values() if word in _scrubbed(value)
    ]
    assert at_a
    assert shown == []
    everything_at_b = await values_of(carriers.b.store)
    for hidden in (b'"fw"', b'"end"', b'"milan"'):
        found = [key for key, value in everything_at_b.items() if hidden in value]
        assert [key for key in found if "/web" in key or "/wires/" in key] == []


def _scrubbed(value: bytes) -> bytes:
    """Attachments are the customers' names, agreed upon with the peer: they are told."""
    for name in (b"tokyo-a", b"tokyo-b", b"osaka-a", b"osaka-b"):
        value = value.replace(name, b"")
    return value


async def test_both_ask_each_other_at_the_same_time(carriers: Carriers) -> None:
    """Why: peers are equals: each is the other's site, over two links that share no key."""
    await carriers.a.apply(chain("there", ("milan", "milan-a"), ("b-sites", "tokyo-b")))
    await carriers.b.apply(chain("back", ("tokyo", "tokyo-a"), ("a-sites", "milan-b")))
    await carriers.a.until("there", "running")
    await carriers.b.until("back", "running")
    assert (await carriers.b.until("there", "running")).source == "carrier-a"
    assert (await carriers.a.until("back", "running")).source == "carrier-b"


async def test_what_the_other_tier_says_about_a_circuit_reaches_our_user(
    carriers: Carriers,
) -> None:
    """Why: a registration is old, the other tier knows better; its reason must not be lost on the way."""
    await carriers.b.register_again("a-sites", ("milan-c",))
    await carriers.b.apply(chain("back", ("tokyo", "tokyo-a"), ("a-sites", "milan-c")))
    refused = await carriers.b.until("back", "refused")
    assert "milan-c" in refused.reason


async def test_a_revoked_peer_is_told_degraded_with_the_reason(carriers: Carriers) -> None:
    """Why: quarantine must be seen at once by who is hit, with words; and what is revoked runs no more (G9)."""
    await carriers.a.apply(through_b())
    await carriers.a.until("web", "running")
    await carriers.b.kill()
    carriers.b.delegations = (Delegation("carrier-a", revoked=True),)
    carriers.b.start()
    status = await carriers.a.until("web", "degraded")
    assert "revoked" in status.reason

    async def gone() -> bool:
        return (
            await carriers.b.keys("/segments/", "/outbox/tokyo/intents", "/outbox/osaka/intents")
            == []
        )

    await eventually(gone, "B carries nothing of A any more")
    await carriers.b.kill()
    carriers.b.delegations = (Delegation("carrier-a", ("acme",)),)
    carriers.b.start()
    await carriers.a.until("web", "running")


async def test_a_tenant_that_was_not_agreed_upon_is_refused(carriers: Carriers) -> None:
    """Why: deny by default (attack 8): the link lets an intent pass, the tier decides."""
    spec = through_b().model_copy(update={"tenant": "evil"})
    await carriers.a.apply(spec)

    async def told() -> bool:
        entry = await carriers.b.store.get(
            G_EXPLAIN.key(component="intake", tenant="evil", chain="web")
        )
        return entry is not None and b"may not ask for tenant" in entry.value

    await eventually(told, "B says why")
    assert await carriers.at_b(tenant="evil") is None


async def test_the_brake_holds_when_a_peer_deletes_everything(carriers: Carriers) -> None:
    """Why: a peer whose store was lost wants all of it deleted in one breath (attack 19); a tier holds it as a site."""
    names = [f"c{number}" for number in range(6)]
    await ask_b(carriers, *(wish(name) for name in names))

    async def carried() -> bool:
        return len(await carriers.b.keys("/segments/acme/")) == 6

    await eventually(carried, "B carries six")
    for name in names:
        await carriers.b.store.delete(f"{ASKED}{name}")

    async def held() -> bool:
        entries = await values_of(carriers.b.store, "/isthmus/v1/explain/intake/acme/")
        return any(b'"held"' in value for value in entries.values())

    await eventually(held, "B holds")
    assert len(await carriers.b.keys("/segments/acme/")) >= 3
    await carriers.b.put(G_CONFIRMATIONS.key(peer="carrier-a"), Confirmation())

    async def let_go() -> bool:
        return await carriers.b.keys("/segments/acme/") == []

    await eventually(let_go, "B lets go on its operator's word")


async def test_a_peer_that_is_listed_no_more_keeps_what_runs(carriers: Carriers) -> None:
    """Why: a line that went missing from a tier's `peers` dropped all segments of that peer, past the brake. `revoked`
    is the word that ends them at once; so is an operator's."""
    names = [f"c{number}" for number in range(6)]
    await ask_b(carriers, *(wish(name) for name in names))

    async def carried() -> bool:
        return len(await carriers.b.keys("/segments/acme/")) == 6

    await eventually(carried, "B carries six")
    await carriers.b.kill()
    carriers.b.delegations = (Delegation("somebody-else"),)
    carriers.b.start()

    async def held() -> bool:
        entries = await values_of(carriers.b.store, "/isthmus/v1/explain/intake/acme/")
        return sum(b'"held"' in value for value in entries.values()) == 6

    await eventually(held, "B holds all of it")
    assert await carried()
    await carriers.b.put(G_CONFIRMATIONS.key(peer="carrier-a"), Confirmation())

    async def let_go() -> bool:
        return await carriers.b.keys("/segments/acme/") == []

    await eventually(let_go, "B lets go on its operator's word")


ASKED = "/isthmus/v1/remote/carrier-a/intents/acme/"


def wish(name: str, **more: object) -> Segment:
    """What a peer may ask, from its wire to its wire."""
    number = int(name[1:])
    wires = [
        {"wire": f"w-{name}-{end}", "vni": 1500 + 2 * number + side}
        for side, end in enumerate("lr")
    ]
    return segment(name, wires=wires, **more)


async def ask_b(carriers: Carriers, *segments: Segment) -> None:
    """As A's gateway would leave it; A itself would take back what it did not place."""
    carriers.a.cut("b-sites")
    for one in segments:
        await carriers.b.put(f"{ASKED}{one.chain}", SegmentIntent(segment=one))


async def _only_a_is_left(carriers: Carriers) -> None:
    """B's own sites are not heard of any more."""
    for site in carriers.b.sites.values():
        await site.kill("summarizer")
    await carriers.a.heard("b-sites", lambda told: told.sites_unknown == 2)


async def test_no_segment_of_a_peer_ever_goes_to_a_peer(carriers: Carriers) -> None:
    """Why: a circle of tiers would pass a segment round for ever. B's own sites are full, A's are not: B says no."""
    for site in ("tokyo", "osaka"):
        await carriers.b.apply(_full(f"own-{site}", (site, f"{site}-a"), (site, f"{site}-b"), site))
        await carriers.b.until(f"own-{site}", "running")
    needs = {"cpu_milli": 900, "memory_mib": 16}
    big = [{"name": "fw", "type": "firewall", "config": {"default_policy": "accept"},
            "resources": needs}]  # fmt: skip
    await carriers.b.apply(_full("probe", ("tokyo", "tokyo-a"), ("osaka", "osaka-b"), "", big))
    await eventually(lambda: carriers.at_b("probe"), "B's own chain is placed")
    probe = await carriers.at_b("probe")
    assert probe is not None
    assert {one.site for one in probe.functions} == {"a-sites"}, "its own chains may go there"
    await carriers.b.delete("probe")

    async def free_again() -> bool:
        return await carriers.b.keys("/probe") == [] and await carriers.a.keys("/probe") == []

    await eventually(free_again, "what the probe held is free")
    await ask_b(carriers, wish("c1", functions=big))

    async def told() -> bool:
        key = "/isthmus/v1/summary/peers/carrier-a/chains/acme/c1"
        entry = await carriers.b.store.get(key)
        return entry is not None and b"no place at carrier-b" in entry.value

    await eventually(told, "B refuses")
    assert await carriers.b.keys("/outbox/a-sites/intents/acme/c1") == []


def _full(
    name: str,
    ingress: tuple[str, str],
    egress: tuple[str, str],
    site: str,
    functions: object = None,
) -> ChainSpec:
    """A chain that takes most of a site."""
    needs = {"cpu_milli": 600, "memory_mib": 16}
    usual = [{"name": "fw", "type": "firewall", "config": {"default_policy": "accept"},
              "resources": needs}]  # fmt: skip
    limits = {"constraints": {"sites": [site]}} if site else {}
    return chain(name, ingress, egress, functions=functions or usual, **limits)


async def test_a_segment_that_comes_home_is_refused_by_its_mark(carriers: Carriers) -> None:
    """Why: whatever was registered wrongly, the mark of a tier on a segment ends the circle there."""
    marked = wish("c1").model_copy(update={"trail": (tier_mark("carrier-b.example", "acme"),)})
    await ask_b(carriers, marked)

    async def told() -> bool:
        entry = await carriers.b.store.get(
            G_EXPLAIN.key(component="intake", tenant="acme", chain="c1")
        )
        return entry is not None and b"loop" in entry.value

    await eventually(told, "B knows its own mark")
    assert await carriers.b.store.get(G_SEGMENTS.key(tenant="acme", chain="c1")) is None


async def test_a_misregistered_peer_makes_no_circle(carriers: Carriers) -> None:
    """Why: an operator may register a peer as a site below. Then A's own mark comes home and ends it."""
    await carriers.b.register_again("a-sites", ("milan-a", "milan-b"), relation="below")
    await _only_a_is_left(carriers)
    await carriers.a.apply(through_b())
    status = await carriers.a.until("web", "refused")
    assert "refused below" in status.reason
    assert await carriers.b.keys("/outbox/a-sites/intents/acme/web"), "B did pass it on"
    assert await carriers.a.keys("/segments/") == [], "and A did not take it"


async def test_a_peer_under_the_name_of_a_site_is_refused(carriers: Carriers) -> None:
    """Why: both would be copied to one place, and each copy would sweep the other away."""
    await carriers.b.register_again("carrier-a", ("x",))
    await carriers.a.apply(through_b())
    refused = await carriers.a.until("web", "refused")
    assert "another name" in refused.reason


async def test_deleting_at_a_leaves_nothing_at_b(carriers: Carriers) -> None:
    """Why: a partner pays for what is left behind."""
    await carriers.a.apply(through_b())
    await carriers.a.until("web", "running")
    await carriers.a.store.delete(G_REQUESTS.key(tenant="acme", chain="web"))

    async def clean() -> bool:
        stores = [carriers.a.store, carriers.b.store]
        stores += [site.store for tier in (carriers.a, carriers.b) for site in tier.sites.values()]
        return not [
            k for store in stores for k in await values_of(store) if "/web" in k or "/w-" in k
        ]

    await eventually(clean, "no key of the chain is left at either carrier", timeout_s=40)
