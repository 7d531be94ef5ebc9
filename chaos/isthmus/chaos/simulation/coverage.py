"""What a set of seeds must have hit in each world; a zero means that nothing was tried there (issue 5, point 3)."""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.chaos.simulation.carriage import TRANSITIONS
from isthmus.chaos.simulation.faults import KINDS
from isthmus.chaos.simulation.worlds import WORLDS
from isthmus.failpoint import FAILPOINTS

PARTNERS = ("exporter.follow", "importer.follow", "link.greeted", "link.revoked", "link.expired")
ABOVE = ("representative.", "global_intake.segment_", "wiring.outer_")
"""Points of a tier that stands for a site towards another tier: the carrier has none above it."""


def _points(world: str) -> tuple[str, ...]:
    """The failpoints that a world walks through; the tests of deaths kill at each point of their own paths besides."""
    if world == "links":
        return tuple(name for name in FAILPOINTS if name.startswith(("export.", "import.")))
    return tuple(name for name in FAILPOINTS if not name.startswith(ABOVE))


def expected(world: str) -> Mapping[str, tuple[str, ...]]:
    """Names by table of :class:`~isthmus.chaos.simulation.stats.Stats`."""
    made = WORLDS[world]()
    targets = made.targets()
    kinds = tuple(
        kind.name
        for kind in KINDS.values()
        if (not kind.worlds or world in kind.worlds) and targets.get(kind.hits)
    )
    few = (
        world == "partners"
    )  # what its faults need of the protocol; all of it is the links' to walk
    return {
        "faults": kinds,
        "transitions": PARTNERS if few else TRANSITIONS,
        "failpoints": () if few else _points(world),
        "judged": tuple(made.promises),
    }
