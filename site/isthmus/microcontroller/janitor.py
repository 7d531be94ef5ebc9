"""The janitor of either tier: bounded retention of events; not by a lease each (DESIGN section 4)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from isthmus.contract.families import EVENTS
from isthmus.microcontroller.controller import Context, Traits

ITEM = "*events"


@dataclass(slots=True)
class Janitor:
    """Keeps the newest ``keep`` events of each component: enough to explain an evening, small against the store."""

    keep: int = 500
    period_s: float = 30.0
    component: str = "janitor"
    traits: Traits = field(default_factory=Traits)
    standing_items: tuple[str, ...] = (ITEM,)

    @property
    def watches(self) -> Sequence[str]:
        """All events."""
        return (EVENTS.prefix(),)

    def items_for(self, key: str) -> Iterable[str]:
        """Only the period counts."""
        return ()

    async def reconcile(self, item: str, context: Context) -> float | None:
        """Delete the oldest events over the limit; ids sort by time."""
        by_component: dict[str, list[str]] = {}
        for key in context.state.keys(EVENTS.prefix()):
            values = EVENTS.parse(key)
            if values is not None:
                by_component.setdefault(values["component"], []).append(key)
        for keys in by_component.values():
            for key in sorted(keys)[: -self.keep]:
                await context.writer.delete(key)
        return self.period_s
