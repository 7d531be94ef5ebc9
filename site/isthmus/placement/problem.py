"""The problem file: ``isthmus.placement.problem/1``, read into the model, strictly.

Numbers of the file become integers of a millionth: cpu and memory x 1e6, Gb/s x 1e6 (kbit/s),
milliseconds x 1e6 (nanoseconds). Demands round up and capacities down (budgets down, link
latencies up), so whatever holds in integers holds in the file's own numbers; a value that is a
decimal of at most six places is kept exactly.

Optional fields beyond the exact format carry what the model adds: sites ``country``, ``features``;
chains ``forbidden_sites``, ``countries``, ``owners``, ``regions``, ``transit_sites`` (names of site
sets or lists), ``current``, ``migration_price``, ``backup``; functions ``name``, ``features``,
``allowed_sites``; ``ingress``/``egress`` may be a list; any resource besides cpu and memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from isthmus.placement.errors import InvalidProblem, UnknownReference
from isthmus.placement.model import ChainDemand, Function, Link, Network, Pair, Site

SCHEMA = "isthmus.placement.problem/1"
SCALE = 1_000_000
LIMIT = 1e9  # of any amount in the file's units
SLACK = 1e-4  # of a millionth: 0.1 * 3 must not round up
T = TypeVar("T")


@dataclass(frozen=True)
class Problem:
    """A network and the chains asked of it."""

    name: str
    network: Network
    chains: tuple[ChainDemand, ...]


def _number(where: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidProblem(where, value, "give a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or not 0 <= number <= LIMIT:
        raise InvalidProblem(where, value, f"give a finite number from 0 to {LIMIT:g}")
    return number


def up(where: str, value: object) -> int:
    """A demand: never less than the file says."""
    return math.ceil(_number(where, value) * SCALE - SLACK)


def down(where: str, value: object) -> int:
    """A capacity or a budget: never more than the file says."""
    return max(0, math.floor(_number(where, value) * SCALE + SLACK))


def _mapping(where: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidProblem(where, value, "give an object")
    return value


def _list(where: str, value: object) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise InvalidProblem(where, value, "give a list")
    return value


def _text(where: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidProblem(where, value, "give a text that is not empty")
    return value


def _get(where: str, row: Mapping[str, Any], key: str) -> Any:
    if key not in row:
        raise InvalidProblem(f"{where}.{key}", None, "this field is missing; add it")
    return row[key]


def _unique(where: str, ids: Sequence[str]) -> None:
    seen: set[str] = set()
    for one in ids:
        if one in seen:
            raise InvalidProblem(where, one, "this id is used twice; rename one")
        seen.add(one)


def parse(document: object) -> Problem:
    """A :class:`Problem` from decoded JSON, or one clear :class:`InvalidProblem`."""
    top = _mapping("problem", document)
    if top.get("schema") != SCHEMA:
        raise InvalidProblem("schema", top.get("schema"), f"this engine reads {SCHEMA!r}")
    name = _label("name", top.get("name"))
    sites = tuple(
        _site(f"sites[{i}]", row) for i, row in enumerate(_list("sites", _get("", top, "sites")))
    )
    if not sites:
        raise InvalidProblem("sites", [], "give at least one site")
    links = tuple(
        _link(f"links[{i}]", row) for i, row in enumerate(_list("links", top.get("links", [])))
    )
    network = Network(sites, links)
    reader = _Chains(
        {s.name for s in sites}, _mapping("site_sets", _or_empty(top.get("site_sets")))
    )
    rows = _list("chains", _get("", top, "chains"))
    chains = tuple(reader.chain(f"chains[{i}]", row) for i, row in enumerate(rows))
    _unique("chains", [c.id for c in chains])
    return Problem(name, network, chains)


def _site(where: str, value: object) -> Site:
    row = _mapping(where, value)
    name = _text(f"{where}.id", _get(where, row, "id"))
    capacity = _mapping(f"{where}.capacity", _get(where, row, "capacity"))
    price = _mapping(f"{where}.price", _or_empty(row.get("price")))
    return Site(
        name,
        {r: down(f"{where}.capacity.{r}", v) for r, v in capacity.items()},
        {r: _number(f"{where}.price.{r}", v) / SCALE for r, v in price.items()},
        _label(f"{where}.region", row.get("region")),
        _label(f"{where}.country", row.get("country")),
        _label(f"{where}.owner", row.get("owner")),
        _words(f"{where}.features", row.get("features")) or frozenset(),
    )


def _link(where: str, value: object) -> Link:
    row = _mapping(where, value)
    return Link(
        _text(f"{where}.from", _get(where, row, "from")),
        _text(f"{where}.to", _get(where, row, "to")),
        up(f"{where}.latency_ms", _get(where, row, "latency_ms")),
        down(f"{where}.capacity_gbps", _get(where, row, "capacity_gbps")),
        _number(f"{where}.price_per_gbps", row.get("price_per_gbps", 0)) / SCALE,
        _text(f"{where}.id", _get(where, row, "id")),
    )


class _Chains:
    """Reads chains against the names that the file defines."""

    def __init__(self, sites: set[str], sets: Mapping[str, Any]) -> None:
        self.sites = sites
        self.sets: dict[str, frozenset[str]] = {}
        for name, members in sets.items():
            self.sets[name] = self.names(f"site_sets.{name}", members)

    def names(self, where: str, value: object) -> frozenset[str]:
        """A list of sites, each known."""
        names = [_text(where, name) for name in _list(where, value)]
        for name in names:
            if name not in self.sites:
                raise UnknownReference(where, name, "no such site; add it to sites")
        return frozenset(names)

    def site_set(self, where: str, value: object) -> frozenset[str] | None:
        """A named set, or a list, or nothing."""
        if value is None:
            return None
        if not isinstance(value, str):
            return self.names(where, value)
        if value not in self.sets:
            raise UnknownReference(where, value, "no such set; add it to site_sets")
        return self.sets[value]

    def ends(self, where: str, value: object) -> tuple[str, ...]:
        """One site or a list of them, in order."""
        names = [value] if isinstance(value, str) else list(_list(where, value))
        self.names(where, names)
        if not names:
            raise InvalidProblem(where, value, "name at least one site")
        return tuple(dict.fromkeys(names))

    def chain(self, where: str, value: object) -> ChainDemand:
        row = _mapping(where, value)
        name = _text(f"{where}.id", _get(where, row, "id"))
        functions = tuple(
            self._function(f"{where}.functions[{i}]", i, f)
            for i, f in enumerate(_list(f"{where}.functions", _get(where, row, "functions")))
        )
        hops = _list(f"{where}.bandwidth_gbps", _get(where, row, "bandwidth_gbps"))
        budget = row.get("latency_budget_ms")
        forbidden = self.site_set(f"{where}.forbidden_sites", row.get("forbidden_sites"))
        current = row.get("current")
        return ChainDemand(
            name,
            functions,
            self.ends(f"{where}.ingress", _get(where, row, "ingress")),
            self.ends(f"{where}.egress", _get(where, row, "egress")),
            tuple(up(f"{where}.bandwidth_gbps", b) for b in hops),
            None if budget is None else down(f"{where}.latency_budget_ms", budget),
            _number(f"{where}.priority", row.get("priority", 1)),
            allowed_sites=self.site_set(f"{where}.allowed_sites", row.get("allowed_sites")),
            forbidden_sites=forbidden or frozenset(),
            countries=_words(f"{where}.countries", row.get("countries")),
            owners=_words(f"{where}.owners", row.get("owners")),
            regions=_words(f"{where}.regions", row.get("regions")),
            transit_sites=self.site_set(f"{where}.transit_sites", row.get("transit_sites")),
            affinity=_pairs(f"{where}.affinity", row.get("affinity")),
            anti_affinity=_pairs(f"{where}.anti_affinity", row.get("anti_affinity")),
            current=_optional(
                current, lambda c: tuple(_text(f"{where}.current", n) for n in _list(where, c))
            ),
            migration_price=_number(f"{where}.migration_price", row.get("migration_price", 0)),
            backup=_flag(f"{where}.backup", row.get("backup")),
        )

    def _function(self, where: str, i: int, value: object) -> Function:
        row = dict(_mapping(where, value))
        name = _label(f"{where}.name", row.pop("name", None)) or f"f{i}"
        features = _words(f"{where}.features", row.pop("features", None)) or frozenset()
        allowed = self.site_set(f"{where}.allowed_sites", row.pop("allowed_sites", None))
        demand = {r: up(f"{where}.{r}", v) for r, v in row.items()}
        return Function(name, demand, features, allowed)


def _optional(value: object, read: Callable[[object], T]) -> T | None:
    return None if value is None else read(value)


def _or_empty(value: object) -> object:
    return {} if value is None else value


def _label(where: str, value: object) -> str:
    """A text that may be empty or left out; owners and regions are numbers in some files."""
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**9:
        return str(value)
    if not isinstance(value, str):
        raise InvalidProblem(where, value, "give a text")
    return value


def _flag(where: str, value: object) -> bool:
    if value is not None and not isinstance(value, bool):
        raise InvalidProblem(where, value, "give true or false")
    return bool(value)


def _words(where: str, value: object) -> frozenset[str] | None:
    return (
        None
        if value is None
        else frozenset(_text(where, _label(where, w)) for w in _list(where, value))
    )


def _pairs(where: str, value: object) -> tuple[Pair, ...]:
    pairs = []
    for pair in _list(where, () if value is None else value):
        ends = _list(where, pair)
        if len(ends) != 2 or not all(type(i) is int for i in ends):
            raise InvalidProblem(where, pair, "give two positions of functions, as [0, 2]")
        pairs.append((ends[0], ends[1]))
    return tuple(pairs)


def dump(problem: Problem) -> dict[str, Any]:
    """The file's document of a problem; ``parse(dump(p)) == p`` up to names of sets."""
    sets: dict[frozenset[str], str] = {}
    chains = [_chain_row(c, sets) for c in problem.chains]
    return {
        "schema": SCHEMA,
        "name": problem.name,
        "sites": [_site_row(s) for s in problem.network.sites],
        "links": [
            {
                "id": k.id,
                "from": k.source,
                "to": k.target,
                "latency_ms": k.latency_ns / SCALE,
                "capacity_gbps": k.capacity_kbps / SCALE,
                "price_per_gbps": round(k.price * SCALE, 9),
            }
            for k in problem.network.links
        ],
        "site_sets": {name: sorted(members) for members, name in sets.items()},
        "chains": chains,
    }


