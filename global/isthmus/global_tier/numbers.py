"""Which VXLAN network identifiers a tier gives to its own wires (pure).

Wires of several tiers end on the same hosts: a peer's beside the tier's own. A number says which wire a packet is of,
so no two tiers that share hosts may give the same one; each has a range of its own, and refuses what is not outside.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

FIRST_VNI = 1000
"""Numbers below are left to whoever set up wires by hand before us."""
LAST_VNI = 2**24 - 1


@dataclass(frozen=True, slots=True)
class Numbers:
    """``first`` to ``last``, both included."""

    first: int = FIRST_VNI
    last: int = LAST_VNI

    def __contains__(self, number: int) -> bool:
        return self.first <= number <= self.last

    def __str__(self) -> str:
        return f"{self.first} to {self.last}"

    def free(self, taken: Container[int]) -> int | None:
        """The lowest that is not taken."""
        return next((n for n in range(self.first, self.last + 1) if n not in taken), None)


ALL_NUMBERS = Numbers()
"""Of a tier that nobody asks."""
