"""What a microcontroller's reconcile may raise, and what the runtime makes of it.

    MicrocontrollerError
    |-- Later          not yet: come back after ``after_s`` (no failure, no back-off)
    `-- NotLeader      another life leads this role; nothing was written

StoreError leaves pass through and mean "back off and try again"; a Conflict is no more than a lost race, and the change
that won it brings the item back at once by itself.
"""

from __future__ import annotations


class MicrocontrollerError(Exception):
    """Base of what the runtime understands."""


class Later(MicrocontrollerError):
    """The item cannot be settled yet; ``reason`` is shown in the health report."""

    def __init__(self, reason: str, *, after_s: float) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after_s = after_s


class NotLeader(MicrocontrollerError):
    """The leader's key is no longer ours: the write was refused by the store."""
