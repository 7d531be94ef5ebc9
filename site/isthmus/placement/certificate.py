"""Data behind a refusal that a separate checker can verify without trusting the search."""

from __future__ import annotations

from isthmus.placement.model import ChainDemand, Constraint
from isthmus.placement.usage import Usage


def make(usage: Usage, chain: ChainDemand, constraint: Constraint) -> dict[str, object]:
    """The certificate for a proved refusal."""
    return {"kind": constraint}
