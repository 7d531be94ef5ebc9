"""What can go wrong in the placement engine, as one tree.

::

    PlacementError
    ├── InvalidProblem      a field of a site, link, chain or file is wrong (names field, value, fix)
    ├── UnknownReference    a chain or an answer names a site or link that the network lacks
    ├── CapacityExceeded    an apply would overbook a site or a link (the state is left untouched)
    └── VerificationFailed  an answer broke a constraint; never leaves the engine

None is worth a retry with the same input. That a chain does not fit is *not* an error: it is an
answer (:class:`isthmus.placement.model.Refusal`).
"""

from __future__ import annotations


class PlacementError(Exception):
    """Root of the tree; the text is one sentence that a user can act on."""


class InvalidProblem(PlacementError):
    """A field is malformed; ``field`` says where, ``value`` what stood there, ``fix`` what to do."""

    def __init__(self, field: str, value: object, fix: str) -> None:
        self.field, self.value, self.fix = field, value, fix
        shown = repr(value)
        super().__init__(f"{field}: {shown[:80]}{'...' if len(shown) > 80 else ''}: {fix}")


class UnknownReference(InvalidProblem):
    """A name that the network does not have."""


class CapacityExceeded(PlacementError):
    """Reserving this placement would take more than is free; nothing was reserved."""


class VerificationFailed(PlacementError):
    """The separate verifier found a broken constraint; ``violations`` lists each in one sentence."""

    def __init__(self, violations: tuple[str, ...]) -> None:
        self.violations = violations
        super().__init__("; ".join(violations[:5]))
