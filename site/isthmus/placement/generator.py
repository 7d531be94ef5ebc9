"""Instances that do not flatter: four regimes, on drawn or on real topologies, from a seed.

A benchmark with one regime flatters a toy: the best order for scarce compute is worse than naive
when links are scarce (research page, 2.2). So capacities are scaled to a wanted ratio of demand
to capacity for compute and, through the load of latency-shortest paths, for links. Parameters are
the research page's, section 4; randomness comes from ``random.Random(seed)`` alone.
"""

from __future__ import annotations

import heapq
import math
import random
from dataclasses import dataclass, replace

from isthmus.placement.model import ChainDemand, Function, Link, Network, Site
from isthmus.placement.problem import SCALE, Problem

KM_PER_MS = 200.0  # light in fibre
DETOUR = 1.3  # fibre is longer than the great circle
HOP_MS = 0.1
# name, cpu per Gb/s, cpu base, memory per cpu, traffic scale
CATALOGUE = (
    ("fw", 2, 1, 2, 1.0),
    ("nat", 1, 1, 1, 1.0),
    ("ids", 6, 2, 2, 1.0),
    ("lb", 1, 1, 2, 1.0),
    ("vrouter", 2, 2, 2, 1.0),
    ("wanopt", 4, 2, 6, 0.5),
    ("dpi", 5, 2, 3, 0.95),
    ("cache", 2, 2, 12, 0.6),
)
TIERS_GBPS = (10, 25, 40, 100, 200, 400, 800, 1600, 3200, 6400, 12800)
REGIMES = {
    "compute": (1.3, 0.9),
    "link": (0.9, 1.5),
    "both": (1.1, 1.8),
    "relaxed": (0.75, 0.6),
}


@dataclass(frozen=True)
class Topology:
    """Where sites are and which are joined; positions in km on a plane, for drawing and regions."""

    name: str
    sites: tuple[str, ...]
    positions: tuple[tuple[float, float], ...]
    regions: tuple[str, ...]
    countries: tuple[str, ...]
    edges: tuple[tuple[int, int, float], ...]  # a, b, km


def latency_ms(km: float) -> float:
    """Latency of a link of this length."""
    return DETOUR * km / KM_PER_MS + HOP_MS


def drawn(sites: int, seed: int) -> Topology:
    """Regions of about 30 sites on 9000 x 4500 km: spanning tree, 3 nearest, hubs joined."""
    rng = random.Random(f"topology {sites} {seed}")
    count = max(1, round(sites / 30))
    centres = [(rng.uniform(0, 9000), rng.uniform(0, 4500)) for _ in range(count)]
    at = [
        (rng.gauss(centres[i % count][0], 350), rng.gauss(centres[i % count][1], 350))
        for i in range(sites)
    ]
    joined = _spanning_tree(at)
    for i in range(sites):
        nearest = sorted(range(sites), key=lambda j: math.dist(at[i], at[j]))[1:4]
        joined |= {(min(i, j), max(i, j)) for j in nearest}
    for r in range(count):
        nearest = sorted(range(count), key=lambda q: math.dist(centres[r], centres[q]))[1:4]
        joined |= {(min(r, q), max(r, q)) for q in nearest}
    edges = tuple((a, b, math.dist(at[a], at[b])) for a, b in sorted(joined))
    names = tuple(f"s{i:04d}" for i in range(sites))
    regions = tuple(f"r{i % count:02d}" for i in range(sites))
    return Topology(f"drawn{sites}", names, tuple(at), regions, regions, edges)


def _spanning_tree(at: list[tuple[float, float]]) -> set[tuple[int, int]]:
    """Prim over all pairs."""
    best = [(math.inf, 0)] * len(at)
    left = set(range(1, len(at)))
    newest, tree = 0, set()
    while left:
        for j in left:
            km = math.dist(at[newest], at[j])
            if km < best[j][0]:
                best[j] = (km, newest)
        j = min(left, key=lambda k: (best[k][0], k))
        tree.add((min(j, best[j][1]), max(j, best[j][1])))
        left.discard(j)
        newest = j
    return tree


@dataclass
class _World:
    topology: Topology
    rng: random.Random
    kind: list[int]
    owner: list[str]
    price: list[float]
    gravity: list[float]
    far: list[list[float]]  # latency ms between all sites
    before: list[list[int]]  # predecessor edge-wise on the latency-shortest path


