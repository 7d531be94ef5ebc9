"""kill -9 of controllers while customers come and go: all converges, once (G3, G4, R45); packets notice nobody's."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx
from tests.chaos.two_tiers.kit import MILAN, PARIS, ROOT, SITES, TENANT, WEB, World
from tests.support import eventually

from isthmus.chaos.demo.stage import Late
from isthmus.contract.families import G_INTENTS, G_VNIS
from isthmus.deploy.lab.spec import GLOBAL

CIRCUITS = ("c", "d", "e", "f")
SETTLE_S = 60
"""Seen: 2 to 5 s. Far beyond it stands what the 30 s of every controller's own look around has to cure."""


@dataclass
class Churn:
    """Customers that come and go at the tier; what was acknowledged is remembered, what failed is asked again."""

    two: World
    wanted: set[str] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)
    asked: int = 0
    refused: int = 0
    _stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Each circuit has one chain after another."""
        number = 0
        while not self._stop.is_set():
            circuit = CIRCUITS[number % len(CIRCUITS)]
            standing = [name for name in self.wanted if name.startswith(f"churn-{circuit}-")]
            for name in standing:
                await self._until_acknowledged("DELETE", name)
                self.wanted.discard(name)
                self.removed.add(name)
            name = f"churn-{circuit}-{number}"
            await self._until_acknowledged("PUT", name, f"milan-{circuit}", f"paris-{circuit}")
            self.wanted.add(name)
            number += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), 0.4)

    async def goes_on(self) -> None:
        """Some more customers have asked."""
        seen = self.asked
        await eventually(lambda: self.asked > seen + 4, "customers go on", timeout_s=60)

    def stop(self) -> None:
        """Enough."""
        self._stop.set()

    async def _until_acknowledged(self, verb: str, name: str, *ends: str) -> None:
        body = self.two.chain(name, *ends) if ends else None

        async def acknowledged() -> bool:
            self.asked += 1
            with contextlib.suppress(httpx.HTTPError):
                path = f"/v1/chains/{TENANT}/{name}"
                answer = await self.two.stage.api().request(verb, path, json=body, timeout=3)
                if answer.status_code < 300 or (verb == "DELETE" and answer.status_code == 404):
                    return True
                assert answer.status_code >= 500, answer.text
            self.refused += 1
            return False

        await eventually(acknowledged, f"{verb} {name} is acknowledged", timeout_s=60, every_s=0.2)


async def said_of(two: World, name: str) -> str:
    """What the sites' intake and chaining say of a chain, for the one who has to find out."""
    lines = [line for site in SITES for line in (await two.text(site)).splitlines()]
    told = ("/cords/", "/explain/")
    return "\n".join(
        line[:600] for line in lines if f"/{name} " in line and any(kind in line for kind in told)
    )


async def settled(two: World, churn: Churn) -> None:
    """Every acknowledged chain runs, every deleted one is gone, nothing is there twice."""
    for name in sorted(churn.wanted):
        try:
            await two.stage.phase(name, "running", timeout_s=SETTLE_S)
        except Late as late:
            raise AssertionError(f"{late}\n{await said_of(two, name)}") from None
    await two.converged()
    wanted = {*churn.wanted, "web", "swiss"}

    async def only_wanted() -> bool:
        intents = await two.keys(GLOBAL, G_INTENTS.prefix())
        return {key.rpartition("/")[2] for key in intents} == wanted

    await eventually(only_wanted, "intents are exactly what was acknowledged")
    for site in SITES:

        async def exact(site: str = site) -> bool:
            plans = await two.keys(site, f"{ROOT}plans/")
            desired = await two.keys(site, f"{ROOT}desired/")
            runtime = await two.keys(site, f"{ROOT}runtime/")
            return {key.rpartition("/")[2] for key in plans} <= wanted and {
                key.partition("desired/")[2] for key in desired
            } == {key.partition("runtime/")[2] for key in runtime}

        await eventually(exact, f"{site} runs what is desired and nothing else", timeout_s=40)
        desired = await two.keys(site, f"{ROOT}desired/")
        instances = Counter(key.rpartition("/")[2] for key in desired)
        assert [name for name, count in instances.items() if count > 1] == []
    vnis = await two.keys(GLOBAL, G_VNIS.prefix())
    wires = await two.keys(GLOBAL, f"{ROOT}wires/")
    assert len(vnis) == len(wires) == len(wanted), (len(vnis), len(wires), wanted)


async def test_kill_9_of_controllers_under_churn_loses_and_doubles_nothing(two: World) -> None:
    """Why: they die in the middle of something; what was acknowledged is in a store, and that is enough.

    Stores, gateways and links die in ``isthmus prove --only kills`` (tests/chaos/proving)."""
    victims = (f"{GLOBAL}.controllers", f"{MILAN}.controllers")
    churn = Churn(two)
    running = asyncio.create_task(churn.run())
    try:
        await eventually(lambda: len(churn.wanted) >= 2, "customers have come")
        for _ in range(2):
            for victim in victims:
                await two.lab.supervisor.wait_ready(victim, 30)
                two.kill(victim)
            await churn.goes_on()
    finally:
        churn.stop()
        await running
    began = time.monotonic()
    await settled(two, churn)
    two.measured(f"kill -9 of {', '.join(victims)} under churn: settled", time.monotonic() - began)
    assert churn.removed, "some were taken back meanwhile"


async def test_packets_do_not_notice_the_death_of_stores_and_links(two: World) -> None:
    """Why: forwarding reads no store (R5); so no kill of one may cost a single packet."""
    address = two.lab.addresses.customer("paris-a")
    async with (
        two.stage.serving("paris-a", (8080,)),
        two.stage.probing("milan-a", address) as probe,
    ):
        for victim in (f"{MILAN}.etcd", f"{PARIS}.etcd", f"{GLOBAL}.etcd", f"{MILAN}.link",
                       f"{MILAN}.controllers", f"{PARIS}.agent.h1"):  # fmt: skip
            two.kill(victim)
        await two.answers()
        await two.converged()
        await two.stage.phase(WEB, "running")
    assert probe.sent > 500
    assert probe.lost == 0, f"{probe.lost} of {probe.sent}, longest gap {probe.longest_gap_ms} ms"
