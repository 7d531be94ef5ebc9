"""From named, frozen objects to the flat arrays that the kernels take.

A network is compiled once; a chain once per search. Functions that must share a site and follow
each other become one *stage* (the hop between them never leaves the site, so it needs no link);
functions that must share a site across others become a ``together`` pair, decided by the search.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from isthmus.placement import accel
from isthmus.placement.errors import UnknownReference
from isthmus.placement.model import ChainDemand, Function, Network, Pair

AUTO_FAST_SITES = 40  # below, importing numba (1 s, 100 MB) costs more than it ever saves
NO_BUDGET = float(1 << 60)


@dataclass(frozen=True)
class Stage:
    """A run of functions that share a site."""

    members: tuple[int, ...]


class Compiled:
    """A network as arrays, with the kernels (compiled or plain) that go with them."""

    def __init__(self, network: Network, *, fast: bool | None = None) -> None:
        if fast is None:
            fast = len(network.sites) >= AUTO_FAST_SITES and accel.numba_available()
        self.network = network
        self.fast = fast
        self.kernel: Any = accel.kernels("kernel", not fast)
        self.arrays = accel.Arrays(not fast)
        self.resources = network.resources
        self.site_names = tuple(site.name for site in network.sites)
        self.site_index = {name: i for i, name in enumerate(self.site_names)}
        ends = self.site_index
        order = sorted(range(len(network.links)), key=lambda i: ends[network.links[i].source])
        self.links = tuple(network.links[i] for i in order)
        self.link_index = {link.id: i for i, link in enumerate(self.links)}
        self.tail = [ends[link.source] for link in self.links]
        self.head = [ends[link.target] for link in self.links]
        self.latency = [link.latency_ns for link in self.links]
        self.graph = self._graph()
        self.masks: dict[object, list[int]] = {}
        self.link_masks: dict[object, Any] = {}
        self._scratch: Any = None
        self._rows: dict[tuple[int, bool], Any] = {}
        self._permitted: dict[object, Any] = {}
        self.stage_masks: dict[tuple[int, ...], list[int]] = {}
        self._no_homes: dict[int, Any] = {}

    def _graph(self) -> Any:
        sites = len(self.site_names)
        by_head = sorted(range(len(self.links)), key=lambda arc: (self.head[arc], arc))
        ints = self.arrays.ints
        return self.kernel.Graph(
            sites,
            len(self.resources),
            ints(offsets(self.tail, sites)),
            ints(offsets(self.head, sites)),
            ints(by_head),
            ints(self.tail),
            ints(self.head),
            ints(self.latency),
        )

    def site(self, where: str, name: str) -> int:
        """Number of a site; a clear error for a name that is not there."""
        if name not in self.site_index:
            raise UnknownReference(where, name, "no such site in the network")
        return self.site_index[name]

    def scratch(self, stages: int, labels: int) -> Any:
        """Working memory for chains of at most ``stages`` stages; kept and grown."""
        kept = self._scratch
        if kept is not None and kept[0] >= stages and kept[1].limit >= labels:
            return kept[1]._replace(limit=labels)
        if kept is not None:
            stages, labels = max(stages, kept[0]), max(labels, kept[1].limit)
        cells = (stages + 1) * len(self.site_names) + stages + 2
        ints, floats = self.arrays.ints, self.arrays.floats
        heap = self.arrays.heap(max(len(self.site_names) + len(self.links), labels) + 16)
        no_cells, no_labels = [0] * cells, [0] * (labels + 1)
        made = self.kernel.Scratch(
            labels,
            floats(no_cells),
            floats(no_cells),
            floats(no_cells),
            ints(no_cells),
            *heap,
            ints(no_cells),
            ints([0] * len(self.site_names)),
            floats(no_labels),
            *(ints(no_labels) for _ in range(7)),
            ints(no_cells),
            ints(no_cells),
            ints([0] * (stages + 1)),
            ints([0] * (stages + 1)),
        )
        self._scratch = (stages, made)
        return made

    def latency_row(self, site: int, forward: bool) -> Any:
        """Least latency from a site to all (``forward``) or to it from all, on all links."""
        key = (site, forward)
        if key not in self._rows:
            row = self.arrays.floats([0.0] * len(self.site_names))
            self.kernel.latency_row(self.graph, site, forward, self.scratch(1, 1), row)
            self._rows[key] = row
        return self._rows[key]

    def reach(self, ingress: list[int], egress: list[int], budget: float) -> Any:
        """1 for each site that a walk within the budget may pass, judged by latency alone."""
        there = [self.latency_row(v, True) for v in ingress]
        back = [self.latency_row(v, False) for v in egress]
        return self.arrays.within(there, back, budget)

    def permitted(self, chain: ChainDemand, stages: tuple[Stage, ...]) -> Any:
        """Sites permitted per stage as one array; chains of one kind share it."""
        key = tuple(
            tuple(id(self.mask(chain, chain.functions[i])) for i in stage.members)
            for stage in stages
        )
        if key not in self._permitted:
            flags = (flag for stage in stages for flag in stage_mask(self, chain, stage))
            self._permitted[key] = self.arrays.ints(flags)
        return self._permitted[key]

    def no_homes(self, stages: int) -> Any:
        """The homes of a chain that has none."""
        if stages not in self._no_homes:
            self._no_homes[stages] = self.arrays.ints([0] * (stages * len(self.site_names)))
        return self._no_homes[stages]

    def mask(self, chain: ChainDemand, function: Function) -> list[int]:
        """1 for each site where policy and features permit this function, else 0."""
        lacking = frozenset(
            r for r, amount in function.demand.items() if amount and r not in self.resources
        )
        key = (
            chain.allowed_sites,
            chain.forbidden_sites,
            chain.countries,
            chain.owners,
            chain.regions,
            function.features,
            function.allowed_sites,
            lacking,
        )
        if key not in self.masks:
            self.masks[key] = [
                int(not lacking and permits(chain, function, site)) for site in self.network.sites
            ]
        return self.masks[key]

    def link_mask(self, chain: ChainDemand) -> Any:
        """1 for each link whose far end the chain's traffic may cross."""
        if chain.transit_sites is None:
            key: object = None
        else:
            key = chain.transit_sites.union(
                chain.ingress,
                chain.egress,
                chain.allowed_sites or (),
                *(f.allowed_sites or () for f in chain.functions),
            )
        if key not in self.link_masks:
            self.link_masks[key] = self.arrays.ints(
                int(key is None or self.site_names[v] in key)  # type: ignore[operator]
                for v in self.head
            )
        return self.link_masks[key]


