"""Reasons for every chain that a batch left out, cheaply for many at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from isthmus.placement import relax
from isthmus.placement.model import ChainDemand, Placement, Refusal
from isthmus.placement.online import place
from isthmus.placement.usage import Usage

WORK = 5_000  # labels for the verdict on one chain
RELAX_WORK = 500  # labels for each try of a relaxation: advice, not a verdict


def explain_refused(
    usage: Usage,
    waiting: Sequence[ChainDemand],
    *,
    relaxations: int,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[dict[str, Placement], dict[str, Refusal]]:
    """(chains that do fit after all and pay, now reserved in ``usage``; the others' refusals).

    ``stop`` ends the search for relaxations (never the reasons) when time is up.
    """
    placed: dict[str, Placement] = {}
    left = list(waiting)
    while True:
        refused: dict[str, Refusal] = {}
        before = len(placed)
        for chain in left:
            answer = place(usage, chain, work=WORK, max_cost=chain.value, reasons=False)
            if isinstance(answer, Placement) and answer.cost <= chain.value:
                usage.apply(chain, answer)
                placed[chain.id] = answer
            else:
                refused[chain.id] = _refusal(usage, chain, answer)
        left = [chain for chain in left if chain.id in refused]
        if len(placed) == before:
            break
    for chain in left[:relaxations]:
        if stop():
            break
        found = relax.relaxations(usage, chain, work=RELAX_WORK)
        refused[chain.id] = replace(refused[chain.id], relaxations=found)
    return placed, refused


def _refusal(usage: Usage, chain: ChainDemand, answer: Placement | Refusal) -> Refusal:
    if isinstance(answer, Refusal):
        return answer
    text = f"price: the cheapest place costs {answer.cost:.6g} > worth {chain.value:.6g}"
    numbers = {"least_cost": answer.cost, "limit": chain.value}
    proof = {"proof": "price", "limit": chain.value}
    return Refusal(
        chain.id,
        "residual",
        "price",
        text,
        numbers,
        certificate=proof,
        snapshot=usage.snapshot(),
    )
