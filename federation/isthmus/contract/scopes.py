"""What may cross between two stores, from the same table: export roots and relative scopes (DESIGN section 6, R61).

A site exports its summary and what concerns one peer; a global tier exports one site's outbox. Either side knows
both lists and checks each key against them by itself, so each end alone is sufficient (G8).
"""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.policy.keys import ROOT, check_segment


@dataclass(frozen=True, slots=True)
class ExportRoot:
    """Keys below ``source`` (absolute prefix or exact key) cross as ``relative`` + what follows ``source``."""

    source: str
    relative: str


def site_exports(peer: str) -> tuple[ExportRoot, ...]:
    """What a site sends to ``peer`` (the tier above it)."""
    check_segment(peer)
    return (
        ExportRoot(f"{ROOT}summary/site", "summary/site"),
        ExportRoot(f"{ROOT}summary/peers/{peer}/", "summary/"),
    )


def tier_exports(site: str) -> tuple[ExportRoot, ...]:
    """What the global tier sends to ``site``."""
    check_segment(site)
    return (ExportRoot(f"{ROOT}outbox/{site}/", ""),)


SITE_TO_TIER: tuple[str, ...] = (
    "summary/site",
    "summary/chains/",
    "summary/wires/",
)
"""Relative keys and prefixes that a tier accepts from a site."""

TIER_TO_SITE: tuple[str, ...] = ("intents/", "wires/")
"""Relative keys and prefixes that a site accepts from its tier."""


def import_root(peer: str) -> str:
    """Where everything from ``peer`` lands, and nothing else may."""
    return f"{ROOT}remote/{check_segment(peer)}/"


def site_summary_key(site: str) -> str:
    """Where the global tier finds the summary of ``site``."""
    return f"{import_root(site)}summary/site"


def site_chain_prefix(site: str) -> str:
    """Where the global tier finds ``<tenant>/<chain>`` statuses reported by ``site``."""
    return f"{import_root(site)}summary/chains/"


def site_wire_prefix(site: str) -> str:
    """Where the global tier finds the wire ends reported by ``site``."""
    return f"{import_root(site)}summary/wires/"
