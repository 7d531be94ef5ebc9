"""Sentinels in every foreign scope, on both sides of a partner's link: none may be in a frame, a store or a log.

A filter that is right for today's keys proves little. So every family of the contract, other tenants, other partners
and look-alike neighbours carry a word that must not arrive; a later change that must arrive ends the wait; and the
same search has to find the word when a filter is broken on purpose.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.agreement_support import summary
from tests.attacks.federation.partner import ALPS, HUB, Alliance, alliance
from tests.federation_support import until

from isthmus.contract.families import FAMILIES
from isthmus.contract.family import Tier
from isthmus.contract.subject import sample_key
from isthmus.federation.filters import ExportFilter, ScopeFilter
from isthmus.federation.terms import FlowGate
from isthmus.policy.scopes import Verb

SENTINEL = "sentinel-5e1c7a90"
ROOT = "/isthmus/v1/"
VALUE = json.dumps(
    {"schema": "Sentinel/1", "as_of": 1.0, "body": {"host": SENTINEL, "text": SENTINEL}}
).encode()
AT_HUB = (
    f"outbox/{ALPS}/intents/rival/{SENTINEL}", f"outbox/{ALPS}/intents/acmex/{SENTINEL}",
    f"outbox/{ALPS}/intents/acm/{SENTINEL}", f"outbox/{ALPS}/intents/acme-/{SENTINEL}",
    f"outbox/{ALPS}/intentsx/acme/{SENTINEL}", f"outbox/{ALPS}/status/acme/{SENTINEL}",
    f"outbox/{ALPS}/wire/{SENTINEL}", f"outbox/{ALPS}/meta.{SENTINEL}",
    f"outbox/{ALPS}x/intents/acme/{SENTINEL}", f"outbox/{ALPS}0/intents/acme/{SENTINEL}",
    f"outbox/{ALPS}-/wires/{SENTINEL}", f"outbox/other/intents/acme/{SENTINEL}",
    f"remote/other/summary/chains/acme/{SENTINEL}", f"agreements/other/{SENTINEL}",
    f"outbox/{ALPS}/intents/{SENTINEL}", f"outbox/{ALPS}/{SENTINEL}",
)  # fmt: skip
AT_SITE = (
    f"summary/peers/{HUB}/chains/rival/{SENTINEL}", f"summary/peers/{HUB}/chains/acmex/{SENTINEL}",
    f"summary/peers/{HUB}/chains/acme/host", f"summary/peers/other/chains/acme/{SENTINEL}",
    f"summary/peers/{HUB}x/chains/acme/{SENTINEL}", f"summary/peers/{HUB}0/wires/{SENTINEL}",
    f"summary/peers/{HUB}/inventory/{SENTINEL}", f"summary/sites/{SENTINEL}",
    f"summary/site.{SENTINEL}", f"summary/siteX{SENTINEL}", f"inventory/{SENTINEL}",
    f"remote/other/intents/acme/{SENTINEL}", "summary/site",
)  # fmt: skip
MARKERS = (f"outbox/{ALPS}/wires/w-marker", f"summary/peers/{HUB}/wires/w-marker")


def _family_keys(tier: Tier) -> list[str]:
    """A key of every family of the tier, of tenants and peers that are not the partner's."""
    keys = [sample_key(family) for family in FAMILIES[tier]]
    return [
        key for key in keys if not key.startswith((f"{ROOT}remote/{HUB}/", f"{ROOT}remote/{ALPS}/"))
    ]


async def plant(both: Alliance) -> None:
    """Everywhere but where the agreement lets things cross."""
    for store, relative, tier in ((both.hub, AT_HUB, Tier.GLOBAL), (both.site, AT_SITE, Tier.SITE)):
        for key in (*_family_keys(tier), *(ROOT + one for one in relative)):
            await store.put(key, VALUE)
    aged = summary(x={"text": SENTINEL})  # a good summary with more in it than totals
    await both.site.put(f"{ROOT}summary/site", json.dumps(aged).encode())


async def mark(both: Alliance) -> None:
    """A later change each way, and wait until it has arrived."""
    down, up = (ROOT + one for one in MARKERS)
    await both.hub.put(down, b'{"marker": 1}')
    await both.site.put(up, b'{"marker": 1}')

    async def arrived() -> bool:
        there = await both.site.get(f"{ROOT}remote/{HUB}/wires/w-marker")
        here = await both.hub.get(f"{ROOT}remote/{ALPS}/summary/wires/w-marker")
        return there is not None and here is not None

    await until(arrived, "the later changes arrive")