def make(
    topology: Topology, chains: int, *, regime: str = "compute", seed: int = 1, plain: bool = False
) -> Problem:
    """``chains`` chains on a topology in one of the :data:`REGIMES`; ``plain``: no policies."""
    rho_cpu, rho_net = REGIMES[regime]
    world = _world(topology, seed)
    demands = _chains(world, chains, plain)
    network = _network(world, demands, rho_cpu, rho_net)
    return Problem(f"{topology.name}-c{chains}-{regime}-{seed}", network, tuple(demands))


def _world(topology: Topology, seed: int) -> _World:
    rng = random.Random(f"world {topology.name} {seed}")
    sites = len(topology.sites)
    degree = [0] * sites
    for a, b, _ in topology.edges:
        degree[a] += 1
        degree[b] += 1
    rank = sorted(range(sites), key=lambda i: -(degree[i] + rng.uniform(0, 0.9)))
    core = max(1, round(0.1 * sites))
    metro = core + round(0.3 * sites)
    kind = [2] * sites
    for place, i in enumerate(rank[:metro]):
        kind[i] = 0 if place < core else 1
    price = [(1.0, 1.6, 3.0)[k] * rng.uniform(0.85, 1.15) for k in kind]
    owner = [f"p{rng.randint(1, 2)}" if rng.random() < 0.2 else "own" for _ in range(sites)]
    gravity = [(8.0, 3.0, 1.0)[k] * rng.lognormvariate(0, 0.5) for k in kind]
    far, before = _all_pairs(topology)
    return _World(topology, rng, kind, owner, price, gravity, far, before)


def _all_pairs(topology: Topology) -> tuple[list[list[float]], list[list[int]]]:
    near: list[list[tuple[int, float]]] = [[] for _ in topology.sites]
    for a, b, km in topology.edges:
        near[a].append((b, latency_ms(km)))
        near[b].append((a, latency_ms(km)))
    far, before = [], []
    for start in range(len(topology.sites)):
        distance = [math.inf] * len(near)
        last = [-1] * len(near)
        distance[start] = 0.0
        heap = [(0.0, start)]
        while heap:
            d, v = heapq.heappop(heap)
            if d > distance[v]:
                continue
            for u, step in near[v]:
                if d + step < distance[u]:
                    distance[u], last[u] = d + step, v
                    heapq.heappush(heap, (d + step, u))
        far.append(distance)
        before.append(last)
    return far, before


