"""What may cross between two stores, from the same table: export roots and relative scopes (DESIGN section 6, R61).

A site exports its summary and what concerns one peer; a global tier exports one site's outbox. Either side knows
both lists and checks each key against them by itself, so each end alone is sufficient (G8).

Nothing is listed here twice: a family whose ``crosses`` begins with ``up`` or ``down`` crosses. Where its pattern has
a pair ``<literal>/{peer}`` (``outbox/{site}/``, ``summary/peers/{peer}/``), the pair says for whom it is and stays at
home; what is before and behind it is the relative key under which the fact travels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from isthmus.contract.families import FAMILIES
from isthmus.contract.family import Family, Tier
from isthmus.policy.keys import ROOT, check_segment

ADDRESSEES = ("peer", "site")
"""Variables that name the store a fact is meant for."""
UP, DOWN = "up", "down"
_DIRECTIONS = {Tier.SITE: (UP,), Tier.GLOBAL: (DOWN, UP)}
"""A tier speaks down to its sites, and up (or sideways) to a peer for which it stands as a site does."""


@dataclass(frozen=True, slots=True)
class ExportRoot:
    """Keys below ``source`` (absolute prefix or exact key) cross as ``relative`` + what follows ``source``."""

    source: str
    relative: str
    raw: bool = False
    """A prefix whatever it ends in: of a store that is not ours."""

    @property
    def is_prefix(self) -> bool:
        """Else exactly one key."""
        return self.raw or self.source.endswith("/")


def crosses(family: Family) -> bool:
    """Does the family leave the stores of its tier?"""
    return direction(family) in _DIRECTIONS[family.tier]


def direction(family: Family) -> str:
    """``up``, ``down``, or what the table says instead."""
    return family.crosses.partition(",")[0]


def relative_pattern(family: Family) -> str:
    """The pattern under which a family that crosses travels: ``summary/peers/{peer}/wires/{wire}`` as
    ``summary/wires/{wire}``."""
    head, rest = _addressed(family)
    return head + rest


def exports(families: Iterable[Family], peer: str, way: str = "") -> tuple[ExportRoot, ...]:
    """What a store with these ``families`` sends to ``peer``, in the order of the table, each root once; ``way`` leaves
    only what goes up, or down."""
    roots: dict[ExportRoot, None] = {}
    for family in _crossing(families, way):
        head, rest = _addressed(family)
        if head + rest == family.pattern:  # for everybody: exactly this family
            open_end = _closed_part(family.pattern)
            roots[ExportRoot(ROOT + open_end, open_end)] = None
        else:
            own = family.pattern[: len(family.pattern) - len(rest)]
            addressee = own.rstrip("/").rpartition("/")[0] + f"/{check_segment(peer)}/"
            roots[ExportRoot(ROOT + addressee, head)] = None
    return tuple(roots)


def accepted(families: Iterable[Family], way: str = "") -> tuple[str, ...]:
    """Relative keys and prefixes that the other side takes from a store with these ``families``."""
    found = {_closed_part(relative_pattern(family)): None for family in _crossing(families, way)}
    return tuple(found)


def _crossing(families: Iterable[Family], way: str) -> Iterable[Family]:
    return (one for one in families if crosses(one) and way in ("", direction(one)))


def crossing(source: Tier, relative: str, way: str = "") -> Family | None:
    """The family that travels from a store of ``source`` as ``relative``, None when nothing does."""
    given = relative.split("/")
    for family in _crossing(FAMILIES[source], way):
        wanted = relative_pattern(family).split("/")
        if len(wanted) == len(given) and all(
            want == got or want.startswith("{") for want, got in zip(wanted, given, strict=True)
        ):
            return family
    return None


def _addressed(family: Family) -> tuple[str, str]:
    """What is before ``<literal>/{addressee}/`` and what is behind it; the whole pattern when there is no such pair."""
    parts = family.pattern.split("/")
    for index, part in enumerate(parts):
        if part.strip("{}") in ADDRESSEES and part.startswith("{"):
            before = "".join(f"{literal}/" for literal in parts[: index - 1])
            return before, "/".join(parts[index + 1 :])
    return family.pattern, ""


def _closed_part(pattern: str) -> str:
    """The pattern up to its first variable: an exact key, or a prefix that ends in ``/``."""
    return pattern.partition("{")[0]


def site_exports(peer: str) -> tuple[ExportRoot, ...]:
    """What a site sends to ``peer`` (the tier above it)."""
    check_segment(peer)
    return exports(FAMILIES[Tier.SITE], peer)


def tier_exports(site: str) -> tuple[ExportRoot, ...]:
    """What the global tier sends to ``site``."""
    check_segment(site)
    return exports(FAMILIES[Tier.GLOBAL], site, DOWN)


def representative_exports(peer: str) -> tuple[ExportRoot, ...]:
    """What a tier that stands for its sites sends to ``peer`` above or beside it: the roots of a site."""
    check_segment(peer)
    return exports(FAMILIES[Tier.GLOBAL], peer, UP)


SITE_TO_TIER: tuple[str, ...] = accepted(FAMILIES[Tier.SITE])
"""Relative keys and prefixes that a tier accepts from a site."""

TIER_TO_SITE: tuple[str, ...] = accepted(FAMILIES[Tier.GLOBAL], DOWN)
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
