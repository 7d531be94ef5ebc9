"""The brake: a site does not empty itself because somebody above says so, and lets go when its operator does."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
from tests.simulation.site.wishes import (
    INTENTS,
    admitted,
    ask,
    attachment,
    explained,
    record,
    segment,
)
from tests.simulation.site.world import STAMP, HollowSite
from tests.support import eventually

from isthmus.contract import seal, unseal
from isthmus.contract.chain import Confirmation, Segment, SegmentIntent, WirePeer
from isthmus.contract.families import CONFIRMATIONS, EVENTS, EXPLAIN, SITE_SUMMARY
from isthmus.contract.family import Tier
from isthmus.contract.instance import OperationalEvent, SiteSummary
from isthmus.contract.roles import Access, role
from isthmus.kv.memory import MemoryStore
from isthmus.kv.port import Delete, Operation, Put, Txn
from isthmus.microcontroller.janitor import Janitor
from isthmus.vswitch import Panel

NAMES = [f"c{index:02d}" for index in range(10)]
WIRES = "/isthmus/v1/remote/global/wires/"
CIRCUITS = ("h1-a", "h1-b", "h2-a", "h2-b")
WORD = CONFIRMATIONS.key(peer="global")


@pytest.fixture
async def site() -> AsyncIterator[HollowSite]:
    running = HollowSite(MemoryStore())
    running.start()
    yield running
    await running.stop()


async def held(site: HollowSite, *names: str) -> None:
    """Wait until intake says of each that it holds its deletion."""

    async def all_held() -> bool:
        found = [await explained(site, name) for name in names]
        return all(why is not None and why.decision == "held" for why in found)

    await eventually(all_held, f"{', '.join(names)} are held")


async def all_deleted(site: HollowSite) -> None:
    """The tier above lost its mind: ten chains, and then none."""
    for name in NAMES:
        await ask(site, segment(name))
    await admitted(site, *NAMES)
    await delete(site, *NAMES)
    await held(site, *NAMES)


async def delete(site: HollowSite, *names: str) -> None:
    """The peer takes its wishes back, in one breath."""
    await site.store.txn(Txn((), tuple(Delete(f"{INTENTS}acme/{name}") for name in names)))


async def confirm(site: HollowSite, *, for_s: int = 300, ago_s: float = 0.0) -> None:
    """What the API writes for an operator; ``ago_s`` negative: a clock that is ahead."""
    word = seal(Confirmation(for_s=for_s, confirmed_by="op"), STAMP, as_of=time.time() - ago_s)
    await site.store.put(WORD, word)


async def gone(site: HollowSite, *names: str) -> None:
    """Wait until none of ``names`` is carried or explained any more."""

    async def all_gone() -> bool:
        left = [await record(site, name) or await explained(site, name) for name in names]
        return not any(left)

    await eventually(all_gone, f"{', '.join(names)} are gone", timeout_s=4.0)


async def events(site: HollowSite, kind: str) -> list[OperationalEvent]:
    """What intake told of ``kind``."""
    entries = (await site.store.snapshot(EVENTS.prefix(component="intake"))).entries
    found = [unseal(entry.value, OperationalEvent).body for entry in entries]
    return [event for event in found if event.kind == kind]


async def summary_says(site: HollowSite, count: int) -> None:
    """Wait until the summary, which the tier above reads, tells ``count`` held chains."""

    async def says() -> bool:
        entry = await site.store.get(SITE_SUMMARY.key())
        return entry is not None and unseal(entry.value, SiteSummary).body.chains_held == count

    await eventually(says, f"the summary tells {count}")


async def test_a_peer_that_deletes_everything_at_once_is_held(site: HollowSite) -> None:
    """Why: a broken tier above must not empty a site that works (attack 19)."""
    await all_deleted(site)
    problems = site.runners["intake"].health.problems
    assert "10 of its 10" in problems["acme/c00"]
    assert all([await record(site, name) is not None for name in NAMES])
    for name in NAMES[:8]:
        await ask(site, segment(name))

    async def two_gone() -> bool:
        return [name for name in NAMES if await record(site, name) is None] == NAMES[8:]

    await eventually(two_gone, "two deletions are a normal day")


async def test_what_is_held_is_told_where_an_operator_looks(site: HollowSite) -> None:
    """Why: a brake that nobody sees is a fault that nobody finds: explanation, status, summary, one event for all."""
    await all_deleted(site)
    why = await explained(site, "c03")
    assert why is not None
    assert (why.constraint, why.source) == ("brake", "global")
    assert not any(letter.isdigit() for letter in why.reason), "a tenant reads it (attack 21)"
    await summary_says(site, 10)

    async def status_says() -> bool:
        status = await site.status("acme", "c03")
        return status is not None and status.reason.startswith("deletion held: ")

    await eventually(status_says, "the status of a held chain says so")
    (told,) = await events(site, "held")
    assert (told.subject, told.severity) == ("global", "warning")
    assert "isthmus brake confirm global" in told.message


async def test_the_operators_word_lets_go_at_once(site: HollowSite) -> None:
    """Why: who has confirmed looks at the result; five seconds of nothing look like a command that does not work."""
    await all_deleted(site)
    await confirm(site)
    await gone(site, *NAMES)
    assert {event.message for event in await events(site, "withdrawn")} == {
        "by global, confirmed at the site"
    }
    await summary_says(site, 0)


async def test_a_chain_that_is_wished_again_is_held_no_more(site: HollowSite) -> None:
    """Why: an explanation that outlives its reason sends people looking; and the next time is told again."""
    await all_deleted(site)
    for name in NAMES:
        await ask(site, segment(name))

    async def accepted() -> bool:
        found = [await explained(site, name) for name in NAMES]
        return all(why is not None and why.decision == "accepted" for why in found)

    await eventually(accepted, "all are accepted again")
    await summary_says(site, 0)
    assert len(await events(site, "held")) == 1
    await delete(site, *NAMES)
    await held(site, *NAMES)
    assert len(await events(site, "held")) == 2


async def test_a_restart_of_intake_tells_the_same_episode_no_second_time(site: HollowSite) -> None:
    """Why: an alarm that repeats itself is switched off; and the word must work for who did not see it begin."""
    await all_deleted(site)
    await site.kill("intake")
    await site.store.delete(EXPLAIN.key(component="intake", tenant="acme", chain="c00"))
    site.start_component("intake")
    await held(site, *NAMES)
    assert len(await events(site, "held")) == 1
    await confirm(site)
    await gone(site, *NAMES)


@pytest.mark.parametrize(
    ("for_s", "ago_s"), [(300, 301.0), (3600, 7200.0), (300, -3600.0)],
    ids=["over", "long-over", "from-the-future"],
)  # fmt: skip
async def test_a_word_that_does_not_count_now_releases_nothing(
    site: HollowSite, for_s: int, ago_s: float
) -> None:
    """Why: yesterday's word is not today's, and one that is dated ahead would have no end."""
    await confirm(site, for_s=for_s, ago_s=ago_s)
    await all_deleted(site)
    await confirm(site, for_s=for_s, ago_s=ago_s)
    await ask(site, segment("later"))
    await admitted(site, "later")
    assert all([await record(site, name) is not None for name in NAMES])


@pytest.mark.parametrize(
    "body", [{"for_s": 86_400}, {"for_s": 0}, {"for_s": "for ever"}, {}], ids=str
)
async def test_a_word_without_bounds_is_no_word(site: HollowSite, body: dict[str, object]) -> None:
    """Why: an hour is the contract's bound, whoever writes the key; what has no right form counts as absent."""
    await all_deleted(site)
    word = seal(Confirmation(), STAMP, as_of=time.time())
    old = b'"for_s":300'
    assert old in word
    text = b'"for_s":' + str(body.get("for_s")).encode() if body else b'"nothing":1'
    value = word.replace(old, text) if body else word.replace(b"Confirmation/1", b"Wish/1")
    await site.store.put(WORD, value)
    await ask(site, segment("later"))
    await admitted(site, "later")
    assert all([await record(site, name) is not None for name in NAMES])


