"""The answer file: ``isthmus.placement.solution/1``, from a solution of the batch solver."""

from __future__ import annotations

from typing import Any

from isthmus.placement.batch import Solution
from isthmus.placement.model import Placement, Refusal, Relaxation

SCHEMA = "isthmus.placement.solution/1"


def dump(solution: Solution, *, name: str = "") -> dict[str, Any]:
    """The file's document. Rejected chains say why, with data that a checker can verify."""
    return {
        "schema": SCHEMA,
        "name": name,
        "objective": solution.objective,
        "upper_bound": solution.upper_bound,
        "gap_percent": solution.gap_percent,
        "work": solution.work,
        "seed": solution.seed,
        "solver": solution.solver,
        "snapshot": solution.usage.snapshot(),
        "chains": {c: placement_row(p) for c, p in sorted(solution.placements.items())},
        "rejected": {c: refusal_row(r) for c, r in sorted(solution.refusals.items())},
    }


def placement_row(placement: Placement) -> dict[str, Any]:
    """Sites of the functions and link ids of each hop."""
    row: dict[str, Any] = {
        "sites": list(placement.sites),
        "paths": [list(hop) for hop in placement.hops],
    }
    if placement.backup is not None:
        row["backup"] = placement_row(placement.backup)
    return row


def refusal_row(refusal: Refusal) -> dict[str, Any]:
    """Reason, certificate and the nearest relaxation of one refused chain."""
    certificate = {
        "kind": refusal.kind,
        "constraint": refusal.constraint,
        "numbers": dict(refusal.numbers),
        "snapshot": refusal.snapshot,
        **refusal.certificate,
    }
    row: dict[str, Any] = {
        "reason": refusal.text,
        "certificate": certificate,
        "relaxation": relaxation_row(refusal.nearest),
    }
    if refusal.candidates:
        row["candidates"] = {c.site: c.verdict for c in refusal.candidates}
    if len(refusal.relaxations) > 1:
        row["relaxations"] = [relaxation_row(r) for r in refusal.relaxations]
    return row


def relaxation_row(relaxation: Relaxation | None) -> dict[str, Any] | None:
    """A relaxation as data, or None where none was sought or found."""
    if relaxation is None:
        return None
    return {
        "kind": relaxation.kind,
        "text": relaxation.text,
        "least": relaxation.least,
        "changes": [
            {"what": c.what, "amount": c.amount, "unit": c.unit} for c in relaxation.changes
        ],
    }