def _milli(value: float) -> int:
    """File units rounded to a thousandth, as integer millionths."""
    return max(1, round(value * 1000)) * (SCALE // 1000)


def _chains(world: _World, count: int, plain: bool) -> list[ChainDemand]:
    topology, rng = world.topology, world.rng
    sites = range(len(topology.sites))
    regions = sorted(set(topology.regions))
    in_region = {r: [i for i in sites if topology.regions[i] == r] for r in regions}
    near = _near_regions(topology, regions)
    starts = rng.choices(sites, world.gravity, k=count)
    demands = []
    for c, start in enumerate(starts):
        home = in_region[topology.regions[start]]
        pool = home if rng.random() < 0.5 else list(sites)
        end = rng.choices(pool, [world.gravity[i] for i in pool])[0]
        demand = _chain(world, f"c{c:05d}", start, end)
        demands.append(demand if plain else _policies(world, demand, start, near))
    return demands


def _near_regions(topology: Topology, regions: list[str]) -> dict[str, frozenset[str]]:
    """For each region the sites of it and its two nearest."""
    centre: dict[str, tuple[float, float]] = {}
    for r in regions:
        members = [p for p, q in zip(topology.positions, topology.regions, strict=True) if q == r]
        xs, ys = zip(*members, strict=True)
        centre[r] = (sum(xs) / len(xs), sum(ys) / len(ys))
    sets = {}
    for r in regions:
        three = sorted(regions, key=lambda q: (math.dist(centre[r], centre[q]), q))[:3]
        named = zip(topology.sites, topology.regions, strict=True)
        sets[r] = frozenset(s for s, q in named if q in three)
    return sets


def _chain(world: _World, name: str, start: int, end: int) -> ChainDemand:
    rng, sites = world.rng, world.topology.sites
    size = rng.choices((2, 3, 4, 5, 6), (0.2, 0.4, 0.25, 0.1, 0.05))[0]
    gbps = min(10.0, max(0.05, rng.lognormvariate(math.log(0.5), 1.0)))
    functions, hops = [], [_milli(gbps)]
    for kind, per_gbps, base, memory, scale in rng.sample(CATALOGUE, size):
        cpu = base + per_gbps * gbps
        functions.append(Function(kind, {"cpu": _milli(cpu), "memory": _milli(cpu * memory)}))
        gbps *= scale
        hops.append(_milli(gbps))
    budget = world.far[start][end] * rng.uniform(1.1, 2.5) + rng.uniform(2, 10)
    priority = rng.choices((1.0, 2.0, 4.0, 8.0), (0.6, 0.25, 0.1, 0.05))[0]
    return ChainDemand(
        name,
        tuple(functions),
        (sites[start],),
        (sites[end],),
        tuple(hops),
        _milli(budget),
        priority,
    )


def _policies(
    world: _World, demand: ChainDemand, start: int, near: dict[str, frozenset[str]]
) -> ChainDemand:
    rng, topology = world.rng, world.topology
    where, pairs = rng.random(), rng.random()
    first, second = sorted(rng.sample(range(len(demand.functions)), 2))
    neighbour = rng.randrange(len(demand.functions) - 1)
    if where < 0.15:
        demand = replace(demand, allowed_sites=near[topology.regions[start]])
    elif where < 0.25:
        own = [s for s, o in zip(topology.sites, world.owner, strict=True) if o == "own"]
        demand = replace(demand, allowed_sites=frozenset(own))
    if pairs < 0.15:
        return replace(demand, anti_affinity=((first, second),))
    if pairs < 0.25:
        return replace(demand, affinity=((neighbour, neighbour + 1),))
    return demand


def _network(world: _World, demands: list[ChainDemand], rho_cpu: float, rho_net: float) -> Network:
    topology = world.topology
    cpu = sum(f.demand["cpu"] for c in demands for f in c.functions) / SCALE
    memory = sum(f.demand["memory"] for c in demands for f in c.functions) / SCALE
    base = [(4096.0, 512.0, 96.0)[k] for k in world.kind]
    scale = cpu / (rho_cpu * sum(base))
    sites = tuple(
        Site(
            name,
            {
                "cpu": round(base[i] * scale * 10) * (SCALE // 10),
                "memory": round(base[i] * scale * memory / cpu * 11.5) * (SCALE // 10),
            },
            {"cpu": round(world.price[i], 4) / SCALE},
            topology.regions[i],
            topology.countries[i],
            world.owner[i],
        )
        for i, name in enumerate(topology.sites)
    )
    load = _shortest_loads(world, demands)
    floor = 0.15 * max(load.values(), default=0.0) ** 0.5 + 1
    links = []
    for a, b, km in topology.edges:
        most = max(load.get((a, b), 0.0), load.get((b, a), 0.0))
        want = max(most / rho_net, floor)
        tier = next((t for t in TIERS_GBPS if t >= want), TIERS_GBPS[-1])
        ms = latency_ms(km)
        for s, t in ((a, b), (b, a)):
            price = round(0.02 + 0.01 * ms, 6) / SCALE
            names = topology.sites[s], topology.sites[t]
            links.append(Link(*names, round(ms * 1000) * 1000, tier * SCALE, price))
    return Network(sites, tuple(links))


def _shortest_loads(world: _World, demands: list[ChainDemand]) -> dict[tuple[int, int], float]:
    """Gb/s per directed edge if every chain went the latency-shortest way."""
    index = {name: i for i, name in enumerate(world.topology.sites)}
    load: dict[tuple[int, int], float] = {}
    for demand in demands:
        start, at = index[demand.ingress[0]], index[demand.egress[0]]
        while at != start:
            last = world.before[start][at]
            load[last, at] = load.get((last, at), 0.0) + demand.bandwidth_kbps[0] / SCALE
            at = last
    return load


@dataclass(frozen=True)
class Event:
    """A chain arrives or expires, ``at_s`` seconds into the trace."""

    at_s: float
    arrives: bool
    chain: str


def trace(problem: Problem, *, rate_per_s: float, hold_s: float, seed: int) -> tuple[Event, ...]:
    """Poisson arrivals of the problem's chains, each expiring after an exponential time."""
    rng = random.Random(f"trace {seed}")
    events, now = [], 0.0
    for demand in problem.chains:
        now += rng.expovariate(rate_per_s)
        events.append(Event(now, True, demand.id))
        events.append(Event(now + rng.expovariate(1 / hold_s), False, demand.id))
    return tuple(sorted(events, key=lambda e: (e.at_s, e.chain, not e.arrives)))
