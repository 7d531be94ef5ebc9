"""The key families of the global store; a part of the table in :mod:`isthmus.contract.families`."""

from __future__ import annotations

from isthmus.contract import chain, instance, world
from isthmus.contract.family import Family, Tier

_G = Tier.GLOBAL

G_REQUESTS = Family(
    "signing-requests",
    _S,
    "csr/{host}/{instance}",
    "launcher.{host}",
    ("credentials",),
    instance.SigningRequest,
    "a launcher asks for an instance's certificate",
)
CERTIFICATES = Family(
    "certificates",
    _S,
    "certificates/{host}/{instance}",
    "credentials",
    ("launcher.{host}",),
    instance.InstanceCertificate,
    "signed certificates of instances",
)
RUNTIME = Family(
    "runtime",
    _S,
    "runtime/{host}/{instance}",
    "launcher.{host}",
    ("chaining.{host}", "healer", "monitor", "reporter", "statistics.{host}", "credentials", "api"),
    instance.InstanceRuntime,
    "what the launcher sees of an instance",
)
APPLIED = Family(
    "applied",
    _S,
    "instances/{instance}/applied",
    "instance.{instance}",
    ("chaining.{any}", "configurator", "healer", "monitor", "reporter", "api"),
    instance.Applied,
    "which configuration is in force, in which life",
)
STATE = Family(
    "state",
    _S,
    "instances/{instance}/state",
    "instance.{instance}",
    ("configurator", "healer", "monitor", "reporter", "api"),
    instance.InstanceState,
    "operational state, published by the VNF",
)
VNF_STATS = Family(
    "vnf-stats",
    _S,
    "instances/{instance}/stats",
    "instance.{instance}",
    ("monitor", "reporter", "api"),
    instance.InstanceStats,
    "counters, published by the VNF",
)
SWITCH_STATS = Family(
    "switch-stats",
    _S,
    "stats/{host}/{instance}",
    "statistics.{host}",
    ("monitor", "reporter", "api"),
    instance.InstanceStats,
    "counters of the vSwitch",
)
CORDS = Family(
    "cords",
    _S,
    "cords/{host}/{tenant}/{chain}",
    "chaining.{host}",
    ("reporter", "monitor", "api"),
    instance.ChainCords,
    "which hops of a chain are patched",
)
ENDPOINTS = Family(
    "endpoints",
    _S,
    "endpoints/{host}/{wire}",
    "chaining.{host}",
    ("summarizer", "api"),
    instance.WireEndpoint,
    "where a wire ends on this site",
)
STATUS = Family(
    "status",
    _S,
    "status/{tenant}/{chain}",
    "reporter",
    ("summarizer", "api"),
    chain.ChainStatus,
    "periodic report of a chain (R43)",
)
SITE_SUMMARY = Family(
    "site-summary",
    _S,
    "summary/site",
    "summarizer",
    ("federation", "api"),
    instance.SiteSummary,
    "totals and headroom of this site",
    crosses="up",
)
PEER_CHAINS = Family(
    "peer-chains",
    _S,
    "summary/peers/{peer}/chains/{tenant}/{chain}",
    "summarizer",
    ("federation", "api"),
    chain.ChainStatus,
    "status of the chains that a peer asked for",
    crosses="up, to that peer only",
)
PEER_WIRES = Family(
    "peer-wires",
    _S,
    "summary/peers/{peer}/wires/{wire}",
    "summarizer",
    ("federation", "api"),
    chain.WirePeer,
    "where the wires end that a peer asked for",
    crosses="up, to that peer only",
)
HEALTH = Family(
    "health",
    _S,
    "health/{instance}",
    "monitor",
    ("healer", "reporter", "api"),
    instance.InstanceState,
    "the monitor's verdict on an instance",
)
LEASES = Family(
    "leases",
    _S,
    "leases/{component}",
    "{component}",
    ("api",),
    instance.Leadership,
    "who leads a role",
    retention="lease",
)
EVENTS = Family(
    "events",
    _S,
    "events/{component}/{id}",
    "{component}",
    ("janitor", "api"),
    instance.OperationalEvent,
    "what happened",
    retention="janitor",
)
EXPLAIN = Family(
    "explain",
    _S,
    "explain/{component}/{tenant}/{chain}",
    "{component}",
    ("reporter", "summarizer", "janitor", "api"),
    chain.Explanation,
    "why a decision fell as it did",
    retention="janitor",
)

