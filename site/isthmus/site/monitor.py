"""The monitor: one verdict per instance, from all that is known of it (R4, G12).

It judges the launcher's view, the VNF's own word and its age. What is too old to be believed is "not known to
be healthy", never "healthy".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from isthmus.contract.families import APPLIED, DESIRED, HEALTH, RUNTIME, STATE
from isthmus.contract.instance import InstanceState
from isthmus.microcontroller import Context, Known, Traits
from isthmus.policy.keys import ROOT


@dataclass(slots=True)
class Monitor:
    """Work items are instance ids. ``period_s`` bounds how long an aged fact goes unnoticed."""

    component: str = "monitor"
    period_s: float = 5.0
    traits: Traits = field(default_factory=Traits)

    @property
    def watches(self) -> Sequence[str]:
        """Orders, lives, the VNFs' own keys, and its verdicts."""
        return (DESIRED.prefix(), RUNTIME.prefix(), f"{ROOT}instances/", HEALTH.prefix())

    def items_for(self, key: str) -> Iterable[str]:
        """The instance; its counters say nothing about health."""
        for family in (DESIRED, RUNTIME, APPLIED, STATE, HEALTH):
            values = family.parse(key)
            if values is not None:
                yield values["instance"]
                return

    async def reconcile(self, item: str, context: Context) -> float | None:
        """Judge one instance."""
        desired = _one(context.state.items(DESIRED), item)
        key = HEALTH.key(instance=item)
        if desired is None:
            await context.writer.delete(key)
            return None
        healthy, detail = self._judge(desired, item, context)
        await context.writer.put(key, InstanceState(healthy=healthy, detail=detail))
        return self.period_s

    def _judge(self, desired: Known, instance: str, context: Context) -> tuple[bool, str]:
        runtime = context.state.get(RUNTIME, host=desired.variables["host"], instance=instance)
        incarnation = desired.envelope.body.incarnation
        if runtime is None or runtime.incarnation < incarnation:
            return False, "not launched yet"
        if runtime.phase != "running":
            return False, f"{runtime.phase}: {runtime.error}".rstrip(": ")
        applied = context.state.get(APPLIED, instance=instance)
        if applied is None or applied.incarnation != incarnation:
            return False, "configuration not applied in this life"
        if applied.error:
            return False, f"configuration refused: {applied.error}"
        state = context.state.envelope(STATE.key(instance=instance), InstanceState)
        if state is None:
            return True, "running, no state published"
        if state.expired(context.now()):
            return False, f"unknown: last word {state.age_s(context.now()):.0f} s ago"
        return state.body.healthy, state.body.detail


def _one(known: Iterable[Known], instance: str) -> Known | None:
    return next((k for k in known if k.variables["instance"] == instance), None)
