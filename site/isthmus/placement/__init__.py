"""The placement engine: one for hosts in a site and for sites in the world (DESIGN section 3).

Pure: no I/O, no clock. Start with :mod:`isthmus.placement.online`, which tells how the tiers call
it. ``model`` holds the words, ``kernel`` the search, ``verify`` the separate judge.
"""

from isthmus.placement.errors import (
    CapacityExceeded,
    InvalidProblem,
    PlacementError,
    UnknownReference,
    VerificationFailed,
)
from isthmus.placement.explain import runner_up, why
from isthmus.placement.model import (
    Candidate,
    ChainDemand,
    Change,
    Function,
    Link,
    Network,
    Placement,
    Refusal,
    Relaxation,
    Site,
    chain,
)
from isthmus.placement.online import place
from isthmus.placement.usage import Usage
from isthmus.placement.verify import check, objective, violations

__all__ = [
    "Candidate",
    "CapacityExceeded",
    "ChainDemand",
    "Change",
    "Function",
    "InvalidProblem",
    "Link",
    "Network",
    "Placement",
    "PlacementError",
    "Refusal",
    "Relaxation",
    "Site",
    "UnknownReference",
    "Usage",
    "VerificationFailed",
    "chain",
    "check",
    "objective",
    "place",
    "runner_up",
    "violations",
    "why",
]
