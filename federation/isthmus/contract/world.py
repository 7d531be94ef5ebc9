"""The global tier's facts: intents, placements, sites, links, wires (DESIGN sections 4 and 7)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from isthmus.contract.chain import ChainSpec, Name, Segment
from isthmus.contract.envelope import Body


class Intent(Body):
    """A request that the global intake admitted."""

    spec: ChainSpec
    request_revision: int = 0


class CarriedSegment(Body):
    """A segment that a peer asked for and this tier admitted: carried at its own sites, as a site does."""

    segment: Segment
    source: Name


class SiteSpec(Body):
    """A site as the operator registered it. Prices are thousandths of a unit per core."""

    site: Name
    region: Name = "default"
    country: Name = "xx"
    owner: Name = "carrier"
    trust_domain: str = ""
    latitude: float = 0.0
    longitude: float = 0.0
    price_milli: int = Field(default=1000, ge=0)
    attachments: tuple[Name, ...] = ()
    relation: Literal["below", "beside"] = "below"
    """``beside``: another carrier's tier. What a peer asks of us is never passed on to one, nor told as ours."""


class LinkSpec(Body):
    """A directed link between two sites: one-way latency, capacity, price per Mbit/s in thousandths."""

    source: Name
    target: Name
    latency_us: int = Field(ge=0)
    capacity_kbps: int = Field(ge=0)
    price_milli: int = Field(default=10, ge=0)


class PlacedFunction(Body):
    """Function ``function`` of a chain is carried by ``site``."""

    function: Name
    site: Name


class PlacedWire(Body):
    """A wire that a placement needs between two sites, over the links of ``route``."""

    wire: Name
    left_site: Name
    right_site: Name
    route: tuple[Name, ...] = ()


class PlacedSegment(Body):
    """The part of a chain that ``site`` carries; wires have no VNI yet, wiring gives them one."""

    site: Name
    segment: Segment


class SiteRefusal(Body):
    """A site (or a peer) that refused its part of a chain: nothing that it refused is asked of it again before
    ``until_s``. ``epoch`` is that of the placement it refused last, ``times`` how often in a row it did. ``whole``: it
    would refuse any part, so moving the functions away is not enough."""

    site: Name
    epoch: int = Field(ge=0)
    times: int = Field(ge=1)
    until_s: float = Field(description="UTC seconds of this tier's clock")
    constraint: str = ""
    reason: str = ""
    whole: bool = False


class Placement(Body):
    """Where a chain goes: decided by the placer, the reservation of its capacity at the same time. ``routes`` has one
    list of sites per hop."""

    epoch: int = Field(ge=1)
    functions: tuple[PlacedFunction, ...]
    wires: tuple[PlacedWire, ...] = ()
    segments: tuple[PlacedSegment, ...]
    routes: tuple[tuple[Name, ...], ...] = ()
    latency_us: int = 0
    latency_budget_us: int = 0
    bandwidth_kbps: int = 0
    cost_milli: int = 0
    intent_revision: int = 0
    decided_by: str = ""
    source: Name = "local"
    source_epoch: int = 0
    """Of a peer's segment: who asked, and under which of its epochs."""
    refusals: tuple[SiteRefusal, ...] = ()
    """Who refused this very request, this placement or one before; a changed request begins anew."""


class Wire(Body):
    """A wire with its VXLAN network identifier; the ends are filled in as the sites report them. One with a ``source``
    is a peer's that ends here: ``right_site`` is that peer, the number is the peer's."""

    wire: Name
    vni: int = Field(ge=1, lt=2**24)
    tenant: Name
    chain: Name
    left_site: Name
    right_site: Name
    left_address: str = ""
    right_address: str = ""
    udp_port: int = 4789
    source: Name = "local"


class VniClaim(Body):
    """``vnis/<number>`` belongs to this wire; created by compare-and-swap so that none is given twice."""

    wire: Name


class SiteLiveness(Body):
    """What the region's watcher makes of a site: the age of its summary, and what neighbours hear of it.

    ``cut-off``: its link is silent, but a neighbour still gets packets from it. ``dead``: all neighbours that heard it
    until then hear nothing more. ``silent``: there is nobody to ask."""

    site: Name
    state: Literal["alive", "silent", "cut-off", "dead", "unknown"]
    age_s: float = 0.0
    reason: str = ""


class RegionSummary(Body):
    """Sums over a region's sites, written by the region's actor."""

    region: Name
    sites: int
    alive: int
    cpu_milli_free: int = 0
    memory_mib_free: int = 0
    runtime: str = ""
    actor_incarnation: str = ""
