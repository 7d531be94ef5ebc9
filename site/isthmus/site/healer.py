"""The healer: asks for a new life where one ended, and not faster than it can help (R4, R54, G14).

Lost once is healed at once; an instance that keeps dying is healed later and later, so that a broken image
does not occupy a host.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from isthmus.contract.families import DESIRED, HEAL_REQUESTS, PLANS, RUNTIME
from isthmus.contract.instance import HealRequest
from isthmus.failpoint import afailpoint
from isthmus.microcontroller import Context, Traits

CALM_S = 60.0
"""A life that lasted so long clears the record of the ones before it."""
FREE_HEALS = 3
"""So many in a row are healed at once; a deleted sandbox is an accident, the fourth in a minute is a pattern."""
FIRST_DELAY_S = 2.0
LONGEST_DELAY_S = 120.0


@dataclass(slots=True)
class Patience:
    """How long the next life of one instance waits: by how many short lives came one after the other.

    A life begins when it is asked for, so that the wait for it does not count as calm.
    """

    ends: int = 0
    _life: int = 0
    _ended_at: float = 0.0
    _asked_at: float = 0.0

    def wait_s(self, incarnation: int, now: float) -> float:
        """Seconds still to wait before this life is replaced; it was seen to have ended at its first call."""
        if not self.ends or self._life != incarnation:
            self.ends = 1 if now - self._asked_at >= CALM_S else self.ends + 1
            self._life, self._ended_at, self._asked_at = incarnation, now, now
        if self.ends <= FREE_HEALS:
            return 0.0
        delay_s = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(self.ends - FREE_HEALS - 1, 10))
        self._ended_at = min(self._ended_at, now)  # the clock was set back: wait no longer for it
        return max(0.0, self._ended_at + delay_s - now)

    def asked(self, now: float) -> None:
        """The next life was asked for."""
        self._asked_at = now


@dataclass(slots=True)
class Healer:
    """Work items are ``<host>/<instance>``."""

    component: str = "healer"
    traits: Traits = field(default_factory=Traits)
    _patience: dict[str, Patience] = field(default_factory=dict)

    @property
    def watches(self) -> Sequence[str]:
        """Orders, lives, and its own requests."""
        return (DESIRED.prefix(), RUNTIME.prefix(), HEAL_REQUESTS.prefix(), PLANS.prefix())

    def items_for(self, key: str) -> Iterable[str]:
        """The instance on its host."""
        for family in (DESIRED, RUNTIME):
            values = family.parse(key)
            if values is not None:
                yield f"{values['host']}/{values['instance']}"

    async def reconcile(self, item: str, context: Context) -> float | None:
        """Ask for a new life if this one ended."""
        host, _, instance = item.partition("/")
        desired = context.state.get(DESIRED, host=host, instance=instance)
        key = HEAL_REQUESTS.key(instance=instance)
        if desired is None:
            if not any(k.variables["instance"] == instance for k in context.state.items(DESIRED)):
                self._patience.pop(instance, None)
                await context.writer.delete(key)
                await afailpoint("healer.request_deleted")
            return None
        runtime = context.state.get(RUNTIME, host=host, instance=instance)
        if runtime is None or runtime.incarnation != desired.incarnation:
            return None
        if runtime.phase not in ("lost", "failed"):
            return None
        request = context.state.get(HEAL_REQUESTS, instance=instance)
        if request is not None and request.lost_incarnation == runtime.incarnation:
            return None
        patience = self._patience.setdefault(instance, Patience())
        delay_s = patience.wait_s(runtime.incarnation, context.now())
        if delay_s > 0:
            return delay_s
        reason = runtime.error or runtime.phase
        await context.writer.put(
            key,
            HealRequest(instance=instance, lost_incarnation=runtime.incarnation, reason=reason),
        )
        patience.asked(context.now())
        await afailpoint("healer.request_written")
        await context.event("healing", instance, f"life {runtime.incarnation} ended: {reason}")
        return None