def offsets(ends: list[int], sites: int) -> list[int]:
    """Where the arcs of each site begin in a list sorted by ``ends``."""
    counts = [0] * (sites + 1)
    for end in ends:
        counts[end + 1] += 1
    for i in range(sites):
        counts[i + 1] += counts[i]
    return counts


def permits(chain: ChainDemand, function: Function, site: Any) -> bool:
    """Whether policy and features let this function stand at this site (capacity apart)."""
    return (
        (chain.allowed_sites is None or site.name in chain.allowed_sites)
        and site.name not in chain.forbidden_sites
        and (chain.countries is None or site.country in chain.countries)
        and (chain.owners is None or site.owner in chain.owners)
        and (chain.regions is None or site.region in chain.regions)
        and (function.allowed_sites is None or site.name in function.allowed_sites)
        and function.features <= site.features
    )


def groups(chain: ChainDemand) -> list[int]:
    """For each function the number of its affinity group (the least member's position)."""
    group = list(range(len(chain.functions)))
    for a, b in chain.affinity:
        old, new = max(group[a], group[b]), min(group[a], group[b])
        group = [new if g == old else g for g in group]
    return group


def contradiction(chain: ChainDemand) -> Pair | None:
    """A pair that must be apart although affinity ties it together, or None."""
    group = groups(chain)
    return next((p for p in chain.anti_affinity if group[p[0]] == group[p[1]]), None)


