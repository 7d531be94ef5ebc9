"""A second placement that shares neither site nor link with the first."""

from __future__ import annotations

from dataclasses import replace

from isthmus.placement.model import ChainDemand, Placement, Refusal
from isthmus.placement.usage import Usage


def with_backup(
    usage: Usage, chain: ChainDemand, primary: Placement, *, work: int
) -> Placement | Refusal:
    """``primary`` with a disjoint backup, or a refusal."""
    from isthmus.placement.online import place

    rest = usage.copy()
    bare = replace(chain, backup=False)
    rest.apply(bare, primary)
    for hop in primary.hops:
        for link in hop:
            rest.fail_link(link)
    other = replace(
        bare, id=f"{chain.id}", forbidden_sites=chain.forbidden_sites | set(primary.sites)
    )
    found = place(rest, other, work=work, reasons=False)
    if isinstance(found, Placement):
        return replace(primary, backup=found, cost=primary.cost + found.cost)
    return Refusal(
        chain.id,
        "undecided",
        "backup",
        f"backup: no disjoint second place beside the cheapest first one ({found.text})",
        snapshot=usage.snapshot(),
    )
