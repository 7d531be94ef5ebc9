"""Facts and their age (G12): what the tier says of each site, next to how old the fact was that it said it from.

Two readers are asked: the API's list of sites, and, once a site's word is too old, the placer, by a chain that fits
nowhere else. The fact is read from the store before the question and after the answer; only when nobody wrote it
meanwhile is it certain what the one who answered saw. Its age is taken when the question was sent: he looked no
earlier, so "known" of what was too old even then is wrong beyond doubt.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import httpx

from isthmus.chaos.demo import chains
from isthmus.chaos.demo.stage import TENANT
from isthmus.chaos.history import Recorder
from isthmus.chaos.proving.schedule import SITES
from isthmus.contract import ContractError, Envelope, unseal, utc_seconds
from isthmus.contract.instance import SiteSummary
from isthmus.contract.scopes import site_summary_key
from isthmus.kv.errors import StoreError
from isthmus.kv.port import Entry

EVERY_S = 0.5
ASK_S = 2.0
DECIDES_S = 4.0
"""So long an answer of the placer is waited for."""
Treated = Literal["known", "unknown"]


class Reads(Protocol):
    """The part of a store that is needed."""

    async def get(self, key: str, *, timeout_s: float = ...) -> Entry | None:
        """One key."""


@dataclass(frozen=True, slots=True)
class Word:
    """A site's summary as the tier's store has it."""

    revision: int
    envelope: Envelope[SiteSummary]


@dataclass(slots=True)
class Ages:
    """``store`` is the tier's; ``clock`` the one that the sites' stamps are of."""

    recorder: Recorder
    store: Reads
    api: Callable[[], httpx.AsyncClient]
    clock: Callable[[], float] = utc_seconds
    sites: Sequence[str] = SITES
    _able: set[str] = field(default_factory=set)
    """Where such a chain was placed while the word was fresh: a refusal later is the age's, not the chain's."""
    _decided: set[str] = field(default_factory=set)
    _left: set[str] = field(default_factory=set)
    _asked: int = 0

    async def live(self) -> None:
        """Until cancelled; a tier that does not answer just now is no sample."""
        while True:
            with contextlib.suppress(httpx.HTTPError, StoreError):
                await self.once()
            await asyncio.sleep(EVERY_S)

    async def once(self) -> None:
        """One look at what is said of each site, and one question about each that fell silent."""
        before, now = await self._words(), self.clock()
        answer = await self.api().get("/v1/sites", timeout=ASK_S)
        after = await self._words()
        if answer.status_code != 200:
            return
        for row in answer.json()["sites"]:
            word = _same(before.get(row["site"]), after.get(row["site"]))
            if word is not None:
                self._tell("global.api", row["site"], word, now, treated(row), used=False)
        await self._clear()
        for site, word in after.items():
            stale = word.envelope.expired(now)
            if not stale:
                self._decided.discard(site)
            if site not in (self._decided if stale else self._able):
                await self._decision(site)

    async def close(self) -> None:
        """Take back what was asked for."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10 * ASK_S):
                while self._left:
                    with contextlib.suppress(httpx.HTTPError):
                        await self._clear()
                    await asyncio.sleep(EVERY_S)

    # -- the placer

    async def _decision(self, site: str) -> None:
        """May a new chain be put here? Told only when nobody has heard of the site since; refused for its age, only
        when the same chain was taken before.
        """
        self._asked += 1
        name = f"age-{self._asked}"
        before, now = await self._word(site), self.clock()
        others = [one for one in self.sites if one != site]
        spec = chains.chain(
            name, f"{others[0]}-g", f"{others[1]}-g",
            [chains.firewall("fw", "192.0.2.1")], sites=[site],
        )  # fmt: skip
        self._left.add(name)
        await self.api().put(_path(name), json=spec, timeout=ASK_S)
        verdict = await self._verdict(name)
        word = _same(before, await self._word(site))
        await self._clear()
        if not verdict or word is None:
            return
        accepted = verdict == "accepted"
        if not word.envelope.expired(now):
            if accepted:
                self._able.add(site)
        elif site in self._able:
            self._decided.add(site)
            self._tell(
                "global.placer", site, word, now, "known" if accepted else "unknown", used=accepted
            )

    async def _verdict(self, name: str) -> str:
        """What the placer decided; empty when it did not."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DECIDES_S):
                while True:
                    with contextlib.suppress(httpx.HTTPError):
                        answer = await self.api().get(_path(name), timeout=ASK_S)
                        found = decision(answer.json()) if answer.status_code == 200 else ""
                        if found:
                            return found
                    await asyncio.sleep(0.1)
        return ""

    async def _clear(self) -> None:
        for name in sorted(self._left):
            answer = await self.api().delete(_path(name), timeout=ASK_S)
            if answer.status_code < 300 or answer.status_code == 404:
                self._left.discard(name)

    # -- the facts

    async def _words(self) -> dict[str, Word]:
        found = {site: await self._word(site) for site in self.sites}
        return {site: word for site, word in found.items() if word is not None}

    async def _word(self, site: str) -> Word | None:
        entry = await self.store.get(site_summary_key(site), timeout_s=ASK_S)
        if entry is None:
            return None
        try:
            return Word(entry.mod_revision, unseal(entry.value, SiteSummary))
        except ContractError:
            return None

    def _tell(
        self, by: str, site: str, word: Word, now: float, how: Treated, *, used: bool
    ) -> None:
        self.recorder.fact(
            "ages", by=by, fact=site_summary_key(site), as_of=word.envelope.as_of,
            ttl_s=word.envelope.ttl_s, now=now, used=used, treated_as=how,
        )  # fmt: skip


def treated(row: dict[str, Any]) -> Treated:
    """A site that is called alive, or whose figures are shown, is told of as known; neighbours' word is their own."""
    return "known" if row["state"] == "alive" or row.get("summary") is not None else "unknown"


def decision(document: dict[str, Any]) -> str:
    """The placer's newest word on the newest request, as the API tells it."""
    found = [
        one["explanation"]["decision"]
        for one in document.get("explanations", ())
        if one["component"] == "placer" and one["current"]
    ]
    return str(found[-1]) if found else ""


def _same(before: Word | None, after: Word | None) -> Word | None:
    """The fact, if nobody wrote it meanwhile."""
    if before is None or after is None or before.revision != after.revision:
        return None
    return before


def _path(chain: str) -> str:
    return f"/v1/chains/{TENANT}/{chain}"
