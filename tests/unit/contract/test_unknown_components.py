"""Roles for names that nobody has: refused in one clear sentence, at the place where the mistake is made."""

from __future__ import annotations

import pytest

from isthmus.contract.errors import ComponentUnknown
from isthmus.contract.families import GLOBAL_COMPONENTS, HOST_COMPONENTS, SITE_COMPONENTS
from isthmus.contract.family import Tier
from isthmus.contract.roles import Access, guest_role, role, shadow_role

SITE_NAMES = (
    *SITE_COMPONENTS,
    *(f"{name}.h1" for name in HOST_COMPONENTS),
    "ems-acme",
    "admin",
)
GLOBAL_NAMES = (*GLOBAL_COMPONENTS, "region.north", "admin")


@pytest.mark.parametrize(
    ("tier", "name"),
    [
        (Tier.SITE, "anything"),
        (Tier.SITE, "plcaer"),
        (Tier.SITE, "launcher"),
        (Tier.SITE, "launcher."),
        (Tier.SITE, "launcher.h1/../h2"),
        (Tier.SITE, "wiring"),
        (Tier.SITE, "region.north"),
        (Tier.SITE, "{component}"),
        (Tier.SITE, ""),
        (Tier.GLOBAL, "federation"),
        (Tier.GLOBAL, "launcher.h1"),
        (Tier.GLOBAL, "ems-acme"),
    ],
)
def test_a_name_that_is_none_is_refused_with_those_that_are(tier: Tier, name: str) -> None:
    """Why: the families that everybody has (leases, events) made a role for any misspelt name: a user that leads
    a role nobody has, and waits for rights that never come."""
    with pytest.raises(ComponentUnknown) as refused:
        role(tier, name)
    assert repr(name) in str(refused.value)
    assert "there are: api, intake, placer" in str(refused.value)
    with pytest.raises(ComponentUnknown):
        shadow_role(tier, name)


@pytest.mark.parametrize(
    ("tier", "name"),
    [
        *((Tier.SITE, name) for name in SITE_NAMES),
        *((Tier.GLOBAL, name) for name in GLOBAL_NAMES),
    ],
)
def test_every_component_of_the_table_has_a_role(tier: Tier, name: str) -> None:
    """Why: a refusal that is too strict would keep a site from starting."""
    found = role(tier, name)
    assert found.name == name
    assert found.grants
    with pytest.raises(ComponentUnknown, match="give a guest another name"):
        guest_role(tier, name)


def test_a_guest_writes_below_its_own_name_and_reads_nothing_else() -> None:
    """Why: a microcontroller of another maker is run by our runtime; that takes a lease and events, and no more."""
    found = guest_role(Tier.SITE, "billing")
    assert {grant.target for grant in found.grants} == {
        "/isthmus/v1/events/billing/",
        "/isthmus/v1/explain/billing/",
        "/isthmus/v1/leases/billing",
    }
    assert {grant.access for grant in found.grants} == {Access.READ_WRITE}
    assert not found.root


def test_a_long_name_makes_no_long_message() -> None:
    """Why: the name may come from a certificate or a command line; the message goes into logs."""
    with pytest.raises(ComponentUnknown) as refused:
        role(Tier.SITE, "x" * 10_000)
    assert len(str(refused.value)) < 600
