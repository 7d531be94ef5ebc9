"""Customers: chains asked for, changed and taken back through the API, each ask with an idempotency key (G3).

An ask is repeated with the same key until it is answered: what an honest client does. A local customer also
measures how long the site takes, cut off or not (G1).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx

from isthmus.chaos.demo import chains
from isthmus.chaos.demo.stage import TENANT, Stage
from isthmus.chaos.history import Recorder
from isthmus.chaos.proving.schedule import GLOBAL

ASK_S = 4.0
AGAIN_S = 0.3
LOCAL_S = 30.0
Verb = Literal["put", "delete"]


@dataclass(slots=True)
class Customer:
    """Has one circuit at each of two places and lives on one tier. ``cut`` and ``hit`` tell of the faults just now."""

    name: str
    tier: str
    ends: tuple[str, str]
    stage: Stage
    recorder: Recorder
    chance: random.Random
    cut: Callable[[], bool] = lambda: False
    hit: Callable[[], bool] = lambda: False
    pause_s: float = 2.0
    asked: set[str] = field(default_factory=set)
    standing: str = ""
    asks: int = 0
    repeats: int = 0

    async def live(self, stop: asyncio.Event) -> None:
        """One chain after another, with changes between, until ``stop``; an ask under way is brought to its end."""
        number = 0
        while not stop.is_set():
            number += 1
            chain = f"{self.name}-{number}"
            began = self._moment()
            await self.ask("put", chain, self._spec(chain, "203.0.113.9"))
            self.standing = chain
            if self.tier != GLOBAL:
                await self._measure(chain, began)
            await self._rest(stop)
            if self.chance.random() < 0.4 and not stop.is_set():
                await self.ask("put", chain, self._spec(chain, "203.0.113.77"))
                await self._rest(stop)
            if stop.is_set():
                return
            await self.ask("delete", chain)
            self.standing = ""

    async def ask(self, verb: Verb, chain: str, spec: dict[str, Any] | None = None) -> None:
        """Until it is answered."""
        self.asks += 1
        op = f"{self.name}/{self.asks}"
        key = f"{self.name}-{self.asks}-{self.chance.randrange(10**9)}"
        self.asked.add(chain)
        self._tell(op, verb, chain, "sent", key)
        while True:
            answer = await self._once(verb, chain, spec, key)
            if answer is not None:
                break
            self.repeats += 1
            await asyncio.sleep(AGAIN_S)
        gone = verb == "delete" and answer.status_code == 404
        if answer.status_code < 300 or gone:
            revision = None if gone else answer.json().get("revision")
            self._tell(op, verb, chain, "acked", key, revision)
        else:
            self._tell(op, verb, chain, "refused", key)
            raise RuntimeError(f"{verb} {chain} was refused: {answer.text[:300]}")

    async def _once(
        self, verb: Verb, chain: str, spec: dict[str, Any] | None, key: str
    ) -> httpx.Response | None:
        """The answer; None when there was none that says anything."""
        with contextlib.suppress(httpx.HTTPError):
            answer = await self.stage.api(self.tier).request(
                verb.upper(), f"/v1/chains/{TENANT}/{chain}", json=spec, timeout=ASK_S,
                headers={"Idempotency-Key": key},
            )  # fmt: skip
            if answer.status_code < 500 and answer.status_code != 429:
                return answer
        return None

    def _tell(
        self,
        op: str,
        verb: Verb,
        chain: str,
        phase: Literal["sent", "acked", "refused"],
        key: str,
        revision: int | None = None,
    ) -> None:
        self.recorder.ask(
            f"client.{self.name}", op=op, verb=verb, tier=self.tier, chain=f"{TENANT}/{chain}",
            phase=phase, key=key, revision=revision,
        )  # fmt: skip

    def _spec(self, chain: str, nat: str) -> dict[str, Any]:
        ingress, egress = self.ends
        customer = self.stage.lab.addresses.customer(ingress)
        functions = [chains.firewall("fw", customer), chains.nat("nat", nat)]
        far = ingress.partition("-")[0] != egress.partition("-")[0]
        more: dict[str, Any] = {"anti_affinity": [["fw", "nat"]]} if far else {}
        return chains.chain(chain, ingress, egress, functions, **more)

    def _moment(self) -> tuple[float, bool, bool]:
        return time.monotonic(), self.cut(), self.hit()

    async def _measure(self, chain: str, began: tuple[float, bool, bool]) -> None:
        """From the ask to a running chain; a cut that began or ended meanwhile is no clean sample."""
        at_s, cut, hit = began
        ok = True
        while not await self._runs(chain):
            hit = hit or self.hit() or self.cut() != cut
            if time.monotonic() - at_s > LOCAL_S:
                ok = False
                break
            await asyncio.sleep(0.1)
        self.recorder.note(
            f"client.{self.name}", "local",
            {"site": self.tier, "op": "place", "ok": ok, "cut": cut,
             "took_s": round(time.monotonic() - at_s, 3),
             "other_fault": True if hit or self.hit() or self.cut() != cut else None},
        )  # fmt: skip

    async def _runs(self, chain: str) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            row = (await self.stage.chain(chain, self.tier)).get("row", {})
            return bool(row.get("phase") == "running")
        return False

    async def _rest(self, stop: asyncio.Event) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), self.pause_s * self.chance.uniform(0.5, 1.5))