async def found(both: Alliance, logs: str) -> list[str]:
    """Where the sentinel is that it must not be."""
    places = {
        "frames of the carrier": both.taps["hub"].read_text(),
        "frames of the partner": both.taps["site"].read_text(),
        "what the carrier holds of the partner": await both.dump(both.hub, f"{ROOT}remote/{ALPS}/"),
        "what the partner holds of the carrier": await both.dump(both.site, f"{ROOT}remote/{HUB}/"),
        "logs": logs,
    }
    assert "w-marker" in places["frames of the carrier"], "the tap hears the wire"
    assert "w-marker" in places["frames of the partner"]
    return [place for place, text in places.items() if SENTINEL in text]


@pytest.mark.parametrize("first", ["planted", "linked"])
async def test_no_sentinel_of_a_foreign_scope_crosses(
    first: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In the first copy and while following, both ways, on every frame; and each denial is counted and visible."""
    caplog.set_level(logging.DEBUG)
    async with alliance(tmp_path, linked=first == "linked") as both:
        await plant(both)
        await until(both.stands, "the link stands")
        await mark(both)
        assert await found(both, caplog.text) == []
        hub, site = both.at_hub().denied, both.at_site().denied
        assert hub["export:agreement-denied"] >= 4, "other tenants"
        assert hub["export:scope-denied"] >= 4, "other names below the partner's own outbox"
        assert site["export:agreement-denied"] >= 2
        assert site["export:agreement-aggregation"] >= 2, "a host's name, and more than totals"
        assert not any(code.startswith("import:") for code in (*hub, *site))


def everything_passes(patch: pytest.MonkeyPatch) -> None:
    """The sender's checks of keys let all through."""

    def check(self: object, verb: Verb, key: str | bytes) -> str:
        return key if isinstance(key, str) else key.decode()

    patch.setattr(ScopeFilter, "check", check)
    patch.setattr(FlowGate, "check", check)


def agreement_is_not_asked(patch: pytest.MonkeyPatch) -> None:
    """Only the peer list counts."""

    def check(self: FlowGate, verb: Verb, key: str | bytes) -> object:
        return self.configured.check(verb, key)

    patch.setattr(FlowGate, "check", check)


def prefixes_without_a_slash(patch: pytest.MonkeyPatch) -> None:
    """The classic: acme matches acmex."""
    honest = FlowGate.check

    def check(self: FlowGate, verb: Verb, key: str | bytes) -> object:
        text = key if isinstance(key, str) else key.decode()
        patterns = [one.pattern.rstrip("/") for one in self.flow.clauses]
        return text if text.startswith(tuple(patterns)) else honest(self, verb, key)

    patch.setattr(FlowGate, "check", check)


def values_are_not_read(patch: pytest.MonkeyPatch) -> None:
    """Totals are taken on trust."""
    patch.setattr(FlowGate, "judge_value", lambda self, key, value, now_s: None)


def denied_values_go_anyway(patch: pytest.MonkeyPatch) -> None:
    """The verdict is reached, counted, and not obeyed."""
    patch.setattr(ExportFilter, "value_passes", lambda self, key, value: True)


@pytest.mark.parametrize(
    "plant_bug",
    [
        everything_passes,
        agreement_is_not_asked,
        prefixes_without_a_slash,
        values_are_not_read,
        denied_values_go_anyway,
    ],
)
async def test_a_broken_filter_is_found_by_the_same_search(
    plant_bug: Callable[[pytest.MonkeyPatch], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search that cannot find would pass for ever."""
    plant_bug(monkeypatch)
    async with alliance(tmp_path) as both:
        await plant(both)
        await mark(both)

        async def leaked() -> bool:
            return bool(await found(both, ""))

        await until(leaked, "the planted bug is found")


async def test_the_receiver_alone_keeps_it_out_when_the_senders_checks_are_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G8: each end is sufficient alone. The frames carry it, the stores do not hold it, and it is counted."""
    honest = ExportFilter.__init__

    class Nothing:
        def check(self, verb: Verb, key: str | bytes) -> str:
            return key if isinstance(key, str) else key.decode()

    def open_door(
        self: ExportFilter, roots: object, check: object, denials: object, **_: object
    ) -> None:
        honest(self, roots, Nothing(), denials)  # type: ignore[arg-type]

    monkeypatch.setattr(ExportFilter, "__init__", open_door)
    async with alliance(tmp_path) as both:
        await plant(both)
        await mark(both)
        places = await found(both, "")
        assert "frames of the carrier" in places, (
            "the sender's checks are gone, or this proves nothing"
        )
        assert not [one for one in places if "holds" in one]
        codes = {*both.at_hub().denied, *both.at_site().denied}
        assert {"import:agreement-denied", "import:agreement-aggregation"} <= codes
        assert both.at_hub().connected
