"""Named points between two steps, where a test may kill, stop, delay or fail a life-cycle path (issue 5).

    failpoint("launcher.port_made")

Off, it is one comparison with None. It is honoured only where somebody armed it: a simulation by :func:`arm` (its
hook hears every name that is reached), a real process by ``ISTHMUS_FAILPOINTS`` (see :mod:`isthmus.failpoint.orders`).
Every name is declared with a sentence in :mod:`isthmus.failpoint.table`. The idea: etcd's gofail.
"""

from isthmus.failpoint.hook import Hook, afailpoint, arm, armed, disarm, failpoint
from isthmus.failpoint.orders import (
    VARIABLE,
    FailpointError,
    FailpointRefused,
    Order,
    Orders,
    arm_from_environment,
    parse,
)
from isthmus.failpoint.table import FAILPOINTS

__all__ = [
    "FAILPOINTS",
    "VARIABLE",
    "FailpointError",
    "FailpointRefused",
    "Hook",
    "Order",
    "Orders",
    "afailpoint",
    "arm",
    "arm_from_environment",
    "armed",
    "disarm",
    "failpoint",
    "parse",
]

arm_from_environment()
