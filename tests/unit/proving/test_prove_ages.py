"""G12 on real processes: the recorder of facts and their age, on a store and an API made by hand."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field

import httpx
import pytest
from tests.unit.proving.tale import Tale

from isthmus.chaos.proving.ages import Ages, decision, treated
from isthmus.chaos.proving.faults import CUTS
from isthmus.chaos.proving.schedule import FORGOTTEN, FORGOTTEN_S, Fault, schedule
from isthmus.contract import Stamp, seal
from isthmus.contract.instance import SiteSummary
from isthmus.contract.scopes import site_summary_key
from isthmus.kv.port import Entry
from isthmus.site.summarizer import Summarizer

TTL_S = 15.0
STAMP = Stamp(origin="milan", incarnation="1")
SUMMARY = SiteSummary(
    cpu_milli_total=1, cpu_milli_free=1, memory_mib_total=1, memory_mib_free=1, hosts_up=1, chains=0
)


@dataclass
class Tier:
    """A tier that knows one site, milan, whose word is of the moment 0."""

    now_s: float
    state: str = "unknown"
    summary: dict[str, int] | None = None
    verdict: str = "refused"
    before: str = "accepted"
    """The verdict while the word was fresh."""
    written_during: str = ""
    """A question during which the site's word arrives anew: ``sites`` or ``chains``."""
    revision: int = 7
    chains: list[str] = field(default_factory=list)
    asked: int = 0

    async def get(self, key: str, *, timeout_s: float = 1.0) -> Entry | None:
        """Its store."""
        assert key == site_summary_key("milan")
        value = seal(SUMMARY, STAMP, as_of=0.0, ttl_s=TTL_S)
        return Entry(key, value, 1, self.revision, 1)

    def answer(self, request: httpx.Request) -> httpx.Response:
        """Its API."""
        late = self.now_s > TTL_S and self.written_during
        if late and f"/{self.written_during}" in request.url.path:
            self.revision += 1
        if request.url.path == "/v1/sites":
            row = {"site": "milan", "state": self.state, "summary": self.summary}
            return httpx.Response(200, json={"sites": [row]})
        if request.method == "PUT":
            self.asked += 1
            self.chains.append(json.loads(request.content)["chain"])
            assert json.loads(request.content)["constraints"] == {"sites": ["milan"]}
        elif request.method == "DELETE":
            self.chains.remove(request.url.path.rpartition("/")[2])
        verdict = self.before if self.now_s < TTL_S else self.verdict
        return httpx.Response(200, json=_document(verdict))


def _document(verdict: str, *, current: bool = True) -> dict[str, object]:
    told = {"component": "placer", "current": current, "explanation": {"decision": verdict}}
    intake = {"component": "intake", "current": True, "explanation": {"decision": "accepted"}}
    return {"explanations": [told, intake] if verdict else [intake]}


def _looked(tier: Tier, times: int = 1) -> Tale:
    """What is recorded of ``tier``."""
    tale = Tale()

    async def look() -> None:
        async with httpx.AsyncClient(
            transport=httpx.MockTransport(tier.answer), base_url="http://tier"
        ) as client:
            sites = ("milan", "paris", "zurich")
            ages = Ages(tale.say, _Only(tier), lambda: client, lambda: tier.now_s, sites)
            then, tier.now_s = tier.now_s, 1.0
            await ages.once()
            tier.now_s = then
            for _ in range(times):
                await ages.once()
            await ages.close()

    asyncio.run(look())
    return tale


@dataclass
class _Only:
    tier: Tier

    async def get(self, key: str, *, timeout_s: float = 1.0) -> Entry | None:
        """Nothing was ever heard of the others."""
        return await self.tier.get(key) if key == site_summary_key("milan") else None


def test_a_silent_site_that_is_told_of_as_unknown_keeps_it() -> None:
    """Why: the API's word and the placer's decision are a sample each, and the chain asked for is taken back."""
    tier = Tier(TTL_S + 1)
    tale = _looked(tier)
    assert tale.kept("G12").samples == 2
    assert {one.text("by") for one in tale.records} == {"global.api", "global.placer"}
    assert tier.chains == []


@pytest.mark.parametrize(
    "mutant",
    [
        Tier(TTL_S + 1, state="alive"),
        Tier(TTL_S + 1, summary={"cpu_milli_free": 5}),
        Tier(TTL_S + 1, verdict="accepted"),
    ],
    ids=["alive", "figures", "placed"],
)
def test_a_stale_fact_taken_as_known_breaks_it(mutant: Tier) -> None:
    """Why: each is a way to use what nobody knows; the recorder must not smooth it over."""
    _looked(mutant).broken("G12", "16.0 s old, its limit is 15.0 s")


def test_a_fresh_fact_is_no_sample_and_the_placer_is_asked_once() -> None:
    """Why: a run in which nothing was too old has not tried the promise."""
    tier = Tier(TTL_S - 1, state="alive", summary={})
    _looked(tier, times=3).no_data("G12")
    assert tier.asked == 1


def test_a_chain_that_was_refused_before_too_is_no_sample() -> None:
    """Why: refused whatever is known of the site, it would keep the promise for a placer that believes for ever."""
    told = _looked(Tier(TTL_S + 1, before="refused")).records
    assert told
    assert {one.text("by") for one in told} == {"global.api"}


def test_a_word_that_arrives_during_the_question_is_no_sample() -> None:
    """Why: the one who answered may have seen the new word; "alive" was right then, and blamed would be a lie."""
    tier = Tier(TTL_S + 1, state="alive", written_during="sites")
    stale = [one for one in _looked(tier).records if one.number("now") > TTL_S]
    assert {one.text("by") for one in stale} == {"global.placer"}
    tier = Tier(TTL_S + 1, verdict="accepted", written_during="chains")
    assert _looked(tier).kept("G12").samples == 1


def test_the_placer_is_asked_once_a_silence() -> None:
    """Why: the load on the tier is the customers'; one decision on a stale fact is a sample, a hundred are churn."""
    tier = Tier(TTL_S + 1)
    assert _looked(tier, times=5).kept("G12").samples == 6
    assert tier.asked == 2, "fresh, and stale"


def test_what_counts_as_known_and_as_a_decision() -> None:
    """Why: neighbours' word of a silent site is no fact of its own; a decision on an older request is none on this."""
    assert treated({"state": "cut-off", "summary": None}) == "unknown"
    assert treated({"state": "alive"}) == "known"
    assert treated({"state": "unknown", "summary": {}}) == "known"
    assert decision(_document("accepted", current=False)) == ""
    assert decision(_document("")) == ""
    assert decision(_document("refused")) == "refused"


def test_a_cut_outlasts_what_is_believed() -> None:
    """Why: with shorter cuts no fact ever grows too old, and G12 has no data, whoever is asked."""
    assert 3 * Summarizer("milan").period_s == FORGOTTEN_S
    cuts = [one for seed in range(30) for one in schedule(seed, 60, (FORGOTTEN,))]
    assert len(cuts) >= 30
    assert all(one.duration_s >= FORGOTTEN_S + 3 for one in cuts)
    assert {one.target for one in cuts} == {"milan", "paris", "zurich"}
    assert FORGOTTEN in CUTS
    assert Fault(0, FORGOTTEN, "paris", 20).links == ("paris",)
