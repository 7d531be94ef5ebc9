"""The janitor of either tier: bounded retention, not by a lease each (DESIGN section 4).

Events are kept by number; explanations as long as their chain is known, and for a while after it is gone, because
"why was it taken away" is asked afterwards. Their writers withdraw them with the chain; this is for what a writer that
died, or is no more, left behind. An explanation removed too early would come back: its writer watches it.
Space itself is the maintainer's (:mod:`isthmus.microcontroller.maintenance`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from isthmus.contract.chain import Confirmation, Explanation
from isthmus.contract.families import (
    CONFIRMATIONS,
    EVENTS,
    EXPLAIN,
    G_INTENTS,
    G_REQUESTS,
    G_SEGMENTS,
    REQUESTS,
    SPECS,
)
from isthmus.contract.family import Family, Tier
from isthmus.microcontroller.controller import Context, Traits

ITEM = "*events"
EXPLANATIONS = "*explanations"
WORDS = "*confirmations"
CHAINS: dict[Tier, tuple[Family, ...]] = {
    Tier.SITE: (REQUESTS, SPECS),
    Tier.GLOBAL: (G_REQUESTS, G_INTENTS, G_SEGMENTS),
}
"""Where a chain that is known has a key."""


@dataclass(slots=True)
class Janitor:
    """Keeps the newest ``keep`` events of each component: enough to explain an evening, small against the store; and
    the explanations of gone chains for ``explain_keep_s``: a working day. A confirmation whose time is over goes."""

    tier: Tier = Tier.SITE
    keep: int = 500
    explain_keep_s: float = 8 * 3600.0
    period_s: float = 30.0
    component: str = "janitor"
    traits: Traits = field(default_factory=Traits)
    standing_items: tuple[str, ...] = (ITEM, EXPLANATIONS, WORDS)

    @property
    def watches(self) -> Sequence[str]:
        """All that it retains, and the chains there are. The families of both tiers have the same patterns."""
        chains = (family.prefix() for family in CHAINS[self.tier])
        return (EVENTS.prefix(), EXPLAIN.prefix(), CONFIRMATIONS.prefix(), *chains)

    def items_for(self, key: str) -> Iterable[str]:
        """Only the period counts."""
        return ()

    async def reconcile(self, item: str, context: Context) -> float | None:
        """Delete what is over the limit."""
        find = {ITEM: self._events, EXPLANATIONS: self._explanations, WORDS: self._words}[item]
        for key in find(context):
            await context.writer.delete(key)
        return self.period_s

    def _events(self, context: Context) -> list[str]:
        """The oldest over the number; ids sort by time."""
        by_component: dict[str, list[str]] = {}
        for key in context.state.keys(EVENTS.prefix()):
            values = EVENTS.parse(key)
            if values is not None:
                by_component.setdefault(values["component"], []).append(key)
        return [
            key
            for keys in by_component.values()
            for key in sorted(keys)[: max(0, len(keys) - self.keep)]
        ]

    @staticmethod
    def _words(context: Context) -> list[str]:
        """Confirmations that are over; nobody may wonder whether they still count."""
        now = context.now()
        return [
            key
            for key in context.state.keys(CONFIRMATIONS.prefix())
            if Confirmation.until_utc_s(context.state.envelope(key, Confirmation), now) is None
        ]

    def _explanations(self, context: Context) -> list[str]:
        """Of chains that nobody knows any more; one that cannot be read has no age, and goes at once."""
        state = context.state
        known = {
            (values["tenant"], values["chain"])
            for family in CHAINS[self.tier]
            for key in state.keys(family.prefix())
            if (values := family.parse(key)) is not None
        }
        gone = []
        for key in state.keys(EXPLAIN.prefix()):
            values = EXPLAIN.parse(key)
            if values is None or (values["tenant"], values["chain"]) in known:
                continue
            explanation = state.envelope(key, Explanation)
            if explanation is None or explanation.age_s(context.now()) >= self.explain_keep_s:
                gone.append(key)
        return gone
