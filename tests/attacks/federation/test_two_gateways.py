"""Two gateways of one tier on one store (issue 7, point 7): neither harms what the other does, neither tells lies."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.attacks.federation.kit import fort, site_link
from tests.attacks.federation.partner import ALPS, Alliance, alliance
from tests.federation_support import holds_value, summary, until

from isthmus.contract.quarantine import mark_key
from isthmus.federation import gateway as module
from isthmus.federation.gateway import Gateway
from isthmus.federation.run import real_clocks
from isthmus.federation.status import LinkStatus
from isthmus.kv.memory import MemoryStore
from isthmus.kv.port import KeyValueStore, Put, Txn, TxnResult


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds of the judge follow each other fast."""
    monkeypatch.setattr(module, "TICK_S", 0.02)


def of(gateway: Gateway, peer: str) -> LinkStatus:
    return next(one for one in gateway.status() if one.peer == peer)


class Rounds:
    """Counts the rounds in which a gateway judged a peer that is not there."""

    def __init__(self, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done = 0
        real = gateway._judge

        async def counted(peer: Any) -> None:
            await real(peer)
            self.done += peer.name == ALPS

        monkeypatch.setattr(gateway, "_judge", counted)

    async def more(self, count: int) -> None:
        goal = self.done + count
        await until(lambda: self.done >= goal, f"{count} more rounds")


async def test_a_site_at_the_neighbour_is_told_as_elsewhere(tmp_path: Path) -> None:
    """Why: "absent" at one gateway and "open" at the other made the operator of a tier look for a fault. (Mutant: ask
    the store nothing.) When the neighbour stops and the site comes here, each tells that."""
    async with fort(tmp_path, label="north") as world:
        other = Gateway(
            world.settings.model_copy(update={"label": "south"}), world.store, real_clocks()
        )
        await other.start()
        dial = tuple(f"127.0.0.1:{one.port}" for one in (world.gateway, other))
        try:
            async with site_link(tmp_path, world.us, 0, MemoryStore(), dial=dial) as link:
                await until(lambda: of(other, "a").state == "elsewhere", "the neighbour is named")
                told = of(other, "a")
                assert (told.gateway, told.connected) == ("north", False)
                assert of(other, "b").state == "absent"
                assert of(world.gateway, "a").connected
                await world.gateway.stop(0.1)
                await until(lambda: of(other, "a").connected and link.status().synced, "it came")
                assert of(other, "a").gateway == ""
                assert of(world.gateway, "a").state == "closed"
        finally:
            await other.stop(0.1)
        assert "meta.gateway" not in "".join(await keys(world.store)), "no word outlives them"


async def keys(store: KeyValueStore) -> list[str]:
    return [entry.key for entry in (await store.snapshot("/isthmus/")).entries]


async def behind(both: Alliance) -> Gateway:
    """A second gateway of the hub whose copy of the agreement was not renewed."""
    path = both.folder / "agreement.behind.yaml"
    path.write_bytes(both.agreed(version=1).to_yaml())
    path.chmod(0o644)
    settings = both._gateway_settings()
    peers = tuple(
        one.model_copy(update={"agreement": path}) if one.name == ALPS else one
        for one in settings.peers
    )
    made = Gateway(settings.model_copy(update={"peers": peers}), both.hub, real_clocks())
    await made.start()
    return made


async def test_who_has_the_link_judges_and_only_when_nobody_has_it_the_others_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why: a gateway that was not told of the newest agreement yet marked what its neighbour holds of a good peer, and
    no controller believed that peer until its next link (found in review). But what nobody else judges it must judge,
    or a peer that lost its right while its gateway is gone is believed for ever (G9). (Mutants: nobody is next door;
    somebody always is.)"""

    async def mark() -> str:
        entry = await both.hub.get(mark_key(ALPS))
        return "" if entry is None else entry.value.decode()

    async def marked() -> bool:
        return "agreement-older" in await mark()

    async with alliance(tmp_path, version=2) as both:
        other = await behind(both)
        try:
            rounds = Rounds(other, monkeypatch)
            await rounds.more(12)
            assert await mark() == ""
            assert (of(other, ALPS).state, of(other, ALPS).quarantined) == ("elsewhere", "")
            assert both.stands()
            await both.gateway.stop(0.1)
            await until(marked, "nobody else has it: judged here")
            assert of(other, ALPS).quarantined == "agreement-older"
        finally:
            await other.stop(0.1)


class Slow:
    """A store over ``real``: a write that has ``held`` in it arrives only when it is let go, whoever waits for it."""

    def __init__(self, real: MemoryStore, held: bytes) -> None:
        self._real, self._held = real, held
        self.under_way, self.let_go = asyncio.Event(), asyncio.Event()
        self.arrived: list[TxnResult] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def txn(self, txn: Txn, *, timeout_s: float = 5.0) -> TxnResult:
        if any(isinstance(one, Put) and one.value == self._held for one in txn.then):
            return await asyncio.shield(asyncio.create_task(self._later(txn)))
        return await self._real.txn(txn, timeout_s=timeout_s)

    async def _later(self, txn: Txn) -> TxnResult:
        self.under_way.set()
        await self.let_go.wait()
        self.arrived.append(await self._real.txn(txn))
        return self.arrived[-1]


async def test_a_write_of_the_gateway_of_before_arrives_in_vain(tmp_path: Path) -> None:
    """Why: a gateway may be stopped, or lose its site, with a write on its way to the store; when it arrives the
    neighbour has written something newer, and the key would go back in time (G5). (Mutant: no fence in the writes.)"""
    async with fort(tmp_path) as world:
        slow: Any = Slow(world.store, b"old")
        first = Gateway(world.settings, slow, real_clocks())
        await first.start()
        site = MemoryStore()
        dial = tuple(f"127.0.0.1:{one.port}" for one in (first, world.gateway))
        try:
            async with site_link(tmp_path, world.us, 0, site, dial=dial) as link:
                await until(lambda: link.status().synced, "at the first")
                await site.put(summary("chains/acme/web"), b"old")
                await asyncio.wait_for(slow.under_way.wait(), 10)
                await first.stop(0.1)
                await until(lambda: of(world.gateway, "a").connected, "at the second")
                await site.put(summary("chains/acme/web"), b"new")
                new = ("summary/chains/acme/web", b"new")

                def there() -> Any:
                    return holds_value(summary_of_a(world.store), *new)

                await until(there, "the newer one is there")
                slow.let_go.set()
                await until(lambda: slow.arrived, "the older one arrives")
                assert not slow.arrived[0].succeeded
                assert await there()
        finally:
            slow.let_go.set()
            await first.stop(0.1)


async def summary_of_a(store: KeyValueStore) -> dict[str, bytes]:
    """What the hub holds of site a."""
    root = "/isthmus/v1/remote/a/"
    entries = (await store.snapshot(root)).entries
    return {entry.key[len(root) :]: entry.value for entry in entries}
