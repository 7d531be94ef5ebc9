"""The infrastructure watcher of one host: publishes what the host has, as long as it is there to say so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from isthmus.contract.families import INVENTORY
from isthmus.contract.instance import HostInventory
from isthmus.infrastructure.ports import Capability, ComputePort
from isthmus.microcontroller import Context, Traits

ITEM = "inventory"


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What the operator assigned to NFV on this host (R23)."""

    host: str
    cpu_milli: int
    memory_mib: int
    underlay_address: str
    attachments: tuple[str, ...] = ()


@dataclass(slots=True)
class Watcher:
    """Refreshes each ``period_s``; three missed refreshes and the host counts as gone."""

    facts: HostFacts
    compute: ComputePort
    period_s: float = 4.0
    traits: Traits = field(default_factory=Traits)
    standing_items: tuple[str, ...] = (ITEM,)
    _capability: Capability | None = None

    @property
    def component(self) -> str:
        """``watcher.<host>``."""
        return f"watcher.{self.facts.host}"

    @property
    def watches(self) -> Sequence[str]:
        """Nothing: it only tells."""
        return ()

    def items_for(self, key: str) -> Iterable[str]:
        """Its own key tells it nothing new."""
        return ()

    async def reconcile(self, item: str, context: Context) -> float | None:
        """Probe once per life, then keep the inventory fresh."""
        if self._capability is None:
            self._capability = await self.compute.probe()
        await context.writer.put(
            INVENTORY.key(host=self.facts.host),
            HostInventory(
                host=self.facts.host,
                cpu_milli=self.facts.cpu_milli,
                memory_mib=self.facts.memory_mib,
                underlay_address=self.facts.underlay_address,
                dataplane=self._capability.dataplane,
                fence=self._capability.fence,
                attachments=self.facts.attachments,
                reason="; ".join(self._capability.reasons),
            ),
            ttl_s=3 * self.period_s,
            refresh_s=self.period_s * 0.9,
        )
        return self.period_s
