"""A peer of a site in these tests: what it wishes, and what became of it in the store."""

from __future__ import annotations

from typing import Any

from tests.simulation.site.world import HollowSite
from tests.support import eventually

from isthmus.contract import unseal
from isthmus.contract.chain import ChainRecord, Explanation, Segment, SegmentIntent
from isthmus.contract.families import EXPLAIN, SPECS

INTENTS = "/isthmus/v1/remote/global/intents/"


def segment(name: str, **more: Any) -> Segment:
    """What a peer asks for: from its wire to its wire."""
    wires = [{"wire": f"w-{name}-{end}", "vni": 100 + len(name)} for end in ("l", "r")]
    return Segment.model_validate(
        {
            "tenant": "acme",
            "chain": name,
            "left": {"kind": "wire", "name": wires[0]["wire"]},
            "right": {"kind": "wire", "name": wires[1]["wire"]},
            "functions": [
                {"name": "fw", "type": "firewall", "config": {"default_policy": "accept"},
                 "resources": {"cpu_milli": 1, "memory_mib": 1}}
            ],
            "wires": wires,
            "epoch": 1,
            **more,
        }
    )  # fmt: skip


async def ask(site: HollowSite, wanted: Segment, at: str = "") -> None:
    """A peer's intent, as its link would leave it."""
    await site.put(f"{INTENTS}{at or f'acme/{wanted.chain}'}", SegmentIntent(segment=wanted))


async def explained(site: HollowSite, name: str, component: str = "intake") -> Explanation | None:
    entry = await site.store.get(EXPLAIN.key(component=component, tenant="acme", chain=name))
    return None if entry is None else unseal(entry.value, Explanation).body


def attachment(name: str) -> dict[str, str]:
    return {"kind": "attachment", "name": name}


async def record(site: HollowSite, name: str) -> ChainRecord | None:
    entry = await site.store.get(SPECS.key(tenant="acme", chain=name))
    return None if entry is None else unseal(entry.value, ChainRecord).body


async def admitted(site: HollowSite, *names: str) -> None:
    """Wait until all are carried."""

    async def all_there() -> bool:
        return all([await record(site, name) is not None for name in names])

    await eventually(all_there, f"{', '.join(names)} are admitted")
