"""What can go wrong on one NFV node, and what the caller may do about it.

    VSwitchError                    every failure of the patch panel, its wires and gates
    |-- NodeGone                    the node's network namespace does not exist (any more)
    |-- CommandFailed               the kernel refused a batch; ``stderr`` is its own sentence
    |-- CommandTimedOut             a tool did not answer in time and was killed; outcome unknown
    |-- DeviceMissing               a cord names a device that is not on this node
    |-- InvalidPanel                the desired state contradicts itself; nothing was issued
    `-- StaleEpoch                  a gate was asked to follow an epoch older than its own

Everything here is level-triggered: after any failure the caller observes again and asks again.
"""

from __future__ import annotations

__all__ = [
    "CommandFailed",
    "CommandTimedOut",
    "DeviceMissing",
    "InvalidPanel",
    "NodeGone",
    "StaleEpoch",
    "VSwitchError",
]


class VSwitchError(Exception):
    """Base of all failures of this package."""


class NodeGone(VSwitchError):
    """The network namespace of the node is not there."""

    def __init__(self, netns: str) -> None:
        super().__init__(f"node {netns!r} has no network namespace of that name; rebuild the node")
        self.netns = netns


class CommandFailed(VSwitchError):
    """A tool ended with an error; a batch is applied up to the line that failed."""

    def __init__(self, argv: tuple[str, ...], returncode: int, stderr: str) -> None:
        said = stderr.strip() or "it said nothing"
        super().__init__(f"{' '.join(argv)} ended with {returncode}: {said}")
        self.argv = argv
        self.returncode = returncode
        self.stderr = stderr


class CommandTimedOut(VSwitchError):
    """A tool did not end within its time and was killed."""

    def __init__(self, argv: tuple[str, ...], timeout_s: float) -> None:
        super().__init__(f"{' '.join(argv)} gave no answer within {timeout_s} s and was killed")
        self.argv = argv
        self.timeout_s = timeout_s


class DeviceMissing(VSwitchError):
    """A device that a cord needs is not on this node."""

    def __init__(self, devices: tuple[str, ...]) -> None:
        super().__init__(f"no such device on this node: {', '.join(devices)}")
        self.devices = devices


class InvalidPanel(VSwitchError):
    """The desired panel is impossible, whatever the node looks like."""


class StaleEpoch(VSwitchError):
    """The gate already follows a younger epoch."""

    def __init__(self, gate_id: str, asked: int, current: int) -> None:
        super().__init__(
            f"gate {gate_id!r}: epoch {asked} is older than {current}, which it follows"
        )
        self.gate_id = gate_id
        self.asked = asked
        self.current = current
