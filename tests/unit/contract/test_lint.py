"""The table of families is sound, and each rule that says so catches the mistake it is there for (issue 4, point 4)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from isthmus.contract.chain import ChainPlan
from isthmus.contract.families import FAMILIES
from isthmus.contract.family import Family, Tier
from isthmus.contract.lint import BOUNDED_BY, COMPONENTS, RETENTIONS, known, lint

GOOD = Family(
    "extra", Tier.SITE, "extra/{host}/{instance}", "launcher.{host}", ("api",), ChainPlan, "d"
)


def rules(*planted: Family, tier: Tier = Tier.SITE) -> set[tuple[str, str]]:
    """Rule and family of what lint finds in the table with ``planted`` in it."""
    table = {**FAMILIES, tier: (*FAMILIES[tier], *planted)}
    return {(finding.rule, finding.family) for finding in lint(table)}


def test_the_table_is_sound() -> None:
    """Everything is derived from it, so a mistake here would be everywhere."""
    assert lint() == ()
    assert rules(GOOD) == set(), "a sound family must not be found fault with"


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"writer": "placer,intake"}, "one-writer"),
        ({"writer": ""}, "one-writer"),
        ({"pattern": "extra/{instance}"}, "one-writer"),
        ({"name": "plans"}, "one-writer"),
        ({"pattern": "runtime/{host}/{instance}", "writer": "chaining.{host}"}, "one-writer"),
        ({"writer": "stranger"}, "known-component"),
        ({"readers": ("stranger",)}, "known-component"),
        ({"readers": ()}, "known-component"),
        ({"readers": ("api", "api")}, "known-component"),
        ({"pattern": "{host}/extra/{instance}"}, "literal-first"),
        ({"pattern": "extra/{instance}/{host}"}, "literal-first"),
        ({"pattern": "extra/{host}/{host}"}, "grammar"),
        ({"pattern": "Extra/{host}"}, "grammar"),
        ({"pattern": "extra/{host}-{instance}"}, "grammar"),
        ({"pattern": "plans/extra", "writer": "reporter"}, "no-overlap"),
        ({"pattern": "desired/{host}", "writer": "launcher.{host}"}, "no-overlap"),
        ({"pattern": "remote/extra", "writer": "intake"}, "no-overlap"),
        ({"pattern": "events/placer/extra", "writer": "intake"}, "no-overlap"),
        ({"name": "cisco-routes"}, "no-vendor"),
        ({"pattern": "openstack/{host}"}, "no-vendor"),
        ({"pattern": "x/acme/{host}"}, "no-vendor"),
        ({"limit_bytes": 0}, "size-cap"),
        ({"limit_bytes": 65_537}, "size-cap"),
        ({"model": None}, "size-cap"),
        (
            {"pattern": "extra/{host}/" + "/".join(f"{{{name}}}" for name in list(BOUNDED_BY)[:8])},
            "size-cap",
        ),
        ({"pattern": "extra/{host}/{id}"}, "retention"),
        ({"retention": "for-ever"}, "retention"),
        ({"retention": "janitor"}, "retention"),
        ({"crosses": "down"}, "crosses"),
        ({"crosses": "sideways"}, "crosses"),
        ({"pattern": "summary/peers/{peer}/secrets/{host}", "writer": "summarizer"}, "crosses"),
    ],
)
def test_each_planted_mistake_is_found(change: dict[str, object], rule: str) -> None:
    """A rule that cannot fail guards nothing."""
    planted = replace(GOOD, **change)  # type: ignore[arg-type]
    assert rule in {found for found, _ in rules(planted)}


def test_what_a_finding_says_names_tier_family_and_rule() -> None:
    """Whoever adds a line to the table reads this, not the rule's code."""
    table = {Tier.SITE: (replace(GOOD, writer="stranger"),), Tier.GLOBAL: ()}
    (finding,) = lint(table)
    assert str(finding) == (
        "site family extra: writer 'stranger' is no component of this tier [known-component]"
    )


def test_every_family_states_its_cap_and_its_retention() -> None:
    """Bounded retention: nothing in a store grows for ever."""
    for families in FAMILIES.values():
        for family in families:
            assert family.retention in RETENTIONS
            assert set(family.variables) <= {*BOUNDED_BY, "id"}
            assert family.retention == "janitor" or "id" not in family.variables


def test_who_is_of_the_table_and_who_is_a_vendor() -> None:
    """The conformance kit judges a vendor by another list of rights."""
    assert all(known(Tier.SITE, name.replace("{host}", "h1")) for name in COMPONENTS[Tier.SITE])
    assert known(Tier.SITE, "ems-acme")
    assert known(Tier.GLOBAL, "region.eu")
    for stranger in ("acme", "launcher", "launcher.", "region", "placer.h1", "ems-"):
        assert not known(Tier.SITE, stranger), stranger
    assert not known(Tier.GLOBAL, "launcher.h1")
