"""Real carriers' networks as a lab can use them: nodes on the map, and how far apart they are.

The files are networks of the Internet Topology Zoo (Knight et al., IEEE JSAC 29(9), 2011; CC BY 4.0), read as they are.
Latency comes from distance: light in fibre goes 200 km a millisecond, fibre takes 1.3 times the beeline, and a
router adds 0.1 ms. A lab takes a few nodes of a network: two of them are linked when a way leads from one to the
other that meets no third.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

FOLDER = Path(__file__).parent / "topologies"
DETOUR = 1.3
KM_PER_MS = 200.0
ROUTER_MS = 0.1
EARTH_KM = 6371.0
_SPACE = "{http://graphml.graphdrawing.org/xmlns}"


class TopologyError(Exception):
    """A topology cannot be used; names the file and what is wrong."""


@dataclass(frozen=True, slots=True)
class City:
    """A node: its label, country, and place in degrees."""

    name: str
    country: str
    latitude: float
    longitude: float


@dataclass(frozen=True, slots=True)
class Topology:
    """``latency_us`` maps a pair of names to one-way microseconds, both ways."""

    name: str
    cities: Mapping[str, City]
    latency_us: Mapping[tuple[str, str], int]

    def contract(self, names: Iterable[str]) -> dict[tuple[str, str], int]:
        """Links between the chosen cities, one per unordered pair: the shortest way that meets no third of them."""
        chosen = list(names)
        for name in chosen:
            if name not in self.cities:
                raise TopologyError(f"{self.name}: no city {name!r}; has {', '.join(self.cities)}")
        links: dict[tuple[str, str], int] = {}
        for a in chosen:
            for b, latency in self._ways(a, set(chosen)).items():
                if (b, a) not in links:
                    links[a, b] = latency
        return links

    def _ways(self, start: str, chosen: set[str]) -> dict[str, int]:
        """Shortest ways from ``start`` that end at the first chosen city they meet."""
        best = {start: 0}
        ends: dict[str, int] = {}
        queue = [(0, start)]
        while queue:
            far, here = heapq.heappop(queue)
            if far > best[here]:
                continue
            if here in chosen and here != start:
                ends[here] = far
                continue
            for (a, b), latency in self.latency_us.items():
                if a == here and far + latency < best.get(b, 1 << 60):
                    best[b] = far + latency
                    heapq.heappush(queue, (best[b], b))
        return ends


def distance_km(a: City, b: City) -> float:
    """Great-circle distance (haversine)."""
    phi, psi = math.radians(a.latitude), math.radians(b.latitude)
    half = math.sin((psi - phi) / 2) ** 2
    turn = math.radians(b.longitude - a.longitude)
    half += math.cos(phi) * math.cos(psi) * math.sin(turn / 2) ** 2
    return 2 * EARTH_KM * math.asin(math.sqrt(half))


def latency_us(km: float) -> int:
    """One-way microseconds over ``km`` of beeline."""
    return round((DETOUR * km / KM_PER_MS + ROUTER_MS) * 1000)


def load(name: str, folder: Path = FOLDER) -> Topology:
    """The network in ``<folder>/<name>.graphml``; cities without a place and doubled labels are left out."""
    path = folder / f"{name}.graphml"
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise TopologyError(f"{path.name}: {error}") from None
    keys = {
        key.get("id"): key.get("attr.name")
        for key in root.iter(f"{_SPACE}key")
        if key.get("for") == "node"
    }
    labels: dict[str, str] = {}
    cities: dict[str, City] = {}
    for node in root.iter(f"{_SPACE}node"):
        facts = {keys.get(d.get("key")): d.text or "" for d in node.iter(f"{_SPACE}data")}
        label = facts.get("label", "")
        if label in cities or "Latitude" not in facts or "Longitude" not in facts:
            continue
        labels[str(node.get("id"))] = label
        cities[label] = City(
            label,
            facts.get("Country", ""),
            float(facts["Latitude"]),
            float(facts["Longitude"]),
        )
    links: dict[tuple[str, str], int] = {}
    for edge in root.iter(f"{_SPACE}edge"):
        a, b = labels.get(str(edge.get("source"))), labels.get(str(edge.get("target")))
        if a and b and a != b:
            links[a, b] = links[b, a] = latency_us(distance_km(cities[a], cities[b]))
    if not links:
        raise TopologyError(f"{path.name}: no usable link")
    return Topology(name, cities, links)
