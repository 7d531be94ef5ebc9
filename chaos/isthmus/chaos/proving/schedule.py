"""What is done to the lab and when: a pure function of the seed, so that a run can be asked for again (issue 5).

Kinds are dealt like cards: each comes once before any comes twice, so a short run tries many. Two faults may overlap
when they touch different things; a link is never disturbed while one of its ends is frozen, for toxiproxy loses bytes
when a toxic is taken off a receiver that does not read (measured; Shopify/toxiproxy 558).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from isthmus.failpoint import FAILPOINTS

SITES = ("milan", "paris", "zurich")
GLOBAL = "global"
RESTORED = "zurich"
"""The only store that is taken back to an older snapshot: nobody asks it for chains of its own, so that every
acknowledged intent can be repaired from the tier above."""

LINK_KINDS = (
    "silent", "silent-up", "silent-down", "lossy", "reset", "late", "jittery", "throttled",
    "sliced", "slow-close", "stalls", "forgotten", "revoked",
)  # fmt: skip
FORGOTTEN = "forgotten"
"""Silence until the tier may not believe any more what it knows of the site (G12)."""
FORGOTTEN_S = 15.0
"""So long a site's word is believed."""
REVOKED = "revoked"
REVOKED_S = 5.0
"""Within this time a right that ended has ended (G9): so long a revocation lasts at least, and a little."""
FROZEN = ("{site}.controllers", "{site}.link", "{site}.etcd", "{site}.agent.h1",
          "global.gateway", "global.controllers", "global.etcd")  # fmt: skip
KILLED = (*FROZEN, "{site}.api", "global.api")
NOT_IN_THE_LAB = ("representative.", "global_intake.segment_", "wiring.outer_")
"""Points of a tier that carries for another one: the lab's tier has none above it."""
_ABOVE = ("global_intake.", "global_placer.", "wiring.")
_BETWEEN = ("export.", "import.")


def _points(*rooms: str) -> tuple[str, ...]:
    return tuple(
        name
        for name in FAILPOINTS
        if name.startswith(rooms) and not name.startswith(NOT_IN_THE_LAB)
    )


POINTS = {
    "{site}.controllers": tuple(
        name for name in FAILPOINTS if not name.startswith((*_ABOVE, *_BETWEEN, *NOT_IN_THE_LAB))
    ),
    "global.controllers": _points("runtime.", *_ABOVE),
    "{site}.link": _points(*_BETWEEN),
    "global.gateway": _points(*_BETWEEN),
}
"""Process -> where it may kill itself: every failpoint of the table that it can come by."""
OTHER_KINDS = ("frozen", "killed", "killed-2", "failpoint", "failpoint-2", "compacted", "restored",
               "lost")  # fmt: skip
KINDS = (*LINK_KINDS, *OTHER_KINDS)
CALM = "then calm"
"""Detail of the last death of a burst: behind it links have their time to become equal."""
FIRST_S = 2.0
"""Of calm behind the baseline."""
LAST_S = 3.0
"""A fault ends so long before the run does."""


@dataclass(frozen=True, slots=True)
class Fault:
    """From ``at_s`` for ``duration_s``. ``target`` is a site (of a link), a process, a store, a chain; ``detail`` the
    figure or the failpoint."""

    at_s: float
    kind: str
    target: str
    duration_s: float
    detail: str = ""

    @property
    def links(self) -> tuple[str, ...]:
        """Sites whose link cannot work meanwhile."""
        if self.kind in LINK_KINDS:
            return (self.target,)
        tier, _, part = self.target.partition(".")
        if self.kind == "compacted" or part not in ("etcd", "link", "gateway"):
            return ()
        return SITES if tier == GLOBAL else (tier,)

    @property
    def touches(self) -> frozenset[str]:
        """What another fault must leave alone meanwhile, and for :attr:`rest_s` after it."""
        more = {self.target, *(f"link {site}" for site in self.links)}
        if self.kind in ("restored", "lost"):
            site = self.target.partition(".")[0]
            more |= {f"{site}.{part}" for part in ("etcd", "controllers", "agent.h1", "link")}
        return frozenset(more)

    @property
    def rest_s(self) -> float:
        """A link that could work again has its 5 s to become equal (G4), or nothing could be said of it."""
        return 7.0 if self.links else 1.0

    @property
    def end_s(self) -> float:
        """When it is over."""
        return self.at_s + self.duration_s


def schedule(seed: int, length_s: float, kinds: Sequence[str] = KINDS) -> list[Fault]:
    """The faults of a run of ``length_s`` seconds."""
    chance = random.Random(f"prove {seed}")
    deck: list[Fault] = []
    planned: list[Fault] = []
    at_s = FIRST_S
    while at_s < length_s - LAST_S:
        if not deck:
            deck = [_fault(kind, at_s, chance) for kind in chance.sample(kinds, len(kinds))]
        busy = frozenset().union(*(one.touches for one in planned if one.end_s + one.rest_s > at_s))
        fits = (one for one in deck if not one.touches & busy)
        fits = (one for one in fits if at_s + one.duration_s <= length_s - LAST_S)
        card = next(fits, None)
        if card is None:
            at_s += 1.0
            continue
        deck.remove(card)
        planned.append(replace(card, at_s=round(at_s, 2)))
        at_s += chance.uniform(1.0, 6.0)
    return planned


def _fault(kind: str, at_s: float, chance: random.Random) -> Fault:
    site = chance.choice(SITES)
    kind = kind.removesuffix("-2")
    lasts_s = round(chance.choice((2.0, 4.0, 7.0, 14.0)) * chance.uniform(0.7, 1.3), 2)
    if kind == FORGOTTEN:
        return Fault(at_s, kind, site, round(FORGOTTEN_S + chance.uniform(4.0, 8.0), 2))
    if kind == REVOKED:
        return Fault(at_s, kind, site, round(REVOKED_S + chance.uniform(2.0, 4.0), 2))
    if kind in LINK_KINDS:
        detail = {"late": str(chance.choice((50, 300, 900))), "throttled": "20"}.get(kind, "")
        return Fault(at_s, kind, site, lasts_s, detail)
    if kind == "frozen":
        target = chance.choice(FROZEN).format(site=site)
        return Fault(at_s, kind, target, min(lasts_s, 9.0))
    if kind == "killed":
        return Fault(at_s, kind, chance.choice(KILLED).format(site=site), 4.0)
    if kind == "failpoint":
        process = chance.choice(tuple(POINTS))
        return Fault(at_s, kind, process.format(site=site), 8.0, chance.choice(POINTS[process]))
    if kind == "compacted":
        return Fault(at_s, kind, f"{chance.choice((GLOBAL, *SITES))}.etcd", 0.5)
    if kind == "restored":
        return Fault(at_s, kind, f"{RESTORED}.etcd", 12.0)
    return Fault(at_s, kind, "milan.web", 7.0)
