"""Place one chain on the state of now, exactly, or say why not.

How the tiers call it (also ``docs/`` and the usage example):

* **A site's placer** builds a :class:`Network` whose *sites are hosts* (capacity from
  ``hosts/<host>/inventory``, in ``cpu_milli``, ``memory_mib``, ...) plus one site without capacity
  for each attachment point, joined by links of latency 0 (or the measured one) and the capacity
  of the NIC. It keeps one :class:`Usage`, calls :func:`place`, and writes what comes back; a
  :class:`Refusal` goes to ``explain/placer/...``. After a restart it rebuilds the Usage by
  ``apply`` of the plans it finds in the store.
* **The global placer** does the same with sites and WAN links, prices and headroom taken from the
  sites' summaries, for a single chain online; for many chains it calls
  :func:`isthmus.placement.batch.solve`.

Pure and deterministic: the same usage and chain give the same bytes, on every machine. ``work``
limits the labels of the exact search; beyond it the answer is the best walk found with its proved
gap, or a refusal of kind ``undecided``, never a false "impossible".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from isthmus.placement.compiled import Compiled, CompiledChain, Stage, compile_chain, contradiction
from isthmus.placement.model import ChainDemand, Placement, Refusal
from isthmus.placement.usage import Usage

DEFAULT_WORK = 20_000  # labels; a chain in a real network of 300 sites takes 0 to 500
FIRST_LABELS = 1_024  # scratch of the first try; grown eightfold while undecided


@dataclass(frozen=True)
class Found:
    """What one search said, in the kernel's terms."""

    status: int
    start: int
    steps: tuple[int, ...]
    cost: float
    bound: float
    work: int


def place(
    usage: Usage,
    chain: ChainDemand,
    *,
    work: int = DEFAULT_WORK,
    gap: float = 0.0,
    max_cost: float | None = None,
    reasons: bool = True,
    proof: bool = True,
) -> Placement | Refusal:
    """The cheapest placement of ``chain`` beside what ``usage`` holds, or why there is none.

    Nothing is reserved: call ``usage.apply(chain, placement)`` to commit. ``gap`` (share of the
    cost) lets a search stop early; ``max_cost`` refuses what would cost more; ``reasons=False``
    skips the table and the relaxations of a refusal, ``proof=False`` everything but the verdict
    that there is no place *now* (for searches that try many).
    """
    from isthmus.placement import explain

    if contradiction(chain) is not None:
        return explain.contradictory(chain)
    compiled_chain = compile_chain(usage.compiled, chain)
    found = search(usage, compiled_chain, usage.state, work=work, gap=gap)
    kernel = usage.compiled.kernel
    if found.status not in (kernel.OPTIMAL, kernel.WITHIN_GAP):
        if not proof:
            return explain.unasked(chain, found, undecided=found.status == kernel.UNDECIDED)
        return explain.refuse(usage, compiled_chain, found, work=work, reasons=reasons)
    if max_cost is not None and found.bound > max_cost:
        return explain.too_dear(usage, chain, found, max_cost)
    placement = to_placement(usage, chain, compiled_chain.stages, found)
    if not chain.backup:
        return placement
    from isthmus.placement.backup import with_backup

    return with_backup(usage, chain, placement, work=work)


def search(
    usage: Usage,
    chain: CompiledChain,
    state: Any,
    *,
    work: int = DEFAULT_WORK,
    gap: float = 0.0,
    priced: bool = False,
) -> Found:
    """Run the kernel, with more labels each time it is undecided, up to ``work``.

    ``priced``: the caller has filled ``place_cost`` itself.
    """
    compiled, kernel = usage.compiled, usage.compiled.kernel
    if not priced:
        kernel.stage_costs(
            compiled.graph,
            state,
            chain.query,
            chain.permitted,
            chain.homes,
            float(chain.demand.migration_price),
        )
    labels, spent = min(FIRST_LABELS, work), 0
    while True:
        scratch = compiled.scratch(chain.query.stages, labels)
        status, start, size, cost, bound, made = kernel.search(
            compiled.graph, state, chain.query, scratch, gap, kernel.INF
        )
        spent += int(made)
        closed = status in (kernel.OPTIMAL, kernel.NO_WALK, kernel.TOO_SLOW, kernel.NO_JOINT)
        good = status == kernel.WITHIN_GAP and cost - bound <= gap * cost * (1 + 1e-9)
        if closed or good or labels >= work:
            steps = tuple(int(s) for s in scratch.best_steps[:size])
            return Found(int(status), int(start), steps, float(cost), float(bound), spent)
        labels = min(labels * 8, work)


Hop = tuple[tuple[str, ...], tuple[str, ...]]  # link ids, sites passed
Known = dict[tuple[int, tuple[int, ...]], Hop]  # by (start, arcs)


def _hop(compiled: Compiled, known: Known, start: int, arcs: tuple[int, ...]) -> Hop:
    """The names of one hop; the same objects for all chains of a batch that take the same way."""
    if (start, arcs) not in known:
        names, links = compiled.site_names, compiled.links
        route = (names[start], *(names[compiled.head[arc]] for arc in arcs))
        known[start, arcs] = tuple(links[arc].id for arc in arcs), route
    return known[start, arcs]


def to_placement(
    usage: Usage,
    chain: ChainDemand,
    stages: tuple[Stage, ...],
    found: Found,
    known: Known | None = None,
) -> Placement:
    """Names and links per function and hop, from the steps of the kernel; cost in true prices."""
    compiled, known = usage.compiled, {} if known is None else known
    names = compiled.site_names
    sites: list[str] = []
    walked: list[Hop] = []
    at, latency, stage, began = found.start, 0, 0, 0
    begin = at
    for i, step in enumerate(found.steps):
        if step >= 0:
            at = compiled.head[step]
            latency += compiled.latency[step]
            continue
        for _ in stages[stage].members:
            walked.append(_hop(compiled, known, begin, found.steps[began:i]))
            sites.append(names[at])
            begin, began = at, i
        stage, began = stage + 1, i + 1
    walked.append(_hop(compiled, known, begin, found.steps[began:]))
    hops, routes = tuple(hop for hop, _ in walked), tuple(route for _, route in walked)
    cost = true_cost(usage, chain, tuple(sites), hops)
    bound = min(cost, found.bound)
    return Placement(chain.id, tuple(sites), hops, routes, latency, cost, bound, found.work)


def true_cost(
    usage: Usage, chain: ChainDemand, sites: tuple[str, ...], hops: tuple[tuple[str, ...], ...]
) -> float:
    """Money for the sites and links of a placement, and for functions that leave their site."""
    compiled, network = usage.compiled, usage.network
    cost = 0.0
    for function, name in zip(chain.functions, sites, strict=True):
        price = network.sites[compiled.site_index[name]].price
        cost += sum(amount * price.get(r, 0.0) for r, amount in function.demand.items())
    for bandwidth, hop in zip(chain.bandwidth_kbps, hops, strict=True):
        for link in hop:
            cost += bandwidth * compiled.links[compiled.link_index[link]].price
    if chain.current is not None:
        moved = sum(a != b for a, b in zip(chain.current, sites, strict=True))
        cost += moved * chain.migration_price
    return cost
