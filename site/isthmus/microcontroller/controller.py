"""A microcontroller: one task of the manager, knowing nothing but keys (white paper section 5, R3-R5).

It names the prefixes it watches, says which items a changed key concerns, and settles one item at a time by
re-reading the state: a key is a reason to look, never a command. It talks to no other microcontroller.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from isthmus.contract.families import EVENTS
from isthmus.contract.instance import OperationalEvent
from isthmus.microcontroller.clock import Surroundings
from isthmus.microcontroller.state import State
from isthmus.microcontroller.writer import Writer


@dataclass(slots=True)
class Context:
    """What a reconcile gets: the state it may read, the writer it must use, its surroundings."""

    component: str
    state: State
    writer: Writer
    surroundings: Surroundings

    def now(self) -> float:
        """UTC seconds."""
        return self.surroundings.now()

    async def event(
        self,
        kind: str,
        subject: str,
        message: str,
        severity: Literal["info", "warning", "error"] = "info",
    ) -> None:
        """Tell the operators; the id sorts by time."""
        stamp = f"{int(self.now() * 1000):013d}-{self.surroundings.new_id()[:6]}"
        key = EVENTS.key(component=self.component, id=stamp)
        body = OperationalEvent(kind=kind, subject=subject, message=message, severity=severity)
        await self.writer.create(key, body)


class Microcontroller(Protocol):
    """What the runtime asks of a controller."""

    @property
    def component(self) -> str:
        """The component's name in the contract, e.g. ``placer`` or ``launcher.h1``: user, lease, events."""
        ...

    @property
    def watches(self) -> Sequence[str]:
        """Absolute prefixes to mirror, its own families included; each exactly as granted."""
        ...

    def items_for(self, key: str) -> Iterable[str]:
        """The items that a change of ``key`` may concern."""
        ...

    async def reconcile(self, item: str, context: Context) -> float | None:
        """Settle one item; seconds until it should be looked at again, or None. May raise Later and StoreErrors."""
        ...


class Background(Protocol):
    """Controllers that also hear from outside the store (kernel events) implement this beside the above."""

    async def listen(self, add: Listener) -> None:
        """Call ``add(item)`` whenever the outside changed; runs until cancelled."""
        ...


class Listener(Protocol):
    """Puts an item on the controller's queue."""

    def __call__(self, item: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Traits:
    """How the runtime runs a controller. ``workers`` 1 where decisions depend on each other (a placer). ``leader``
    False for what exists once per host and is pinned to it."""

    workers: int = 1
    leader: bool = True
    resync_s: float = 30.0


DEFAULT_TRAITS = Traits()
