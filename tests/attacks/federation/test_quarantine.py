"""The mark on what is held of a peer that lost its right: never lost, never late (G9)."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from tests.attacks.federation.kit import fort, site_link
from tests.attacks.federation.partner import ALPS, alliance, later
from tests.federation_support import until

from isthmus.contract.envelope import Stamp
from isthmus.contract.quarantine import mark_key
from isthmus.contract.scopes import import_root
from isthmus.federation import destination, gateway, seats
from isthmus.federation.limits import LinkLimits
from isthmus.kv.errors import Unavailable
from isthmus.kv.memory import MemoryStore
from isthmus.kv.port import Txn, TxnResult
from isthmus.trust.revocation import RevocationList

GOOD = "spiffe://carrier.example/site/a/federation"
STAMP = Stamp(origin="hub", incarnation="1")
EXPIRED = {"not_before": later(days=-2), "not_after": later(seconds=-1)}


async def marked(store: MemoryStore, peer: str) -> str:
    """The reason, empty when nothing is marked."""
    entry = await store.get(mark_key(peer))
    return "" if entry is None else entry.value.decode()


async def test_a_mark_that_the_store_did_not_take_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why: the peer counted as marked before the store had answered; one lost write, and readers relied on its data for
    ever. (Mutant: `seat.marked = code` before the attempt.)"""
    real, tries = destination.quarantine, []

    async def flaky(*arguments: Any, **named: Any) -> None:
        tries.append(1)
        if len(tries) <= 2:
            raise Unavailable("no leader")
        await real(*arguments, **named)

    monkeypatch.setattr(gateway, "quarantine", flaky)
    async with alliance(tmp_path, linked=False, **EXPIRED) as both:

        async def so() -> bool:
            return "agreement-expired" in await marked(both.hub, ALPS)

        await until(so, "marked in the end")
        assert len(tries) == 3, "and not written again each second"


async def test_a_new_link_waits_for_a_mark_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why: a mark that lands after the takeover has removed it would stand beside a good link for as long as that one
    lives. (Mutant: `vacate` looks at the link only.)"""
    real = destination.quarantine
    vacate = seats.vacate
    began, came, go = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(*arguments: Any, **named: Any) -> None:
        began.set()
        await go.wait()
        await real(*arguments, **named)

    async def seen(seat: Any) -> None:
        came.set()
        await vacate(seat)

    monkeypatch.setattr(gateway, "quarantine", slow)
    monkeypatch.setattr(gateway, "vacate", seen)
    async with alliance(tmp_path, linked=False, **EXPIRED) as both:
        await asyncio.wait_for(began.wait(), 20)
        both.write(both.agreed())
        await asyncio.wait_for(came.wait(), 20)
        for _ in range(50):
            await asyncio.sleep(0)
        opened = both.gateway._seats[ALPS].link
        go.set()
        assert opened is None
        await until(both.stands, "the link stands")
        assert await marked(both.hub, ALPS) == ""


class _Slow(MemoryStore):
    """Runs ``meanwhile`` before the first transaction it is asked for."""

    meanwhile: Any = None

    async def txn(self, txn: Txn, *, timeout_s: float = 5.0) -> TxnResult:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return await super().txn(txn, timeout_s=timeout_s)


@pytest.mark.parametrize("held", [False, True])
async def test_a_mark_that_comes_after_a_takeover_is_void(held: bool) -> None:
    """Why: a write that timed out may take effect later, and a second gateway behind the same name may mark what the
    first has just taken over. (Mutant: a plain put.)"""
    store = _Slow()

    async def takeover(session: str = "later") -> None:
        await destination.PeerDestination(
            store, "a", session=session, stamp=STAMP, limits=LinkLimits(), utc_s=time.time
        ).open()

    if held:
        await takeover("earlier")
    store.meanwhile = takeover
    await destination.quarantine(store, "a", "revoked", stamp=STAMP, as_of=1.0)
    assert await marked(store, "a") == ""
    await destination.quarantine(store, "a", "revoked", stamp=STAMP, as_of=1.0)
    assert "revoked" in await marked(store, "a")


async def test_who_is_revoked_while_away_is_marked_all_the_same(tmp_path: Path) -> None:
    """Why: only an open link was marked when its peer was revoked; who was cut off by the WAN at that moment left data
    behind that nobody doubted. (Mutant: `_over` asks for agreements only.)"""
    async with fort(tmp_path) as world:
        await world.store.put(import_root("a") + "summary/site", b"held")
        revoked = RevocationList(2, time.time(), identities=frozenset({GOOD}))
        path = tmp_path / "revoked.json"
        path.write_bytes(revoked.to_json())
        path.chmod(0o644)

        async def so() -> bool:
            return "revoked" in await marked(world.store, "a")

        await until(so, "marked")
        assert await marked(world.store, "b") == "", "and nobody else"
        told = {one.peer: one.last_error for one in world.gateway.status()}
        assert told["a"].startswith("revoked: ")


async def test_a_site_marks_what_it_holds_of_a_revoked_gateway_and_dials_it_no_more(
    tmp_path: Path,
) -> None:
    """Why: the site's end cut the link but relied on what it held, and let the revoked gateway in for a second at each
    dial, which took any mark away. (Mutants: no look before the dial; only agreements mark.)"""
    async with fort(tmp_path) as world:
        store = MemoryStore()
        path = tmp_path / "site-revoked.json"
        port = world.gateway.port
        async with site_link(tmp_path, world.us, port, store, revocations=path) as link:
            await until(lambda: link.status().synced, "linked")
            gateway = str(world.us.identity("gateway", "global"))
            path.write_bytes(
                RevocationList(2, time.time(), identities=frozenset({gateway})).to_json()
            )
            path.chmod(0o644)

            async def so() -> bool:
                return "revoked" in await marked(store, "global")

            await until(so, "marked at the site")
            session = await store.get(import_root("global") + destination.SESSION)
            dials = link.status().reconnects
            await until(lambda: link.status().reconnects > dials + 1, "it looked again, twice")
            assert await store.get(import_root("global") + destination.SESSION) == session
            assert await so()
