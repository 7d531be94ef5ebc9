"""The federation: a summarized, scoped part of one key space in another store, over an untrusted wide area
(DESIGN section 6, docs/federation-protocol.md).
"""

from isthmus.federation.destination import synced_key
from isthmus.federation.digest import StoreDigest, digest, imported
from isthmus.federation.errors import FederationError
from isthmus.federation.limits import LinkLimits
from isthmus.federation.run import run_gateway, run_site_link
from isthmus.federation.settings import GatewaySettings, PeerSettings, SiteLinkSettings
from isthmus.federation.status import LinkStatus, read_status

__all__ = [
    "FederationError",
    "GatewaySettings",
    "LinkLimits",
    "LinkStatus",
    "PeerSettings",
    "SiteLinkSettings",
    "StoreDigest",
    "digest",
    "imported",
    "read_status",
    "run_gateway",
    "run_site_link",
    "synced_key",
]