G_REQUESTS = Family(
    "requests",
    _G,
    "requests/local/{tenant}/{chain}",
    "api",
    ("intake", "api"),
    chain.ChainRequest,
    "what the carrier's users ask for",
)
G_INTENTS = Family(
    "intents",
    _G,
    "intents/{tenant}/{chain}",
    "intake",
    ("placer", "wiring", "reporter", "api"),
    world.Intent,
    "requests the global tier admitted",
)
G_PLACEMENTS = Family(
    "placements",
    _G,
    "placements/{tenant}/{chain}",
    "placer",
    ("wiring", "reporter", "api"),
    world.Placement,
    "where chains go; also the reservation of what they use",
)
G_WIRES = Family(
    "wires",
    _G,
    "wires/{wire}",
    "wiring",
    ("reporter", "api"),
    world.Wire,
    "wires between sites and the addresses of their ends",
)
G_VNIS = Family(
    "vnis",
    _G,
    "vnis/{number}",
    "wiring",
    ("api",),
    world.VniClaim,
    "claimed VXLAN network identifiers",
)
G_SITES = Family(
    "sites",
    _G,
    "sites/{site}",
    "operator",
    ("intake", "placer", "wiring", "reporter", "region.{any}", "gateway", "api"),
    world.SiteSpec,
    "registered sites",
)
G_LINKS = Family(
    "links",
    _G,
    "links/{source}/{target}",
    "operator",
    ("placer", "reporter", "api"),
    world.LinkSpec,
    "links between sites",
)
G_OUTBOX_INTENTS = Family(
    "outbox-intents",
    _G,
    "outbox/{site}/intents/{tenant}/{chain}",
    "wiring",
    ("gateway", "reporter", "api"),
    chain.SegmentIntent,
    "what a site is asked to carry",
    crosses="down, to that site only",
)
G_OUTBOX_WIRES = Family(
    "outbox-wires",
    _G,
    "outbox/{site}/wires/{wire}",
    "wiring",
    ("gateway", "api"),
    chain.WirePeer,
    "the far ends of a site's wires",
    crosses="down, to that site only",
)
G_REMOTE = Family(
    "remote",
    _G,
    "remote/{site}/",
    "gateway",
    ("intake", "placer", "wiring", "reporter", "region.{any}", "api"),
    None,
    "read-only cache of what a site exports",
)
G_LIVENESS = Family(
    "liveness",
    _G,
    "liveness/{region}/{site}",
    "region.{region}",
    ("placer", "reporter", "api"),
    world.SiteLiveness,
    "is a site heard of",
)
G_REGIONS = Family(
    "regions",
    _G,
    "regions/{region}",
    "region.{region}",
    ("reporter", "api"),
    world.RegionSummary,
    "sums over a region",
)
G_STATUS = Family(
    "status",
    _G,
    "status/{tenant}/{chain}",
    "reporter",
    ("api",),
    chain.ChainStatus,
    "periodic report of a chain over all its sites (R43)",
)
G_LEASES = Family(
    "leases",
    _G,
    "leases/{component}",
    "{component}",
    ("api",),
    instance.Leadership,
    "who leads a role",
    retention="lease",
)
G_EVENTS = Family(
    "events",
    _G,
    "events/{component}/{id}",
    "{component}",
    ("janitor", "api"),
    instance.OperationalEvent,
    "what happened",
    retention="janitor",
)
G_EXPLAIN = Family(
    "explain",
    _G,
    "explain/{component}/{tenant}/{chain}",
    "{component}",
    ("reporter", "janitor", "api"),
    chain.Explanation,
    "why a decision fell as it did",
    retention="janitor",
)
