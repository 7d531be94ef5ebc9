"""The smallest controllers that can show what the runtime does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from isthmus.contract import Body, Stamp
from isthmus.contract.families import HEALTH, STATUS
from isthmus.kv.port import KeyValueStore
from isthmus.microcontroller import Context, Fence, State, Surroundings, Traits, Writer

STAMP = Stamp(origin="test/monitor", incarnation="first")
KEY = HEALTH.key(instance="i-1")


class Verdict(Body):
    """A body of no family."""

    text: str = ""


@dataclass
class Clock:
    """Wall time that a test moves."""

    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


def writer_on(
    store: KeyValueStore, state: State | None = None, *, fence: Fence | None = None, clock: Clock
) -> Writer:
    """A writer with a clock of its own."""
    return Writer(store, state or State(), STAMP, Surroundings(now=clock), fence)


@dataclass
class Copier:
    """Copies the length of each status to ``health/<chain>``: reads one family, writes another."""

    component: str = "monitor"
    traits: Traits = field(default_factory=Traits)
    seen: list[str] = field(default_factory=list)
    inside: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event | None = None
    text: str = "fine"

    @property
    def watches(self) -> Sequence[str]:
        return (STATUS.prefix(), HEALTH.prefix())

    def items_for(self, key: str) -> Iterable[str]:
        values = STATUS.parse(key)
        if values is not None:
            yield values["chain"]

    async def reconcile(self, item: str, context: Context) -> float | None:
        self.seen.append(item)
        self.inside.set()
        if self.go_on is not None:
            await self.go_on.wait()
        await context.writer.put(HEALTH.key(instance=item), Verdict(text=self.text))
        return None
