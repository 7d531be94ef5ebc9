"""Networks of the Internet Topology Zoo as ground for the placement generator.

The same files as :mod:`isthmus.deploy.topology` reads for the lab (CC BY 4.0, see the folder's
README), taken whole: the largest connected part, nodes without coordinates at the mean of their
neighbours, regions by country, or by quarter of longitude where there are fewer than four.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from isthmus.deploy.topology import FOLDER, City, TopologyError, distance_km
from isthmus.placement.generator import Topology

_SPACE = "{http://graphml.graphdrawing.org/xmlns}"
ROUNDS = 50  # of filling in coordinates from neighbours
KM_A_DEGREE = 111.2


def load_zoo(name: str, folder: Path = FOLDER) -> Topology:
    """The network in ``<folder>/<name>.graphml`` for :func:`isthmus.placement.generator.make`."""
    path = folder / f"{name}.graphml"
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise TopologyError(f"{path.name}: {error}") from None
    facts = _facts(root)
    near = _neighbours(root, set(facts))
    names = _largest(near)
    places = _places({n: facts[n] for n in names}, near)
    index = {n: i for i, n in enumerate(names)}
    countries = tuple(facts[n].get("Country", "?") for n in names)
    cities = [City(n, "", *places[n]) for n in names]
    edges = tuple(
        (index[a], index[b], distance_km(cities[index[a]], cities[index[b]]))
        for a in names
        for b in sorted(near[a])
        if index[a] < index[b]
    )
    positions = tuple((c.longitude * KM_A_DEGREE, c.latitude * KM_A_DEGREE) for c in cities)
    labels = tuple(f"n{n}" for n in names)
    return Topology(name, labels, positions, _regions(countries, positions), countries, edges)


def _facts(root: ElementTree.Element) -> dict[str, dict[str, str]]:
    keys = {k.get("id"): str(k.get("attr.name")) for k in root.iter(f"{_SPACE}key")}
    facts: dict[str, dict[str, str]] = {}
    for node in root.iter(f"{_SPACE}node"):
        rows = {keys.get(d.get("key"), ""): d.text or "" for d in node.iter(f"{_SPACE}data")}
        facts[str(node.get("id"))] = rows
    return facts


def _neighbours(root: ElementTree.Element, nodes: set[str]) -> dict[str, set[str]]:
    near: dict[str, set[str]] = {n: set() for n in nodes}
    for edge in root.iter(f"{_SPACE}edge"):
        a, b = str(edge.get("source")), str(edge.get("target"))
        if a != b and a in near and b in near:
            near[a].add(b)
            near[b].add(a)
    return near


def _largest(near: dict[str, set[str]]) -> list[str]:
    """The nodes of the largest connected part, in the order of their numbers."""
    left, best = set(near), set[str]()
    while left:
        part, todo = set[str](), [min(left)]
        while todo:
            node = todo.pop()
            if node not in part:
                part.add(node)
                todo += near[node] - part
        left -= part
        best = max(best, part, key=len)
    return sorted(best, key=lambda n: (len(n), n))


def _places(
    facts: dict[str, dict[str, str]], near: dict[str, set[str]]
) -> dict[str, tuple[float, float]]:
    """(latitude, longitude) of each node; unknown ones at the mean of known neighbours."""
    places = {
        n: (float(f["Latitude"]), float(f["Longitude"]))
        for n, f in facts.items()
        if "Latitude" in f and "Longitude" in f
    }
    for _ in range(ROUNDS):
        missing = [n for n in facts if n not in places]
        for n in missing:
            known = [places[m] for m in sorted(near[n]) if m in places]
            if known:
                lat, lon = zip(*known, strict=True)
                places[n] = (sum(lat) / len(lat), sum(lon) / len(lon))
    return {n: places.get(n, (0.0, 0.0)) for n in facts}


def _regions(
    countries: tuple[str, ...], positions: tuple[tuple[float, float], ...]
) -> tuple[str, ...]:
    if len(set(countries)) >= 4:
        return countries
    ranked = sorted(x for x, _ in positions)
    cuts = [ranked[len(ranked) * q // 4] for q in (1, 2, 3)]
    return tuple(f"q{sum(x >= cut for cut in cuts)}" for x, _ in positions)
