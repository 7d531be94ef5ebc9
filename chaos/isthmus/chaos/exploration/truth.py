"""What a source held, and how far a reader has come on that way: the judge of an explored world.

The same rule as :mod:`isthmus.chaos.history.timeline`, step by step: what is shown of a key must lie ahead in the
list of states that the key had; a restore takes keys back to old states, which count again as new steps.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from isthmus.chaos.exploration.explorer import Broken

State = bytes | None


@dataclass(slots=True)
class Truth:
    """``_ahead[key]``: where the reader stands, and every state after that."""

    _ahead: dict[str, list[State]] = field(default_factory=dict)

    def held(self, key: str, value: State) -> None:
        """The source has a new state."""
        self._ahead.setdefault(key, [None]).append(value)

    def now(self) -> dict[str, bytes]:
        """What the source holds."""
        newest = {key: states[-1] for key, states in self._ahead.items()}
        return {key: value for key, value in newest.items() if value is not None}

    def restored(self, held: dict[str, bytes]) -> None:
        """The source went back to ``held``."""
        now = self.now()
        for key in sorted(self._ahead.keys() | held.keys()):
            if now.get(key) != held.get(key):
                self.held(key, held.get(key))

    def shown(self, key: str, value: State) -> None:
        """A reader of the mirror sees a change; raises Broken."""
        states = self._ahead.setdefault(key, [None])
        if value not in states[1:]:
            shown = "no more" if value is None else f"as {int(value)}"
            promise = "G6, blanked" if value is None else "G5, back in time"
            where = " -> ".join("absent" if s is None else str(int(s)) for s in states)
            raise Broken(f"{promise}: {key} is shown {shown}; since the last look it was {where}")
        del states[: states.index(value, 1)]

    def state(self) -> Hashable:
        """For the explorer."""
        return tuple((key, tuple(states)) for key, states in sorted(self._ahead.items()))
