"""Statistics of one host's vSwitch: packets per instance as the panel counted them, whatever the VNF says (R38)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from isthmus.contract.families import RUNTIME, SWITCH_STATS
from isthmus.contract.instance import InstanceStats
from isthmus.microcontroller import Context, Traits
from isthmus.vswitch import PatchPanel

ITEM = "*counters"


@dataclass(slots=True)
class Statistics:
    """Reads all counters of the host once per ``period_s`` and writes those that moved."""

    host: str
    panel: PatchPanel
    period_s: float = 2.0
    traits: Traits = field(default_factory=Traits)
    standing_items: tuple[str, ...] = (ITEM,)

    @property
    def component(self) -> str:
        """``statistics.<host>``."""
        return f"statistics.{self.host}"

    @property
    def watches(self) -> Sequence[str]:
        """Lives on this host and its own counters."""
        return (RUNTIME.prefix(host=self.host), SWITCH_STATS.prefix(host=self.host))

    def items_for(self, key: str) -> Iterable[str]:
        """Only the period counts."""
        return ()

    async def reconcile(self, item: str, context: Context) -> float | None:
        """Publish the counters of this host's instances."""
        counters = await self.panel.counters()
        wanted = set()
        for known in context.state.items(RUNTIME, host=self.host):
            runtime = known.envelope.body
            inward, outward = runtime.legs.get("in", ""), runtime.legs.get("out", "")
            if inward not in counters or outward not in counters:
                continue
            key = SWITCH_STATS.key(host=self.host, instance=runtime.instance)
            wanted.add(key)
            # The host's end of a leg receives what the instance sends: out's rx is what went forward.
            await context.writer.put(
                key,
                InstanceStats(
                    source="vswitch",
                    incarnation=runtime.incarnation,
                    packets_forward=counters[outward].rx_packets,
                    packets_reverse=counters[inward].rx_packets,
                    bytes_forward=counters[outward].rx_bytes,
                    bytes_reverse=counters[inward].rx_bytes,
                ),
            )
        for known in list(context.state.items(SWITCH_STATS, host=self.host)):
            if known.variables["instance"] not in {
                k.variables["instance"] for k in context.state.items(RUNTIME, host=self.host)
            }:
                await context.writer.delete(known.key)
        return self.period_s
