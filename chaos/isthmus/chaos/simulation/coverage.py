"""What a set of seeds must have hit in each world; a zero means that nothing was tried there (issue 5, point 3)."""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.chaos.simulation.carriage import TRANSITIONS
from isthmus.chaos.simulation.faults import KINDS


def expected(world: str) -> Mapping[str, tuple[str, ...]]:
    """Names by table of :class:`~isthmus.chaos.simulation.stats.Stats`."""
    kinds = tuple(kind.name for kind in KINDS.values() if not kind.worlds or world in kind.worlds)
    return {"faults": kinds, "transitions": TRANSITIONS, "failpoints": ()}
