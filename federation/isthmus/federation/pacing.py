"""How fast changes may leave, as arithmetic: a rate for the link, a least interval for each key (pure).

Waiting is not losing: what waits coalesces, so the newest value of each key goes when its turn comes. The counters
belong to the peer and not to one life of a link: who dials again has not earned a fresh burst.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

KEPT_KEYS = 100_000
"""Keys whose last sending is remembered; beyond it the long past is forgotten."""
ROUNDING_S = 1e-6


class Pacer:
    """``interval_s`` gives the least time between two changes of a key. Times are a boot clock's, in seconds."""

    def __init__(
        self,
        max_changes_per_s: float,
        burst_changes: int,
        interval_s: Callable[[str], float] | None = None,
    ) -> None:
        self._rate = max_changes_per_s
        self._burst = burst_changes
        self._interval_s = interval_s or (lambda key: 0.0)
        self.spaced = interval_s is not None
        self._tokens = float(burst_changes)
        self._at_s: float | None = None
        self._sent_s: dict[str, float] = {}

    @property
    def burst(self) -> int:
        """At most so many at once."""
        return self._burst

    def room(self, now_s: float) -> int:
        """How many changes may go now."""
        self._refill(now_s)
        return max(0, int(self._tokens + ROUNDING_S))

    def wait_s(self, changes: int, now_s: float) -> float:
        """Until so many may go (0: now)."""
        self._refill(now_s)
        return max(0.0, (min(changes, self._burst) - self._tokens) / self._rate)

    def ready(self, key: str, now_s: float) -> bool:
        """Has the key's interval passed?"""
        return self.due_s(key, now_s) <= ROUNDING_S

    def due_s(self, key: str, now_s: float) -> float:
        """Until the key may go again."""
        last = self._sent_s.get(key)
        return 0.0 if last is None else max(0.0, last + self._interval_s(key) - now_s)

    def took(self, keys: Iterable[str], now_s: float) -> None:
        """These go now."""
        self._refill(now_s)
        for key in keys:
            self._tokens -= 1
            if self.spaced and self._interval_s(key) > 0:
                self._sent_s.pop(key, None)
                self._sent_s[key] = now_s
        while len(self._sent_s) > KEPT_KEYS:
            self._sent_s.pop(next(iter(self._sent_s)))

    def _refill(self, now_s: float) -> None:
        passed_s = 0.0 if self._at_s is None else max(0.0, now_s - self._at_s)
        self._at_s = now_s if self._at_s is None else max(now_s, self._at_s)
        self._tokens = min(float(self._burst), self._tokens + passed_s * self._rate)