async def test_the_word_for_one_peer_is_none_for_another(site: HollowSite) -> None:
    """Why: the operator knows one peer's reason, not all of them."""
    other = CONFIRMATIONS.key(peer="partner")
    await site.store.put(other, seal(Confirmation(), STAMP, as_of=time.time()))
    await all_deleted(site)
    assert all([await record(site, name) is not None for name in NAMES])


async def test_taking_the_word_back_holds_again(site: HollowSite) -> None:
    """Why: the second thought must count, too."""
    await confirm(site)
    for name in NAMES:
        await ask(site, segment(name))
    await admitted(site, *NAMES)
    await site.store.delete(WORD)
    await ask(site, segment("later"))
    await admitted(site, "later")
    await delete(site, *NAMES)
    await held(site, *NAMES)


def test_nobody_but_the_api_may_give_the_word() -> None:
    """Why: attack 19 comes by the link; the link's user must not be able to confirm its own deletions."""
    for component in ("federation", "intake", "placer", "summarizer"):
        grants = role(Tier.SITE, component).grants
        writes = [grant.target for grant in grants if grant.access is not Access.READ]
        assert not any(WORD.startswith(target) for target in writes), component
    assert any(
        WORD.startswith(grant.target) and grant.access is Access.READ_WRITE
        for grant in role(Tier.SITE, "api").grants
    )


async def test_the_janitor_clears_words_that_are_over(site: HollowSite) -> None:
    """Why: a key that means nothing any more makes people wonder; one that counts must stay."""
    now = time.time()
    over = CONFIRMATIONS.key(peer="partner")
    await site.store.put(over, seal(Confirmation(for_s=1), STAMP, as_of=now - 10))
    await confirm(site)
    site.start_one(Janitor(period_s=0.05))

    async def cleared() -> bool:
        return await site.store.get(over) is None

    await eventually(cleared, "the old word is gone")
    assert await site.store.get(WORD) is not None


