"""Many chains as flat arrays, and the state that the batch solvers work on.

An :class:`Arena` holds one problem: the compiled network, the chains as a ``Batch``, prices, and
the answers so far. It belongs to one solve and is never shared; what leaves it are
:class:`~isthmus.placement.model.Placement` objects built from names, for the verifier to judge.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

from isthmus.placement import accel
from isthmus.placement.compiled import (
    NO_BUDGET,
    Compiled,
    per_site,
    stage_mask,
    stages_of,
    unique,
)
from isthmus.placement.model import ChainDemand, Placement
from isthmus.placement.online import Found, Known, to_placement
from isthmus.placement.usage import Usage

CONGESTION = 1000.0  # price at full over price at empty; 30 was 0.02 to 0.2 points worse
BATCH_LABELS = 2_000  # exact search of one chain in a pass; what stays open is tried again later
POOL_PER_CHAIN = 24  # steps; grown when full


class Arena:
    """One batch problem as arrays."""

    def __init__(self, compiled: Compiled, chains: Sequence[ChainDemand], usage: Usage) -> None:
        self.compiled = compiled
        self.chains = chains
        self.passes: Any = accel.kernels("passes", not compiled.fast)
        self.pricing: Any = accel.kernels("pricing", not compiled.fast)
        self.moves: Any = accel.kernels("moves", not compiled.fast)
        self.batch = self._batch()
        self.longest = max([1, *(self._stages(c) for c in range(len(chains)))])
        ints, floats = compiled.arrays.ints, compiled.arrays.floats
        filled = compiled.arrays.filled
        sites = len(compiled.site_names)
        self.scratch = compiled.scratch(self.longest, BATCH_LABELS)
        self.work = self.passes.Work(
            floats([0.0] * (self.longest * sites)), ints([0] * sites), floats([0.0] * sites)
        )
        table = [CONGESTION ** (i / self.passes.STEPS - 1.0) for i in range(1025)]
        start = usage.copy()
        self.base = usage
        self.market = self.passes.Market(
            start.site_room[:] if not compiled.fast else start.site_room.copy(),
            start.link_room[:] if not compiled.fast else start.link_room.copy(),
            floats(per_site(compiled, (s.price for s in compiled.network.sites))),
            floats(k.price for k in compiled.links),
            floats([0.0] * (sites * len(compiled.resources))),
            floats([0.0] * len(compiled.links)),
            floats(table),
        )
        self.state = start.state._replace(
            site_price=floats(self.market.site_price), link_price=floats(self.market.link_price)
        )
        self.answers = self._answers()
        self.known: Known = {}
        cells, links = sites * len(compiled.resources), len(compiled.links)
        steps = self.moves.LIFTED * 512
        self.desk = self.moves.Desk(
            filled(cells, 0),
            filled(links, 0),
            filled(len(chains), 0),
            filled(self.moves.LIFTED, 0),
            filled(steps, 0),
            *(filled(self.moves.LIFTED, 0) for _ in range(3)),
            floats([0.0] * (2 * self.moves.LIFTED)),
            compiled.arrays.zeros(len(chains)),
            filled(self.moves.LIFTED, 0),
        )

    def _stages(self, c: int) -> int:
        return int(self.batch.stage_first[c + 1] - self.batch.stage_first[c])

    def _answers(self) -> Any:
        arrays, count = self.compiled.arrays, len(self.chains)
        return self.passes.Answers(
            arrays.filled(count, -1),
            *(arrays.filled(count, 0) for _ in range(3)),
            arrays.zeros(count),
            arrays.filled(POOL_PER_CHAIN * count + 64, 0),
            arrays.ints([0]),
        )

    def grow_pool(self) -> None:
        """Double the pool of steps."""
        pool = self.answers.pool
        longer = self.compiled.arrays.filled(2 * len(pool), 0)
        longer[: len(pool)] = pool
        self.answers = self.answers._replace(pool=longer)

    def _batch(self) -> Any:
        rows = _Rows(self.compiled)
        for chain in self.chains:
            rows.add(chain)
        return rows.batch(self.passes)

    @property
    def parts(self) -> tuple[Any, ...]:
        """The arguments most kernels begin with."""
        return (
            self.compiled.graph,
            self.state,
            self.batch,
            self.market,
            self.answers,
            self.scratch,
            self.work,
        )

    def order(self, ranks: Sequence[int]) -> Any:
        """An order of chains as an array."""
        return self.compiled.arrays.ints(ranks)

    def placed(self) -> list[int]:
        """Numbers of the chains that stand somewhere."""
        return [c for c in range(len(self.chains)) if self.answers.size[c] >= 0]

    def objective(self) -> float:
        """Worth of what stands, minus its true cost."""
        return sum(float(self.batch.value[c]) - float(self.answers.cost[c]) for c in self.placed())

    def walks(self) -> list[tuple[int, int, tuple[int, ...]]]:
        """(chain, start, steps) of all that stands."""
        answers, found = self.answers, []
        for c in self.placed():
            at, size = int(answers.at[c]), int(answers.size[c])
            steps = tuple(int(s) for s in answers.pool[at : at + size])
            found.append((c, int(answers.start[c]), steps))
        return found

    def placement(self, c: int) -> Placement:
        """The answer for chain ``c`` in names."""
        at, size = int(self.answers.at[c]), int(self.answers.size[c])
        steps = tuple(int(s) for s in self.answers.pool[at : at + size])
        found = Found(0, int(self.answers.start[c]), steps, 0.0, 0.0, 0)
        stages, _, _ = stages_of(self.chains[c])
        return to_placement(self.base, self.chains[c], stages, found, self.known)

    def usage(self) -> Usage:
        """The state after the answers, rebuilt by ``apply`` (so checked a second time)."""
        usage = self.base.copy()
        for c in self.placed():
            usage.apply(self.chains[c], self.placement(c))
        return usage


def _packed(*values: int) -> array[int]:
    return array("q", values)


class _Rows:
    """Collects the flat lists of a batch."""

    def __init__(self, compiled: Compiled) -> None:
        self.compiled = compiled
        # packed: as lists of objects these were 1.3 KB a chain, as arrays they are 0.25
        self.stage_first, self.in_first, self.out_first = _packed(0), _packed(0), _packed(0)
        self.apart_first, self.together_first, self.home_first = _packed(0), _packed(0), _packed(0)
        self.mask_at, self.masks = _packed(), _packed()
        self.mask_of: dict[int, int] = {}
        self.kept: list[object] = []
        self.link_mask_at, self.link_masks = _packed(), _packed()
        self.link_mask_of: dict[int, int] = {}
        self.demand, self.bandwidth, self.ins, self.outs = (_packed() for _ in range(4))
        self.apart, self.together, self.homes = (_packed() for _ in range(3))
        self.bandwidth_sum, self.demand_sum = _packed(), _packed()
        self.budget, self.value, self.move = array("d"), array("d"), array("d")

    def add(self, chain: ChainDemand) -> None:
        """Append one chain."""
        compiled, resources = self.compiled, self.compiled.resources
        stages, apart, together = stages_of(chain)
        sums = [0] * len(resources)
        sticky = chain.current is not None and chain.migration_price > 0
        for stage in stages:
            self._mask(stage_mask(compiled, chain, stage))
            for r, resource in enumerate(resources):
                need = sum(chain.functions[i].demand.get(resource, 0) for i in stage.members)
                sums[r] += need
                self.demand.append(need)
            if sticky:
                assert chain.current is not None
                at = compiled.site_index
                self.homes.extend(at.get(chain.current[i], -1) for i in stage.members)
            self.home_first.append(len(self.homes))
        hops = [chain.bandwidth_kbps[stage.members[0]] for stage in stages]
        hops.append(chain.bandwidth_kbps[-1])
        self.bandwidth.extend(hops)
        self.bandwidth_sum.append(sum(hops))
        self.demand_sum.extend(sums)
        here = f"chain {chain.id}"
        self.ins.extend(unique(compiled.site(f"{here}: ingress", n) for n in chain.ingress))
        self.outs.extend(unique(compiled.site(f"{here}: egress", n) for n in chain.egress))
        budget = chain.latency_budget_ns
        self.budget.append(NO_BUDGET if budget is None else float(budget))
        self.value.append(chain.value)
        self.move.append(chain.migration_price if sticky else 0.0)
        self._link_mask(chain)
        for pair in apart:
            self.apart.extend(pair)
        for pair in together:
            self.together.extend(pair)
        self.stage_first.append(self.stage_first[-1] + len(stages))
        self.in_first.append(len(self.ins))
        self.out_first.append(len(self.outs))
        self.apart_first.append(len(self.apart) // 2)
        self.together_first.append(len(self.together) // 2)

    def _mask(self, mask: list[int]) -> None:
        if id(mask) not in self.mask_of:
            self.mask_of[id(mask)] = len(self.masks)
            self.masks.extend(mask)
            self.kept.append(mask)  # so that its id stays its own
        self.mask_at.append(self.mask_of[id(mask)])

    def _link_mask(self, chain: ChainDemand) -> None:
        mask = self.compiled.link_mask(chain)
        if id(mask) not in self.link_mask_of:
            self.link_mask_of[id(mask)] = len(self.link_masks)
            self.link_masks.extend(int(v) for v in mask)
            self.kept.append(mask)
        self.link_mask_at.append(self.link_mask_of[id(mask)])

    def batch(self, passes: Any) -> Any:
        """The arrays."""
        ints, floats = self.compiled.arrays.ints, self.compiled.arrays.floats
        sites = range(len(self.compiled.site_names))
        return passes.Batch(
            len(self.value),
            ints(self.stage_first),
            ints(self.mask_at),
            ints(self.masks),
            ints(self.link_mask_at),
            ints(self.link_masks),
            ints(self.demand),
            ints(self.bandwidth),
            ints(self.in_first),
            ints(self.ins),
            ints(self.out_first),
            ints(self.outs),
            floats(self.budget),
            floats(self.value),
            ints(self.apart_first),
            ints(self.apart),
            ints(self.together_first),
            ints(self.together),
            ints(self.bandwidth_sum),
            ints(self.demand_sum),
            ints(self.home_first),
            ints(self.homes),
            floats(self.move),
            self._rows(sites, forward=True),
            self._rows(sites, forward=False),
        )

    def _rows(self, sites: range, *, forward: bool) -> Any:
        rows = (self.compiled.latency_row(v, forward) for v in sites)
        if self.compiled.fast:
            import numpy as np

            return np.concatenate(list(rows))
        return [value for row in rows for value in row]
