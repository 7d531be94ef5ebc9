"""What is placed, and on what: sites, directed links, chains, and the two possible answers.

Why integers: a placement engine that adds floats drifts, and after a million moves a full site
looks free (research pitfall "float drift"). So every amount that is reserved is an integer of a
small unit: bandwidth in kbit/s, latency in nanoseconds, and resources in whatever small unit the
caller puts into the *name* of the resource (``cpu_milli``, ``memory_mib``). Only money is a float,
because prices are compared, never reserved. Sources: DESIGN section 3 and 7, issue "placement
engine" point 1.

A *site* here is anything with capacity: a data center for the global tier, a single host for a
site's placer. Latency of a chain counts the links of all its hops; whatever a function itself
takes is for the caller to subtract from the budget.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from isthmus.placement.errors import InvalidProblem, UnknownReference

MAX_AMOUNT = 10**15  # of any resource, bandwidth or latency: sums stay exact in a double and int64
MAX_PRICE = 1e9
MAX_PRIORITY = 1e9
MAX_FUNCTIONS = 32  # in one chain, as in the key contract; the field's chains have 2 to 8
VALUE_OF_PRIORITY = 1000.0  # objective: this much per unit of priority accepted, minus all cost


def _amount(where: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_AMOUNT:
        raise InvalidProblem(where, value, f"give an integer from 0 to {MAX_AMOUNT}")


def _price(where: str, value: object, limit: float = MAX_PRICE) -> None:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
        or not 0 <= value <= limit
    ):
        raise InvalidProblem(where, value, f"give a finite number from 0 to {limit:g}")


def _name(where: str, value: object) -> None:
    if not isinstance(value, str) or not 0 < len(value) <= 256:
        raise InvalidProblem(where, value, "give a name of 1 to 256 characters")


@dataclass(frozen=True, slots=True)
class Site:
    """A place with capacity. ``price`` is money per single unit of that resource's integer."""

    name: str
    capacity: Mapping[str, int]
    price: Mapping[str, float] = field(default_factory=dict)
    region: str = ""
    country: str = ""
    owner: str = ""
    features: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        _name("site.name", self.name)
        for resource, amount in self.capacity.items():
            _amount(f"site {self.name}: capacity.{resource}", amount)
        for resource, price in self.price.items():
            _price(f"site {self.name}: price.{resource}", price)


@dataclass(frozen=True, slots=True)
class Link:
    """One direction of a link; the other direction is a link of its own with its own capacity.

    ``price`` is money per kbit/s each time a hop crosses the link. Parallel links are told apart
    by ``id``, which is ``source>target`` when not given.
    """

    source: str
    target: str
    latency_ns: int
    capacity_kbps: int
    price: float = 0.0
    id: str = ""

    def __post_init__(self) -> None:
        _name("link.source", self.source)
        _name("link.target", self.target)
        if not self.id:
            object.__setattr__(self, "id", f"{self.source}>{self.target}")
        _name("link.id", self.id)
        _amount(f"link {self.id}: latency_ns", self.latency_ns)
        _amount(f"link {self.id}: capacity_kbps", self.capacity_kbps)
        _price(f"link {self.id}: price", self.price)


@dataclass(frozen=True, slots=True)
class Network:
    """Sites and the directed links between them; immutable, checked once."""

    sites: tuple[Site, ...]
    links: tuple[Link, ...]

    def __post_init__(self) -> None:
        names: set[str] = set()
        for site in self.sites:
            if site.name in names:
                raise InvalidProblem("site.name", site.name, "this name is used twice; rename one")
            names.add(site.name)
        ids: set[str] = set()
        for link in self.links:
            if link.id in ids:
                raise InvalidProblem("link.id", link.id, "this id is used twice; rename one")
            ids.add(link.id)
            for end in (link.source, link.target):
                if end not in names:
                    raise UnknownReference(f"link {link.id}", end, "no such site; add it")

    @property
    def resources(self) -> tuple[str, ...]:
        """Every resource that some site offers, sorted."""
        return tuple(sorted({r for site in self.sites for r in site.capacity}))