async def replace_all(site: HollowSite, *successors: Segment) -> None:
    """Four chains, one per circuit of the site; then, as behind a cut, others in their place at once."""
    for circuit in CIRCUITS:
        await ask(site, segment(f"old-{circuit}", left=attachment(circuit)))
    await admitted(site, *(f"old-{circuit}" for circuit in CIRCUITS))
    operations: list[Operation] = [Delete(f"{INTENTS}acme/old-{name}") for name in CIRCUITS]
    for wanted in successors:
        value = seal(SegmentIntent(segment=wanted), STAMP, as_of=0.0)
        operations.append(Put(f"{INTENTS}acme/{wanted.chain}", value))
    await site.store.txn(Txn((), tuple(operations)))
    await admitted(site, *(wanted.chain for wanted in successors))


async def test_customers_that_changed_behind_a_cut_do_not_trip_the_brake(site: HollowSite) -> None:
    """Why: a link that comes back brings all of it at once. Held back, the old chains would keep the circuits, the new
    ones wait for them, and nobody would ever have confirmed (found by killing the tier's etcd under churn)."""
    await replace_all(site, *(segment(f"new-{name}", left=attachment(name)) for name in CIRCUITS))


async def test_a_wish_for_something_else_releases_no_brake(site: HollowSite) -> None:
    """Why: only a successor on the same circuit tells that a deletion is no loss."""
    await replace_all(site, segment("elsewhere"))
    await held(site, *(f"old-{circuit}" for circuit in CIRCUITS))
    assert await record(site, "old-h1-a") is not None


# ---- packets


def wires(site: HollowSite) -> dict[str, str]:
    """Every wire to another site that is patched, and where it leads."""
    return {
        wire.wire_id: wire.remote_ip for panel in site.panels.values() for wire in panel.panel.wires
    }


async def tell_far_ends(site: HollowSite, name: str, address: str = "10.9.9.9") -> None:
    """The tier above says where the wires of ``name`` lead."""
    for number, end in enumerate("lr"):
        wire = f"w-{name}-{end}"
        peer = WirePeer(wire=wire, vni=2000 + number, address=address)
        await site.put(f"{WIRES}{wire}", peer)


def wired(name: str, **more: object) -> Segment:
    """A segment between two wires with numbers of their own."""
    refs = [{"wire": f"w-{name}-{end}", "vni": 2000 + n} for n, end in enumerate("lr")]
    return segment(name, wires=refs, **more)


async def lead(site: HollowSite, address: str, *names: str) -> None:
    """Wait until the wires of ``names`` lead to ``address``."""
    wanted = {f"w-{name}-{end}": address for name in names for end in "lr"}
    await eventually(lambda: wires(site) == wanted, f"the wires lead to {address}")


async def test_a_held_chain_keeps_its_wires(site: HollowSite) -> None:
    """Why: found in the lab: the tier takes the far ends of the wires back together with the segments. Held without
    wires, every chain between sites was dead, and the brake was a word."""
    await ask(site, wired("long"))
    await tell_far_ends(site, "long")
    await lead(site, "10.9.9.9", "long")
    for name in NAMES:
        await ask(site, segment(name))
    await admitted(site, *NAMES)
    await delete(site, "long", *NAMES)
    for end in "lr":
        await site.store.delete(f"{WIRES}w-long-{end}")
    await held(site, "long", *NAMES)
    await site.kill("chaining.h1")
    await site.kill("chaining.h2")
    for panel in site.panels.values():
        panel.panel = Panel()
    site.start_component("chaining.h1")
    site.start_component("chaining.h2")
    await lead(site, "10.9.9.9", "long")
    await confirm(site)
    await gone(site, "long", *NAMES)
    await eventually(lambda: not wires(site), "confirmed, the wires go, too")


async def test_a_far_end_that_moves_is_followed_and_one_that_is_lost_is_kept(
    site: HollowSite,
) -> None:
    """Why: what is remembered must never outweigh what is said."""
    await ask(site, wired("long"))
    await tell_far_ends(site, "long")
    await lead(site, "10.9.9.9", "long")
    await tell_far_ends(site, "long", "10.8.8.8")
    await lead(site, "10.8.8.8", "long")
    for end in "lr":
        await site.store.delete(f"{WIRES}w-long-{end}")
    await ask(site, segment("later"))
    await admitted(site, "later")
    await lead(site, "10.8.8.8", "long")


async def test_a_wire_with_another_number_does_not_lead_where_the_old_one_did(
    site: HollowSite,
) -> None:
    """Why: the number says whose packets they are; to send under a new one to an old address would mix two tenants."""
    await ask(site, wired("long"))
    await tell_far_ends(site, "long")
    await lead(site, "10.9.9.9", "long")
    for end in "lr":
        await site.store.delete(f"{WIRES}w-long-{end}")
    refs = [{"wire": f"w-long-{end}", "vni": 3000 + number} for number, end in enumerate("lr")]
    await ask(site, segment("long", wires=refs, epoch=2))
    await eventually(lambda: not wires(site), "a wire with another number waits for its far end")