def stages_of(chain: ChainDemand) -> tuple[tuple[Stage, ...], list[Pair], list[Pair]]:
    """(stages, pairs of stages apart, pairs of stages together)."""
    group = groups(chain)
    runs: list[list[int]] = []
    for i in range(len(group)):
        if runs and group[runs[-1][0]] == group[i]:
            runs[-1].append(i)
        else:
            runs.append([i])
    stage_of = {i: k for k, run in enumerate(runs) for i in run}
    apart = {(stage_of[a], stage_of[b]) for a, b in chain.anti_affinity}
    together: list[Pair] = []
    last_of_group: dict[int, int] = {}
    for k, run in enumerate(runs):
        if group[run[0]] in last_of_group:
            together.append((last_of_group[group[run[0]]], k))
        last_of_group[group[run[0]]] = k
    stages = tuple(Stage(tuple(run)) for run in runs)
    return stages, sorted({(min(p), max(p)) for p in apart}), together


@dataclass(frozen=True)
class CompiledChain:
    """A chain as arrays: what does not depend on the state of the network."""

    demand: ChainDemand
    stages: tuple[Stage, ...]
    query: Any
    permitted: Any
    homes: Any


def compile_chain(compiled: Compiled, chain: ChainDemand, *, pruned: bool = True) -> CompiledChain:
    """Arrays for one chain. ``place_cost`` is left to the kernel's ``stage_costs``.

    ``pruned`` leaves out sites that latency alone puts out of reach: quicker, with the same
    answer; whoever asks *why* there is none wants them in.
    """
    stages, apart, together = stages_of(chain)
    sites, ints = len(compiled.site_names), compiled.arrays.ints
    demand = [
        sum(chain.functions[i].demand.get(r, 0) for i in stage.members)
        for stage in stages
        for r in compiled.resources
    ]
    kinds = len(compiled.resources)
    bandwidth = [chain.bandwidth_kbps[stage.members[0]] for stage in stages]
    bandwidth.append(chain.bandwidth_kbps[-1])
    budget = NO_BUDGET if chain.latency_budget_ns is None else float(chain.latency_budget_ns)
    here = f"chain {chain.id}"
    ingress = unique(compiled.site(f"{here}: ingress", name) for name in chain.ingress)
    egress = unique(compiled.site(f"{here}: egress", name) for name in chain.egress)
    query = compiled.kernel.Query(
        len(stages),
        ints(bandwidth),
        ints(demand),
        compiled.arrays.zeros(len(stages) * sites),
        compiled.link_mask(chain),
        ints(ingress),
        ints(egress),
        budget,
        ints(i for pair in apart for i in pair),
        len(apart),
        ints(i for pair in together for i in pair),
        len(together),
        sum(bandwidth),
        ints(sum(demand[r::kinds]) for r in range(kinds)),
        compiled.reach(ingress, egress, budget) if pruned else ints([1] * sites),
    )
    permitted = compiled.permitted(chain, stages)
    return CompiledChain(chain, stages, query, permitted, _homes(compiled, chain, stages))


def stage_mask(compiled: Compiled, chain: ChainDemand, stage: Stage) -> list[int]:
    """Sites permitted to every function of a stage."""
    masks = [compiled.mask(chain, chain.functions[i]) for i in stage.members]
    if len(masks) == 1:
        return masks[0]
    key = tuple(id(mask) for mask in masks)  # the network keeps them: an id stays its own
    if key not in compiled.stage_masks:
        compiled.stage_masks[key] = [int(all(flags)) for flags in zip(*masks, strict=True)]
    return compiled.stage_masks[key]


def _homes(compiled: Compiled, chain: ChainDemand, stages: tuple[Stage, ...]) -> Any:
    """How many functions of each stage would have to move to stand at each site."""
    sites = len(compiled.site_names)
    if chain.current is None or chain.migration_price == 0:
        return compiled.no_homes(len(stages))
    rows: list[int] = []
    for stage in stages:
        row = [len(stage.members)] * sites
        for i in stage.members:
            if chain.current[i] in compiled.site_index:
                row[compiled.site_index[chain.current[i]]] -= 1
        rows += row
    return compiled.arrays.ints(rows)


def unique(values: Iterable[int]) -> list[int]:
    """Without repeats, in order."""
    return list(dict.fromkeys(values))


def per_site(compiled: Compiled, table: Iterable[Mapping[str, float]]) -> list[float]:
    """A table of resources per site as ``resource * sites + site``."""
    rows = list(table)
    return [row.get(resource, 0) for resource in compiled.resources for row in rows]
