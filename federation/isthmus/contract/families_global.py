"""The key families of the global store; a part of the table in :mod:`isthmus.contract.families`."""

from __future__ import annotations

from isthmus.contract import chain, instance, world
from isthmus.contract.family import Family, Tier

_G = Tier.GLOBAL

G_REQUESTS = Family(
    "requests",
    _G,
    "requests/local/{tenant}/{chain}",
    "api",
    ("intake", "janitor", "api"),
    chain.ChainRequest,
    "what the carrier's users ask for",
)
G_INTENTS = Family(
    "intents",
    _G,
    "intents/{tenant}/{chain}",
    "intake",
    ("placer", "wiring", "reporter", "representative", "janitor", "api"),
    world.Intent,
    "requests the global tier admitted",
)
G_SEGMENTS = Family(
    "segments",
    _G,
    "segments/{tenant}/{chain}",
    "intake",
    ("placer", "wiring", "reporter", "representative", "janitor", "api"),
    world.CarriedSegment,
    "segments that a peer asked for and this tier carries at its own sites",
)
G_CONFIRMATIONS = Family(
    "confirmations",
    _G,
    "confirmations/{peer}",
    "api",
    ("intake", "janitor", "api"),
    chain.Confirmation,
    "an operator's word that a peer's deletions take effect for a while (attack 19)",
    retention="janitor",
)
G_AGREEMENTS = Family(
    "agreements",
    _G,
    "agreements/{peer}",
    "gateway",
    ("api",),
    chain.AgreedVersion,
    "the newest export agreement with a peer that was in force; older ones are refused",
)
G_PLACEMENTS = Family(
    "placements",
    _G,
    "placements/{tenant}/{chain}",
    "placer",
    ("wiring", "reporter", "representative", "api"),
    world.Placement,
    "where chains go; also the reservation of what they use",
)
G_WIRES = Family(
    "wires",
    _G,
    "wires/{wire}",
    "wiring",
    ("intake", "reporter", "representative", "region.{any}", "api"),
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
    (
        "intake",
        "placer",
        "wiring",
        "reporter",
        "representative",
        "region.{any}",
        "gateway",
        "api",
    ),
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
    ("intake", "placer", "wiring", "reporter", "representative", "region.{any}", "api"),
    None,
    "read-only cache of what a site exports, or of what a peer asks of this tier",
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
    ("representative", "api"),
    chain.ChainStatus,
    "periodic report of a chain over all its sites (R43)",
)
G_SITE_SUMMARY = Family(
    "site-summary",
    _G,
    "summary/site",
    "representative",
    ("gateway", "api"),
    instance.SiteSummary,
    "totals and headroom of all sites of this tier, as if they were one",
    crosses="up",
)
G_PEER_CHAINS = Family(
    "peer-chains",
    _G,
    "summary/peers/{peer}/chains/{tenant}/{chain}",
    "representative",
    ("gateway", "api"),
    chain.ChainStatus,
    "status of the segments that a peer asked for, without the sites' names",
    crosses="up, to that peer only",
)
G_PEER_WIRES = Family(
    "peer-wires",
    _G,
    "summary/peers/{peer}/wires/{wire}",
    "representative",
    ("gateway", "api"),
    chain.WirePeer,
    "where a peer's wires end at this tier's sites",
    crosses="up, to that peer only",
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
    ("reporter", "representative", "janitor", "api"),
    chain.Explanation,
    "why a decision fell as it did",
    retention="janitor",
    limit_bytes=4096,
)
