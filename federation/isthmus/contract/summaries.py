"""Which field of which family is a summary, of what, by which rule: data beside the table of families (DESIGN 6).

The summarizer tells by these rules, ``isthmus federation explain-summary`` shows them, and an export agreement that
says "only totals" is held against them. A changed rule is a changed contract with every reader above: it is reviewed.

Totals that move only when somebody builds or breaks something have no band: they are told at once and exactly. What
chains come and go with has one of two in a hundred: a tier that places by headroom is refused by the site itself
in the rare case that the last two in a hundred matter, and asks elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.contract.families_global import G_REMOTE, G_SITE_SUMMARY
from isthmus.contract.families_site import (
    EXPLAIN,
    INVENTORY,
    PLANS,
    SITE_SUMMARY,
    SPECS,
    STATUS,
)
from isthmus.contract.family import Family
from isthmus.contract.figures import Kind, SummaryRule


@dataclass(frozen=True, slots=True)
class Summarized:
    """``field`` of the body of ``family`` sums up ``sources`` by ``rule``; ``of`` says what one member is."""

    family: Family
    field: str
    sources: tuple[Family, ...]
    of: str
    rule: SummaryRule
    unit: str = ""


FREE_SLOTS, HOTTEST, ALARMS = "free_cpu_slots", "hottest_host_permille", "alarms"
LATER = frozenset({FREE_SLOTS, HOTTEST, ALARMS})
"""Fields that a release before this one does not tell; a reader of ``totals`` does not miss them."""
_EXACT = SummaryRule(kind=Kind.SUM)
_HEADROOM = SummaryRule(kind=Kind.SUM, dead_band_share=0.02)

SUMMARIES: tuple[Summarized, ...] = (
    Summarized(
        SITE_SUMMARY, "cpu_milli_total", (INVENTORY,), "a host's cores", _EXACT, "milli-cores"
    ),
    Summarized(
        SITE_SUMMARY,
        "cpu_milli_free",
        (INVENTORY, PLANS, SPECS),
        "what local chains leave of a host's cores",
        _HEADROOM,
        "milli-cores",
    ),
    Summarized(SITE_SUMMARY, "memory_mib_total", (INVENTORY,), "a host's memory", _EXACT, "MiB"),
    Summarized(
        SITE_SUMMARY,
        "memory_mib_free",
        (INVENTORY, PLANS, SPECS),
        "what local chains leave of a host's memory",
        _HEADROOM,
        "MiB",
    ),
    Summarized(
        SITE_SUMMARY,
        "largest_free_cpu_milli",
        (INVENTORY, PLANS, SPECS),
        "what local chains leave of a host's cores; a told slot always fits on a real host",
        SummaryRule(kind=Kind.FREE_SLOT, unit=(1.0,), dead_band_share=0.02),
        "milli-cores",
    ),
    Summarized(
        SITE_SUMMARY,
        FREE_SLOTS,
        (INVENTORY, PLANS, SPECS),
        "what local chains leave of a host's cores: hosts by size of their free slot",
        SummaryRule(
            kind=Kind.HISTOGRAM,
            edges=(249, 499, 999, 1999, 3999, 7999, 15999),
            dead_band_share=0.05,
        ),
        "hosts by milli-cores",
    ),
    Summarized(
        SITE_SUMMARY,
        HOTTEST,
        (INVENTORY, PLANS, SPECS),
        "what chains hold of a host's cores, whoever asked for them",
        SummaryRule(kind=Kind.MAX, dead_band=20),
        "permille",
    ),
    Summarized(
        SITE_SUMMARY,
        ALARMS,
        (INVENTORY, STATUS, SPECS, EXPLAIN),
        "an alarm: 1000 for a warning, 3000 for an error, and how many in a thousand it is about",
        SummaryRule(kind=Kind.TOP_K, k=5, dead_band=10),
    ),
    Summarized(SITE_SUMMARY, "hosts_up", (INVENTORY,), "a host that carries packets", _EXACT),
    Summarized(
        SITE_SUMMARY,
        "chains",
        (SPECS,),
        "an accepted chain",
        SummaryRule(kind=Kind.SUM, dead_band_share=0.01),
    ),
    Summarized(SITE_SUMMARY, "chains_held", (EXPLAIN,), "a deletion that the brake holds", _EXACT),
    Summarized(
        SITE_SUMMARY,
        "price_milli",
        (),
        "the operator's price of a core",
        SummaryRule(kind=Kind.LAST),
        "thousandths",
    ),
)

TIER_SUMMARIES: tuple[Summarized, ...] = tuple(
    Summarized(
        G_SITE_SUMMARY,
        one.field,
        (G_REMOTE,),
        "what a site told, with its bound",
        one.rule,
        one.unit,
    )
    for one in SUMMARIES
)
"""Of a tier that stands for its sites: the same rules over what they told. Bounds add up, each level adds its own band;
the price is the mean of the sites' prices by their cores."""


def floors(rule: SummaryRule) -> tuple[int, ...]:
    """The least that is in each bin of a histogram of whole numbers."""
    return (0, *(int(edge) + 1 for edge in rule.edges))


def rules_of(family: Family) -> dict[str, Summarized]:
    """The summaries in the body of ``family`` by their field; empty when it holds none."""
    return {one.field: one for one in (*SUMMARIES, *TIER_SUMMARIES) if one.family is family}
