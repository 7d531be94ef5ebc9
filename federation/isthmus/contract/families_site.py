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
    ("intake", "api"),
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
    ("placer", "configurator", "reporter", "summarizer", "chaining.{any}", "api"),
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
        "agent.{host}",
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
SIGNIN
