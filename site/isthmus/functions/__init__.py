"""The network functions that ship with Isthmus (DESIGN section 5, "VNFs").

Each is a pure renderer from a typed configuration to what the kernel of its instance should do; the agent
(:mod:`isthmus.functions.agent`) runs them on every kind of NFV node.
"""

from isthmus.contract.instance import CatalogEntry
from isthmus.functions.firewall import Firewall, FirewallParameters, FirewallRule
from isthmus.functions.limiter import Limiter, LimiterParameters
from isthmus.functions.nat import Nat, NatParameters, PortForward
from isthmus.vnf.descriptor import Registry

__all__ = [
    "Firewall",
    "FirewallParameters",
    "FirewallRule",
    "Limiter",
    "LimiterParameters",
    "Nat",
    "NatParameters",
    "PortForward",
    "catalog_entries",
    "shipped",
]


def shipped() -> Registry:
    """A new registry with every shipped function."""
    return Registry(Firewall(), Nat(), Limiter())


def catalog_entries() -> tuple[CatalogEntry, ...]:
    """What a site's intake writes below ``catalog/`` for the shipped functions."""
    return shipped().catalog_entries()
