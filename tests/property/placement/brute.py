"""The truth on tiny cases, as the benchmark of refusals enumerates it, under the name tests use."""

from __future__ import annotations

from dataclasses import dataclass, field

from isthmus.chaos.every_way import EveryWay
from isthmus.placement.model import ChainDemand, Network, Placement


@dataclass
class Brute:
    """All ways on what is left of a network after some placements."""

    network: Network
    placed: list[tuple[ChainDemand, Placement]] = field(default_factory=list)

    def best(self, chain: ChainDemand) -> float | None:
        """The least cost of any placement, or None when there is none."""
        return EveryWay(self.network, self.placed).least(chain)
