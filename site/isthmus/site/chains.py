"""Work items of controllers that settle one chain at a time: ``<tenant>/<chain>``."""

from __future__ import annotations


def chain_item(tenant: str, chain: str) -> str:
    """The item of a chain."""
    return f"{tenant}/{chain}"


def parse_item(item: str) -> tuple[str, str]:
    """Tenant and chain of an item."""
    tenant, _, chain = item.partition("/")
    return tenant, chain
