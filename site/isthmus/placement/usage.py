"""What is taken and what is free: the one piece of state of the engine.

A :class:`Usage` starts empty and changes only by ``apply``, ``release`` and the ``fail``,
``drain`` and ``restore`` verbs. Everything is checked before anything changes, amounts are
integers, and releasing a chain gives back exactly what applying it took, so the state after any
sequence equals the state built from scratch from what remains (a property test says so).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import Any

from isthmus.placement.compiled import Compiled, per_site
from isthmus.placement.errors import CapacityExceeded, PlacementError, UnknownReference
from isthmus.placement.model import ChainDemand, Network, Placement

BLOCKED = 1 << 60  # taken from a link's room while it is down; far above any capacity


class Usage:
    """Residual capacities of a network under the chains placed on it."""

    def __init__(self, network: Network, *, fast: bool | None = None) -> None:
        self._start(Compiled(network, fast=fast))

    def _start(self, compiled: Compiled) -> None:
        self.compiled = compiled
        self.network = network = compiled.network
        ints, floats = compiled.arrays.ints, compiled.arrays.floats
        self.site_room: Any = ints(int(a) for a in per_site(compiled, _capacities(network)))
        self.link_room: Any = ints(link.capacity_kbps for link in compiled.links)
        self.site_price: Any = floats(per_site(compiled, (s.price for s in network.sites)))
        self.link_price: Any = floats(link.price for link in compiled.links)
        self.site_up: Any = ints([1] * len(network.sites))
        self.placed: dict[str, tuple[ChainDemand, Placement]] = {}
        self._down: dict[int, frozenset[str]] = {}  # link -> why it is closed
        self._idle: Usage | None = None
        self._hash = ""  # of the state now; empty when it must be made

    @classmethod
    def of(cls, compiled: Compiled) -> Usage:
        """An empty usage that shares an already compiled network."""
        usage = cls.__new__(cls)
        usage._start(compiled)
        return usage

    @property
    def state(self) -> Any:
        """What the kernels read."""
        return self.compiled.kernel.State(
            self.site_price, self.link_price, self.site_room, self.link_room, self.site_up
        )

    def touched(self) -> None:
        """Say that a room was changed from outside: what the state is called must be made anew."""
        self._hash = ""

    @property
    def idle(self) -> Usage:
        """The same network with nothing on it: made once, for questions, never to be changed."""
        if self._idle is None:
            self._idle = Usage.of(self.compiled)
        return self._idle

    def copy(self) -> Usage:
        """An independent usage with the same content."""
        other = Usage.of(self.compiled)
        other.site_room, other.link_room = self.site_room[:], self.link_room[:]
        if self.compiled.fast:
            other.site_room, other.link_room = self.site_room.copy(), self.link_room.copy()
            other.site_up = self.site_up.copy()
        else:
            other.site_up = self.site_up[:]
        other.placed = dict(self.placed)
        other._down = dict(self._down)
        return other

    def free(self, site: str, resource: str) -> int:
        """Room left at a site."""
        at = self.compiled.resources.index(resource) * len(self.network.sites)
        return int(self.site_room[at + self.compiled.site("free", site)])

    def free_link(self, link: str) -> int:
        """Room left on a link in kbit/s; 0 when it is down."""
        return max(0, int(self.link_room[self._link(link)]))

    def _link(self, link: str) -> int:
        if link not in self.compiled.link_index:
            raise UnknownReference("link", link, "no such link in the network")
        return self.compiled.link_index[link]

    def _needs(self, chain: ChainDemand, placement: Placement) -> tuple[Counter[int], Counter[int]]:
        """What a placement takes: (site cell -> amount, link -> kbit/s)."""
        compiled, sites = self.compiled, len(self.network.sites)
        cells: Counter[int] = Counter()
        links: Counter[int] = Counter()
        for function, name in zip(chain.functions, placement.sites, strict=True):
            at = compiled.site(f"chain {chain.id}: sites", name)
            for r, resource in enumerate(compiled.resources):
                cells[r * sites + at] += function.demand.get(resource, 0)
        for hop, bandwidth in zip(placement.hops, chain.bandwidth_kbps, strict=True):
            for link in hop:
                links[self._link(link)] += bandwidth
        if placement.backup is not None:
            more_cells, more_links = self._needs(chain, placement.backup)
            cells, links = cells + more_cells, links + more_links
        return cells, links

    def apply(self, chain: ChainDemand, placement: Placement) -> None:
        """Reserve; raises :class:`CapacityExceeded` and changes nothing when it does not fit."""
        if chain.id in self.placed:
            raise PlacementError(f"chain {chain.id} is already placed; release it first")
        cells, links = self._needs(chain, placement)
        for cell, amount in cells.items():
            if amount > self.site_room[cell]:
                resource, site = divmod(cell, len(self.network.sites))
                raise CapacityExceeded(
                    f"chain {chain.id} takes {amount} {self.compiled.resources[resource]} at "
                    f"{self.compiled.site_names[site]}, {self.site_room[cell]} free"
                )
        for link, amount in links.items():
            if amount > self.link_room[link]:
                raise CapacityExceeded(
                    f"chain {chain.id} takes {amount} kbit/s on "
                    f"{self.compiled.links[link].id}, {max(0, self.link_room[link])} free"
                )
        self._add(cells, links, -1)
        self.placed[chain.id] = (chain, placement)

    def release(self, chain_id: str) -> tuple[ChainDemand, Placement]:
        """Give back what a chain took; returns what it was."""
        if chain_id not in self.placed:
            raise UnknownReference("chain", chain_id, "it is not placed")
        chain, placement = self.placed.pop(chain_id)
        self._add(*self._needs(chain, placement), 1)
        return chain, placement

    def _add(self, cells: Counter[int], links: Counter[int], sign: int) -> None:
        self._hash = ""
        for cell, amount in cells.items():
            self.site_room[cell] += sign * amount
        for link, amount in links.items():
            self.link_room[link] += sign * amount

    def drain_site(self, site: str) -> tuple[str, ...]:
        """Take no new functions at a site (its links go on); the chains that stand there."""
        self._hash = ""
        self.site_up[self.compiled.site("drain", site)] = 0
        return tuple(c for c, (_, p) in self.placed.items() if site in _sites(p))

    def fail_link(self, link: str) -> tuple[str, ...]:
        """Close a link; the chains that cross it."""
        self._close(self._link(link), "link")
        return tuple(c for c, (_, p) in self.placed.items() if _crosses(p, {link}))

    def fail_site(self, site: str) -> tuple[str, ...]:
        """Close a site and all links that touch it; the chains that need any of them."""
        arcs = self._links_at(self.compiled.site("fail", site))
        lost = set(self.drain_site(site))
        for arc in arcs:
            self._close(arc, site)
        links = {self.compiled.links[arc].id for arc in arcs}
        return tuple(
            c
            for c, (_, p) in self.placed.items()
            if c in lost or _crosses(p, links) or site in {r[0] for r in p.routes}
        )

    def restore_site(self, site: str) -> None:
        """Undo ``drain_site`` or ``fail_site``."""
        at = self.compiled.site("restore", site)
        self._hash = ""
        self.site_up[at] = 1
        for arc in self._links_at(at):
            self._open(arc, site)

    def restore_link(self, link: str) -> None:
        """Undo ``fail_link``."""
        self._open(self._link(link), "link")

    def _links_at(self, site: int) -> list[int]:
        compiled = self.compiled
        return [
            a for a in range(len(compiled.links)) if site in (compiled.tail[a], compiled.head[a])
        ]

    def _close(self, arc: int, why: str) -> None:
        self._hash = ""
        if not self._down.get(arc):
            self.link_room[arc] -= BLOCKED
        self._down[arc] = self._down.get(arc, frozenset()) | {why}

    def _open(self, arc: int, why: str) -> None:
        self._hash = ""
        left = self._down.get(arc, frozenset()) - {why}
        if self._down.get(arc) and not left:
            self.link_room[arc] += BLOCKED
        self._down[arc] = left

    def snapshot(self) -> str:
        """Hash of all that is free and of what is down: names the state a refusal speaks of."""
        if self._hash:
            return self._hash
        rooms = [int(v) for part in (self.site_room, self.link_room, self.site_up) for v in part]
        names = (*self.compiled.resources, *self.compiled.site_names)
        text = json.dumps([names, [link.id for link in self.compiled.links], rooms])
        self._hash = hashlib.sha256(text.encode()).hexdigest()[:32]
        return self._hash

    @property
    def down(self) -> frozenset[str]:
        """Sites drained or failed, and links closed."""
        sites = self.compiled.site_names
        links = (self.compiled.links[arc].id for arc, why in self._down.items() if why)
        return frozenset([n for n, up in zip(sites, self.site_up, strict=True) if not up]).union(
            links
        )


def _capacities(network: Network) -> Any:
    return (site.capacity for site in network.sites)


def _sites(placement: Placement) -> tuple[str, ...]:
    return placement.sites + (placement.backup.sites if placement.backup else ())


def _crosses(placement: Placement, links: set[str]) -> bool:
    hops = placement.hops + (placement.backup.hops if placement.backup else ())
    return any(not links.isdisjoint(hop) for hop in hops)
