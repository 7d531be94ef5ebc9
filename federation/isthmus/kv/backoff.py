"""Pauses between attempts: exponential, bounded, with full jitter so that many clients of a store that
came back do not knock at the same instant. Randomness is an argument."""

from __future__ import annotations

import random


class Backoff:
    """``next_s()`` grows from ``least_s`` to ``most_s``; ``reset()`` after a success."""

    def __init__(self, least_s: float, most_s: float, chance: random.Random) -> None:
        self._least_s = least_s
        self._most_s = most_s
        self._chance = chance
        self._tries = 0

    def next_s(self) -> float:
        """The next pause: between half and all of the exponential step."""
        step_s = min(self._most_s, self._least_s * 2.0 ** min(self._tries, 30))
        self._tries += 1
        return step_s * (0.5 + self._chance.random() / 2)

    def reset(self) -> None:
        """Begin small again."""
        self._tries = 0
