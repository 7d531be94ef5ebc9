"""Health, readiness and a handful of counters of one microcontroller, readable as JSON at any time."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

LIFE = "life"
"""The problem of a whole life, not of an item; cleared when the next one stands."""
_KEPT_ITEMS = 50


@dataclass(slots=True)
class Health:
    """``ready``: synced, and leading where a leader is needed; ``lives_total``: how often it became so. ``problems``:
    items that failed or wait, with the reason; cleared when settled. A conflict is a failure and counted beside it."""

    component: str = ""
    ready: bool = False
    leading: bool = False
    lives_total: int = 0
    settled_total: int = 0
    failed_total: int = 0
    conflicts_total: int = 0
    waiting_total: int = 0
    queue_depth: int = 0
    queue_depth_high: int = 0
    slowest_s: float = 0.0
    problems: dict[str, str] = field(default_factory=dict)

    def alive(self, *, leading: bool) -> None:
        """A life stands: whatever ended the one before is over."""
        self.ready, self.leading = True, leading
        self.lives_total += 1
        self.problems.pop(LIFE, None)

    def settled(self, item: str, seconds: float, depth: int) -> None:
        """``item`` was settled in ``seconds``; ``depth`` items wait."""
        self.settled_total += 1
        self.slowest_s = max(self.slowest_s, seconds)
        self.queue_depth_high = max(self.queue_depth_high, depth)
        self.problems.pop(item, None)

    def waiting(self, item: str, reason: str) -> None:
        """``item`` is not ready to be settled."""
        self.waiting_total += 1
        self._note(item, reason)

    def failed(self, item: str, error: BaseException, *, conflict: bool = False) -> None:
        """``item`` failed with ``error``."""
        self.failed_total += 1
        self.conflicts_total += conflict
        self._note(item, f"{type(error).__name__}: {error}")

    def as_dict(self) -> dict[str, Any]:
        """For status files and metrics."""
        return asdict(self)

    def _note(self, item: str, reason: str) -> None:
        self.problems.pop(item, None)
        self.problems[item] = reason
        while len(self.problems) > _KEPT_ITEMS:
            self.problems.pop(next(iter(self.problems)))
