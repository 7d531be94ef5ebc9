"""The placement engine's answers as explanations that a tier stores (``isthmus explain``). Pure."""

from __future__ import annotations

from isthmus.contract.chain import Candidate, Explanation
from isthmus.global_tier.orders import Order
from isthmus.placement import Placement, Refusal


def where(spec: Order, answer: Placement) -> str:
    """Each function and its site."""
    return ", ".join(
        f"{function.name} at {site}"
        for function, site in zip(spec.functions, answer.sites, strict=True)
    )


def accepted(spec: Order, answer: Placement, second: Placement | None, newest: int) -> Explanation:
    """``newest``: of what was decided on; of the mirrors' lowest, a reader would say that it is of an older request."""
    return Explanation(
        decision="accepted",
        reason=where(spec, answer),
        candidates=()
        if second is None
        else (Candidate.runner_up(second.sites, second.cost, second.cost - answer.cost),),
        input_revision=newest,
        figures={
            "cost": round(answer.cost, 6),
            "latency_ms": answer.latency_us / 1000,
            "latency_budget_ms": spec.latency_budget_ms,
            "lower_bound": round(answer.lower_bound, 6),
        },
    )


def refused(refusal: Refusal) -> Explanation:
    """Why there is no place, and what would make one."""
    nearest = refusal.nearest
    return Explanation(
        decision="refused",
        constraint=refusal.constraint,
        reason=refusal.text,
        candidates=tuple(Candidate(name=c.site, verdict=c.verdict) for c in refusal.candidates[:5]),
        nearest_relaxation=nearest.text if nearest is not None else "",
        input_hash=refusal.snapshot[:64],
        figures={key: float(value) for key, value in list(refusal.numbers.items())[:8]},
    )