@dataclass(frozen=True, slots=True)
class Function:
    """One VNF of a chain: what it takes, and which features its site must have."""

    name: str
    demand: Mapping[str, int] = field(default_factory=dict)
    features: frozenset[str] = frozenset()
    allowed_sites: frozenset[str] | None = None

    def __post_init__(self) -> None:
        for resource, amount in self.demand.items():
            _amount(f"function {self.name}: demand.{resource}", amount)


Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class ChainDemand:
    """What a tenant asks for. ``bandwidth_kbps`` has one entry per hop: functions + 1.

    ``allowed_sites``, ``countries``, ``owners`` and ``regions`` say where *functions* may stand
    (None: anywhere); ``transit_sites`` says which sites the traffic may cross besides the ends and
    the sites of the functions. ``affinity`` and ``anti_affinity`` are pairs of positions of
    functions. ``current`` and ``migration_price`` make a chain sticky: each function that leaves
    its current site costs that much.
    """

    id: str
    functions: tuple[Function, ...]
    ingress: tuple[str, ...]
    egress: tuple[str, ...]
    bandwidth_kbps: tuple[int, ...]
    latency_budget_ns: int | None = None
    priority: float = 1.0
    allowed_sites: frozenset[str] | None = None
    forbidden_sites: frozenset[str] = frozenset()
    countries: frozenset[str] | None = None
    owners: frozenset[str] | None = None
    regions: frozenset[str] | None = None
    transit_sites: frozenset[str] | None = None
    affinity: tuple[Pair, ...] = ()
    anti_affinity: tuple[Pair, ...] = ()
    current: tuple[str, ...] | None = None
    migration_price: float = 0.0
    backup: bool = False

    def __post_init__(self) -> None:
        _name("chain.id", self.id)
        here = f"chain {self.id}"
        if isinstance(self.ingress, str) or isinstance(self.egress, str):
            raise InvalidProblem(here, self.ingress, "ingress and egress are tuples of site names")
        if not self.ingress or not self.egress:
            raise InvalidProblem(f"{here}: ingress/egress", (), "name at least one site for each")
        if len(self.functions) > MAX_FUNCTIONS:
            raise InvalidProblem(
                f"{here}: functions", len(self.functions), f"at most {MAX_FUNCTIONS}; split it"
            )
        if len(self.bandwidth_kbps) != len(self.functions) + 1:
            raise InvalidProblem(
                f"{here}: bandwidth",
                self.bandwidth_kbps,
                f"give one per hop: {len(self.functions) + 1} for {len(self.functions)} functions",
            )
        for bandwidth in self.bandwidth_kbps:
            _amount(f"{here}: bandwidth", bandwidth)
        if self.latency_budget_ns is not None:
            _amount(f"{here}: latency budget", self.latency_budget_ns)
        _price(f"{here}: priority", self.priority, MAX_PRIORITY)
        _price(f"{here}: migration_price", self.migration_price)
        for pair in (*self.affinity, *self.anti_affinity):
            self._check_pair(here, pair)
        if self.current is not None and len(self.current) != len(self.functions):
            raise InvalidProblem(f"{here}: current", self.current, "give one site per function")

    def _check_pair(self, here: str, pair: Pair) -> None:
        size = len(self.functions)
        if len(pair) != 2 or not all(isinstance(i, int) and 0 <= i < size for i in pair):
            raise InvalidProblem(
                f"{here}: affinity", pair, f"give two positions of functions, 0 to {size - 1}"
            )

    @property
    def value(self) -> float:
        """What accepting this chain adds to the objective before its cost."""
        return VALUE_OF_PRIORITY * self.priority


def chain(
    id: str,
    functions: Iterable[Function],
    ingress: str | Iterable[str],
    egress: str | Iterable[str],
    bandwidth_kbps: int | Iterable[int],
    **more: object,
) -> ChainDemand:
    """A :class:`ChainDemand` from the short forms: one site name, one bandwidth for all hops."""
    listed = tuple(functions)
    one = isinstance(bandwidth_kbps, int)
    hops = (bandwidth_kbps,) * (len(listed) + 1) if one else tuple(bandwidth_kbps)  # type: ignore[arg-type]
    return ChainDemand(
        id,
        listed,
        (ingress,) if isinstance(ingress, str) else tuple(ingress),
        (egress,) if isinstance(egress, str) else tuple(egress),
        hops,  # type: ignore[arg-type]
        **more,  # type: ignore[arg-type]
    )


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a chain stands. ``hops`` holds the link ids of each hop, in the order travelled.

    ``cost`` is in true prices; ``lower_bound`` is what no placement on the same residual state can
    undercut, so ``cost - lower_bound`` is a proved gap (0 when the search closed it).
    """

    chain: str
    sites: tuple[str, ...]
    hops: tuple[tuple[str, ...], ...]
    routes: tuple[tuple[str, ...], ...]
    latency_ns: int
    cost: float
    lower_bound: float
    work: int = 0
    backup: Placement | None = None

    @property
    def latency_us(self) -> int:
        """Latency in whole microseconds, rounded up."""
        return -(-self.latency_ns // 1000)


RefusalKind = Literal["alone", "residual", "undecided"]
Constraint = Literal[
    "sites",  # no site is permitted to a function
    "capacity",  # permitted sites lack room
    "bandwidth",  # links lack room
    "route",  # no way at all, whatever the room
    "latency",
    "affinity",  # affinity and anti-affinity cannot both, or not beside the rest, be kept
    "joint",  # each function and hop fits, the sum does not
    "backup",
    "price",  # costs more than the caller's limit
    "work",  # undecided
]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One site in the table of a refusal: what stood against it, in numbers."""

    site: str
    verdict: str


@dataclass(frozen=True, slots=True)
class Change:
    """One step of a relaxation: ``amount`` more (or less) of ``what``."""

    what: str
    amount: int
    unit: str


@dataclass(frozen=True, slots=True)
class Relaxation:
    """The least change found that lets the chain in, proved by placing it with the change.

    ``size`` compares relaxations (relative to what was asked for); ``least`` is True when the
    search proved that nothing smaller of the same kind is enough.
    """

    kind: Literal["latency", "room", "constraint", "preemption"]
    text: str
    changes: tuple[Change, ...]
    size: float
    least: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a chain has no place.

    ``alone``: impossible even on the empty network. ``residual``: possible there, but not beside
    what is placed in the snapshot named by ``snapshot``. ``undecided``: the work limit ended the
    search; nothing is claimed. ``certificate`` is data that a separate checker can verify.
    """

    chain: str
    kind: RefusalKind
    constraint: Constraint
    text: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    candidates: tuple[Candidate, ...] = ()
    relaxations: tuple[Relaxation, ...] = ()
    certificate: Mapping[str, object] = field(default_factory=dict)
    snapshot: str = ""
    work: int = 0

    @property
    def nearest(self) -> Relaxation | None:
        """The relaxation to offer first."""
        return self.relaxations[0] if self.relaxations else None