def _site_row(site: Site) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": site.name,
        "region": site.region,
        "owner": site.owner,
        "capacity": {r: v / SCALE for r, v in site.capacity.items()},
        "price": {r: round(v * SCALE, 9) for r, v in site.price.items()},
    }
    if site.country:
        row["country"] = site.country
    if site.features:
        row["features"] = sorted(site.features)
    return row


def _chain_row(c: ChainDemand, sets: dict[frozenset[str], str]) -> dict[str, Any]:
    def named(members: frozenset[str]) -> str:
        return sets.setdefault(members, f"set{len(sets)}")

    row: dict[str, Any] = {
        "id": c.id,
        "ingress": c.ingress[0] if len(c.ingress) == 1 else list(c.ingress),
        "egress": c.egress[0] if len(c.egress) == 1 else list(c.egress),
        "priority": c.priority,
        "functions": [_function_row(f) for f in c.functions],
        "bandwidth_gbps": [b / SCALE for b in c.bandwidth_kbps],
        "anti_affinity": [list(p) for p in c.anti_affinity],
        "affinity": [list(p) for p in c.affinity],
    }
    if c.latency_budget_ns is not None:
        row["latency_budget_ms"] = c.latency_budget_ns / SCALE
    for key in ("allowed_sites", "transit_sites"):
        if getattr(c, key) is not None:
            row[key] = named(getattr(c, key))
    if c.forbidden_sites:
        row["forbidden_sites"] = named(c.forbidden_sites)
    for key in ("countries", "owners", "regions"):
        if getattr(c, key) is not None:
            row[key] = sorted(getattr(c, key))
    if c.current is not None:
        row |= {"current": list(c.current), "migration_price": c.migration_price}
    return row | ({"backup": True} if c.backup else {})


def _function_row(f: Function) -> dict[str, Any]:
    row: dict[str, Any] = {r: v / SCALE for r, v in f.demand.items()}
    row["name"] = f.name
    if f.features:
        row["features"] = sorted(f.features)
    if f.allowed_sites is not None:
        row["allowed_sites"] = sorted(f.allowed_sites)
    return row
