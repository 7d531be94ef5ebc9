"""Re-verifies that no two places of a chain are disjoint, from the tree that the certificate is.

Each node names what the first place must do *without*. Either nothing is left then (its certificate
says so): no first place, so no pair. Or it names a *core* of sites and links beside which there is no
second place: so the first place does not use all of the core, and for each member of it there is a
node that is also without that member. The root is without nothing. Every "nothing is left" is checked
by :func:`isthmus.placement.checker.check_refusal` with these sites forbidden and links down; nothing
here is taken from the solvers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from isthmus.placement.checker import check_refusal
from isthmus.placement.model import ChainDemand, Network, Placement

Without = tuple[frozenset[str], frozenset[str]]
Accepted = tuple[tuple[ChainDemand, Placement], ...]


def check_pairs(
    network: Network,
    chain: ChainDemand,
    certificate: Mapping[str, Any],
    accepted: Accepted,
    down: frozenset[str],
) -> tuple[str, ...]:
    """What is wrong with a tree of branches; empty when it proves that there is no pair."""
    if not chain.backup:
        return (f"chain {chain.id}: asks for no backup",)
    try:
        nodes = {_without(node["without"]): node for node in certificate["nodes"]}
        cores = {w: _without(n["core"]) for w, n in nodes.items() if "core" in n}
    except (KeyError, TypeError):
        return (f"chain {chain.id}: the tree of pairs is malformed",)
    one = replace(chain, backup=False)
    flaws: list[str] = []
    todo: list[Without] = [(frozenset(), frozenset())]
    seen: set[Without] = set()
    while todo:
        here = todo.pop()
        if here in seen:
            continue
        seen.add(here)
        if here not in nodes:
            flaws.append(f"chain {chain.id}: no proof without {_names(here)}")
            continue
        closed = cores.get(here, here)
        demand = replace(one, forbidden_sites=one.forbidden_sites | closed[0])
        proof = nodes[here].get("certificate") or {}
        flaws += check_refusal(network, demand, proof, accepted, down | closed[1])
        if here in cores:
            todo += [(here[0] | {site}, here[1]) for site in closed[0]]
            todo += [(here[0], here[1] | {link}) for link in closed[1]]
    return tuple(flaws)


def _without(row: Mapping[str, Any]) -> Without:
    return frozenset(row["sites"]), frozenset(row["links"])


def _names(without: Without) -> str:
    return ", ".join(sorted(without[0] | without[1])) or "nothing"
