"""The chain that most tests of the API are about."""

from __future__ import annotations

from typing import Any

from tests.api_world import ApiWorld

from isthmus.contract import families, unseal
from isthmus.contract.chain import ChainRequest, Segment, Terminal

NAMES: dict[str, Any] = {"tenant": "acme", "chain": "shop"}


def segment() -> Segment:
    """What a site carries of the chain."""
    end = Terminal(kind="attachment", name="customer")
    return Segment(tenant="acme", chain="shop", left=end, right=end)


async def stored(world: ApiWorld) -> Any:
    """The request as it lies in the store."""
    entry = await world.store.get(families.REQUESTS.key(**NAMES))
    assert entry is not None
    return unseal(entry.value, ChainRequest)
