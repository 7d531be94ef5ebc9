"""Which gateway of a tier has the link of a peer, as the tier's store tells it: true, or not told at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from isthmus.contract.envelope import Stamp
from isthmus.contract.scopes import import_root
from isthmus.federation.destination import HOLDER, SESSION, PeerDestination
from isthmus.federation.holders import Held, Holders
from isthmus.federation.limits import LinkLimits
from isthmus.federation.seats import Seat
from isthmus.kv.errors import Unavailable
from isthmus.kv.memory import MemoryLease, MemoryStore

STAMP = Stamp(origin="hub", incarnation="1")
KEY = import_root("paris") + HOLDER


def gateway(store: MemoryStore, name: str) -> Holders:
    """One that listens."""
    made = Holders(store, f"life-of-{name}", stamp=lambda: STAMP, utc_s=lambda: 1.0)
    made.gateway = name
    return made


async def takes_over(store: MemoryStore, session: str) -> Seat:
    """A link of paris opened with that session; the seat of its gateway."""
    destination = PeerDestination(
        store, "paris", session=session, stamp=STAMP, limits=LinkLimits(), utc_s=lambda: 1.0
    )
    await destination.open()
    seat = Seat()
    seat.begin(None, object(), session)  # type: ignore[arg-type]
    return seat


async def test_the_other_gateway_reads_who_has_the_link_and_we_read_nothing_of_ourselves() -> None:
    """Why: "elsewhere" must name the neighbour, never ourselves."""
    store = MemoryStore()
    one, other = gateway(store, "one"), gateway(store, "other")
    assert await other.look("paris") == Held()
    seat = await takes_over(store, "s1")
    await one.share("paris", seat, await one.lease_id())
    assert await other.look("paris") == Held("one", "s1")
    assert await one.look("paris") == Held("", "s1")
    seat.link = None
    await one.share("paris", seat, await one.lease_id())
    assert await other.look("paris") == Held("", "s1")
    assert seat.told == 0


async def test_a_word_that_comes_late_does_not_name_the_gateway_of_before() -> None:
    """Why: the site moved while the first gateway was slow; both what it tells and what it takes back are void then.
    (Mutants: tell, take back whatever session is there.)"""
    store = MemoryStore()
    one, other = gateway(store, "one"), gateway(store, "other")
    at_one = await takes_over(store, "s1")
    at_other = await takes_over(store, "s2")
    await other.share("paris", at_other, await other.lease_id())
    await one.share("paris", at_one, await one.lease_id())
    assert at_one.told == 0
    assert await one.look("paris") == Held("other", "s2")
    at_one.link = None
    await one.share("paris", at_one, await one.lease_id())
    assert await one.look("paris") == Held("other", "s2")


async def test_who_takes_over_takes_the_old_word_away() -> None:
    """Why: between the take-over and the new word nobody may read the name of a gateway that lost the link."""
    store = MemoryStore()
    one, other = gateway(store, "one"), gateway(store, "other")
    await one.share("paris", await takes_over(store, "s1"), await one.lease_id())
    await takes_over(store, "s2")
    assert await other.look("paris") == Held("", "s2")


async def test_the_word_of_a_gateway_goes_with_its_lease_and_is_told_again_under_a_new_one() -> (
    None
):
    """Why: one that died must not be believed for ever; one that lives and lost its lease must be believed again."""
    store = MemoryStore()
    one, other = gateway(store, "one"), gateway(store, "other")
    seat = await takes_over(store, "s1")
    lease_id = await one.lease_id()
    await one.share("paris", seat, lease_id)
    assert await one.lease_id() == lease_id, "one lease for all its words"
    entry = await store.get(KEY)
    assert entry is not None
    assert entry.lease_id == lease_id
    await one.close()
    assert await other.look("paris") == Held("", "s1")
    again = await one.lease_id()
    assert again != lease_id
    await one.share("paris", seat, again)
    assert await other.look("paris") == Held("one", "s1")


async def test_a_link_is_told_once_and_not_at_each_round() -> None:
    """Why: a round is a second, and a tier has a thousand sites. (Mutant: forget what was told.)"""
    store = MemoryStore()
    one = gateway(store, "one")
    seat = await takes_over(store, "s1")
    for _ in range(3):
        await one.share("paris", seat, await one.lease_id())
    entry = await store.get(KEY)
    assert entry is not None
    assert entry.version == 1


class Deaf(MemoryStore):
    """No leader."""

    async def grant_lease(self, ttl_s: int, *, timeout_s: float = 5.0) -> MemoryLease:
        await asyncio.sleep(0)
        raise Unavailable("no leader")


async def test_without_a_lease_nothing_is_told() -> None:
    """Why: a word without a lease would outlive its gateway."""
    store = Deaf()
    one = gateway(store, "one")
    assert await one.lease_id() == 0
    await one.share("paris", await takes_over(store, "s1"), 0)
    assert await store.get(KEY) is None
    await one.close()


async def test_what_cannot_be_read_is_somebody() -> None:
    """Why: a later version's word must not read as "nobody": the neighbour would judge in its place."""
    store = MemoryStore()
    await store.put(KEY, b"\xff")
    await store.put(import_root("paris") + SESSION, b"s9")
    assert await gateway(store, "one").look("paris") == Held("unreadable", "s9")


def judged(seat: Seat, code: str) -> None:
    seat.marked = code


def test_a_judgement_is_over_when_a_newer_link_was_there() -> None:
    """Why: its take-over took the mark away; who remembers "marked" would never mark again. And a judgement of the
    same session stands, or it would be written each second. (Mutants: never, always.)"""
    seat = Seat()
    note: Callable[[str], None] = seat.saw
    note("s1")
    judged(seat, "revoked")
    note("s1")
    assert (seat.marked, seat.looks) == ("revoked", 2)
    note("s2")
    assert (seat.marked, seat.looks) == ("", 1)
