"""Statistics of one host's vSwitch: packets per instance as the panel counted them, whatever the VNF says (R38).

And when packets last came over each wire from another site: by that a neighbour whose own link is silent is judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from isthmus.contract.families import ENDPOINTS, RUNTIME, SWITCH_STATS, WIRE_HEARD
from isthmus.contract.instance import InstanceStats, WireHeard
from isthmus.microcontroller import Context, Traits
from isthmus.vswitch import Counters, PatchPanel, wire_device

ITEM = "*counters"
HEARD_EVERY_S = 5.0
"""How often the word on a wire that carries packets is written anew."""


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
        """Lives and ends of wires on this host, and its own counters."""
        families = (RUNTIME, ENDPOINTS, SWITCH_STATS, WIRE_HEARD)
        return tuple(family.prefix(host=self.host) for family in families)

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
        await self._wires(counters, context)
        return self.period_s

    async def _wires(self, counters: Mapping[str, Counters], context: Context) -> None:
        """Say of each wire when packets last came from its far end."""
        ends = {known.variables["wire"] for known in context.state.items(ENDPOINTS, host=self.host)}
        now = context.now()
        for wire in sorted(ends):
            counted = counters.get(wire_device(wire))
            if counted is None or not counted.rx_packets:
                continue
            key = WIRE_HEARD.key(host=self.host, wire=wire)
            before = context.state.get(WIRE_HEARD, host=self.host, wire=wire)
            # A device that was made anew counts from nothing: then any packet is news.
            came = before is None or counted.rx_packets != before.rx_packets
            if came and (before is None or not 0 <= now - before.heard_at < HEARD_EVERY_S):
                body = WireHeard(wire=wire, rx_packets=counted.rx_packets, heard_at=now)
                await context.writer.put(key, body)
        for known in list(context.state.items(WIRE_HEARD, host=self.host)):
            if known.variables["wire"] not in ends:
                await context.writer.delete(known.key)
