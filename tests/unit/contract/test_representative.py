"""A tier that stands for its sites is, on the link, exactly a site: same roots, same scopes, nothing more."""

from __future__ import annotations

import pytest

from isthmus.contract.errors import KeyUnknown
from isthmus.contract.families import FAMILIES, G_SITE_SUMMARY, SITE_SUMMARY
from isthmus.contract.family import Tier
from isthmus.contract.ids import tier_mark, wire_id
from isthmus.contract.registry import family_at
from isthmus.contract.roles import role
from isthmus.contract.scopes import (
    DOWN,
    SITE_TO_TIER,
    TIER_TO_SITE,
    UP,
    accepted,
    representative_exports,
    site_exports,
    tier_exports,
)
from isthmus.contract.summaries import rules_of
from isthmus.policy.errors import KeyRefused
from isthmus.policy.keys import ROOT


def test_towards_a_peer_a_tier_has_the_roots_and_scopes_of_a_site() -> None:
    """Why: then the peer needs to know nothing of levels, and the dialler of a site serves a tier unchanged."""
    assert representative_exports("global") == site_exports("global")
    assert accepted(FAMILIES[Tier.GLOBAL], UP) == SITE_TO_TIER
    with pytest.raises(KeyRefused):
        representative_exports("../global")


def test_what_goes_up_never_goes_down() -> None:
    """Why: a site that got its region's summary or statuses would learn of its neighbours (R61)."""
    assert [root.source for root in tier_exports("paris")] == [f"{ROOT}outbox/paris/"]
    assert accepted(FAMILIES[Tier.GLOBAL], DOWN) == TIER_TO_SITE
    assert not set(SITE_TO_TIER) & set(TIER_TO_SITE)


def test_a_tier_knows_what_arrives_from_a_site_and_from_a_peer_that_asks_it() -> None:
    """Why: conformance, backup and dashboard look up the model of every key; a site hears no summaries."""
    assert family_at(Tier.GLOBAL, f"{ROOT}remote/above/intents/t/c").name == "outbox-intents"
    assert family_at(Tier.GLOBAL, f"{ROOT}remote/above/wires/w").name == "outbox-wires"
    assert family_at(Tier.GLOBAL, f"{ROOT}remote/paris/summary/site") is SITE_SUMMARY
    with pytest.raises(KeyUnknown):
        family_at(Tier.SITE, f"{ROOT}remote/global/summary/site")


def test_the_representative_writes_its_summaries_and_nothing_else() -> None:
    """Why: it reads what every site says; a fault in it must not reach what they are asked."""
    told = role(Tier.GLOBAL, "representative")
    writes = {grant.target for grant in told.grants if grant.access != "read"}
    assert writes == {
        f"{ROOT}summary/site",
        f"{ROOT}summary/peers/",
        f"{ROOT}leases/representative",
        f"{ROOT}events/representative/",
        f"{ROOT}explain/representative/",
    }


def test_the_rules_of_a_tier_are_those_of_a_site() -> None:
    """Why: bounds add up only where both levels mean the same by a figure."""
    assert {k: one.rule for k, one in rules_of(G_SITE_SUMMARY).items()} == {
        k: one.rule for k, one in rules_of(SITE_SUMMARY).items()
    }


def test_names_of_two_tiers_never_meet() -> None:
    """Why: both count epochs of their own, and wires of both end on one host of a site."""
    assert wire_id("t", "c", 7, 0) != wire_id("t", "c", 7, 0, "europe")
    assert wire_id("t", "c", 7, 0, "asia") != wire_id("t", "c", 7, 0, "europe")
    assert len({tier_mark(tier, tenant) for tier in ("europe", "asia") for tenant in "ab"}) == 4
