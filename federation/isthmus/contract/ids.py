"""Names that are computed, not drawn: the same fact has the same name after any restart (R16, R20).

Instances and wires are named by a hash, so that nothing below the manager learns a tenant's or a chain's name.
"""

from __future__ import annotations

import hashlib


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def instance_id(tenant: str, chain: str, function: str) -> str:
    """The opaque id of the instance that serves ``function``."""
    return "i-" + _digest("instance", tenant, chain, function)


def wire_id(tenant: str, chain: str, epoch: int, index: int, scope: str = "") -> str:
    """The opaque id of a chain's ``index``-th wire under ``epoch``: a new placement never reuses an old wire. ``scope``
    is the tier that carries the chain for another: both count epochs of their own."""
    return "w-" + _digest("wire", tenant, chain, str(epoch), str(index), *filter(None, (scope,)))


def tier_mark(tier: str, tenant: str = "") -> str:
    """The opaque mark that ``tier`` leaves on a tenant's segments that it passes on."""
    return "t-" + _digest("tier", tier, tenant)


def local_wire_id(tenant: str, chain: str, hop: int) -> str:
    """The opaque id of a wire between two hosts of one site."""
    return "l-" + _digest("local-wire", tenant, chain, str(hop))
