"""The key families of a site's store; a part of the table in :mod:`isthmus.contract.families`."""

from __future__ import annotations

from isthmus.contract import chain, instance
from isthmus.contract.family import Family, Tier

_S = Tier.SITE

REQUESTS = Family(
    "requests",
    _S,
    "requests/local/{tenant}/{chain}",
    "api",
    ("intake", "janitor", "api"),
    chain.ChainRequest,
    "what this tier's own users ask for",
)
HEAL_REQUESTS = Family(
    "heal-requests",
    _S,
    "requests/healer/{instance}",
    "healer",
    ("placer", "api"),
    instance.HealRequest,
    "a life of an instance ended; the placer starts the next one",
)
REMOTE = Family(
    "remote",
    _S,
    "remote/{peer}/",
    "federation",
    ("intake", "chaining.{any}", "api"),
    None,
    "read-only cache of what a peer exports to this site",
)
CONFIRMATIONS = Family(
    "confirmations",
    _S,
    "confirmations/{peer}",
    "api",
    ("intake", "janitor", "api"),
    chain.Confirmation,
    "an operator's word that a peer's deletions take effect for a while (attack 19)",
    retention="janitor",
)
AGREEMENTS = Family(
    "agreements",
    _S,
    "agreements/{peer}",
    "federation",
    ("api",),
    chain.AgreedVersion,
    "the newest export agreement with a peer that was in force; older ones are refused",
)
CATALOG = Family(
    "catalog",
    _S,
    "catalog/{type}/{version}",
    "intake",
    ("placer", "launcher.{any}", "configurator", "summarizer", "api"),
    instance.CatalogEntry,
    "VNF types this site can run",
)
SPECS = Family(
    "specs",
    _S,
    "specs/{tenant}/{chain}",
    "intake",
    ("placer", "configurator", "reporter", "summarizer", "chaining.{any}", "janitor", "api"),
    chain.ChainRecord,
    "segments this site has admitted",
)
CONFIG_OWNERS = Family(
    "config-owners",
    _S,
    "config-owner/{instance}",
    "intake",
    ("configurator", "credentials", "instance.{instance}", "api"),
    instance.ConfigOwner,
    "who configures an instance",
)
PLANS = Family(
    "plans",
    _S,
    "plans/{tenant}/{chain}",
    "placer",
    ("chaining.{any}", "configurator", "reporter", "summarizer", "monitor", "healer", "api"),
    chain.ChainPlan,
    "instances on hosts and the hops between them",
)
DESIRED = Family(
    "desired",
    _S,
    "desired/{host}/{instance}",
    "placer",
    (
        "launcher.{host}",
        "chaining.{host}",
        "configurator",
        "credentials",
        "healer",
        "monitor",
        "reporter",
        "statistics.{host}",
        "api",
    ),
    instance.InstanceDesired,
    "what the placer orders on a host",
)
CONFIG = Family(
    "config",
    _S,
    "config/{owner}/{instance}",
    "{owner}",
    ("monitor", "api"),
    instance.InstanceConfig,
    "configuration of an instance, by its owner: configurator or an EMS",
)
INVENTORY = Family(
    "inventory",
    _S,
    "inventory/{host}",
    "watcher.{host}",
    ("intake", "placer", "summarizer", "chaining.{any}", "reporter", "api"),
    instance.HostInventory,
    "what a host has",
)
SIGNING_REQUESTS = Family(
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
WIRE_HEARD = Family(
    "heard",
    _S,
    "heard/{host}/{wire}",
    "statistics.{host}",
    ("summarizer", "api"),
    instance.WireHeard,
    "when packets last came over a wire",
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
    ("summarizer", "statistics.{host}", "api"),
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
    limit_bytes=4096,
)
