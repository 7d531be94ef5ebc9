"""The kinds of faults, each a few lines: whom it can hit, how it begins, how it ends (issue 5, point 1).

A kind is registered with :func:`fault_kind`; docs/proving.md shows how a newcomer adds one. ``begin`` says whether
there was anything to hit: ``simulate --stats`` counts hits, not wishes, and a kind that never hits fails the CI's set.
The order in which the rooms register decides what a seed draws.
"""

from isthmus.chaos.simulation import fault_links, fault_machines, fault_partners
from isthmus.chaos.simulation.fault_base import KINDS, FaultKind, draw, fault_kind
from isthmus.chaos.simulation.fault_links import DISHONEST

__all__ = [
    "DISHONEST",
    "KINDS",
    "FaultKind",
    "draw",
    "fault_kind",
    "fault_links",
    "fault_machines",
    "fault_partners",
]
