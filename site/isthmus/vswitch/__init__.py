"""The manager's own patch panel on one NFV node: cords, wires, splits and fence gates.

Chaining is the manager's work, not the infrastructure's (DESIGN section 5, R15); this package is
the same on every kind of node: a Linux host, a VM in a cloud, a pod.
"""

from isthmus.vswitch.commands import NETNS_DIR, Node
from isthmus.vswitch.errors import (
    CommandFailed,
    CommandTimedOut,
    DeviceMissing,
    InvalidPanel,
    NodeGone,
    StaleEpoch,
    VSwitchError,
)
from isthmus.vswitch.gate import Gate, GateState
from isthmus.vswitch.model import Cord, GateSpec, Panel, Split, WireSpec, wire_device
from isthmus.vswitch.naming import MARK, device_name
from isthmus.vswitch.observed import Counters
from isthmus.vswitch.panel import CordState, PatchPanel, Report, WireState

__all__ = [
    "MARK",
    "NETNS_DIR",
    "CommandFailed",
    "CommandTimedOut",
    "Cord",
    "CordState",
    "Counters",
    "DeviceMissing",
    "Gate",
    "GateSpec",
    "GateState",
    "InvalidPanel",
    "Node",
    "NodeGone",
    "Panel",
    "PatchPanel",
    "Report",
    "Split",
    "StaleEpoch",
    "VSwitchError",
    "WireSpec",
    "WireState",
    "device_name",
    "wire_device",
]
