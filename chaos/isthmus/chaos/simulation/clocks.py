"""The clocks of one site: wall and boot clocks that drift, jump and are suspended (DESIGN section 6, attack 17).

Three readings of one virtual time, as a kernel gives them: the *wall* clock (UTC; operators and NTP set it), the
*monotonic* clock (never set, stops while the machine is suspended) and the *boot* clock (never set, does not stop).
All three run at the rate of the site's crystal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

EPOCH_S = 1_800_000_000.0
"""UTC seconds at virtual zero; far from any real date, so that a leak of real time shows."""


@dataclass(slots=True)
class SiteClock:
    """``virtual_s`` is the loop's time."""

    virtual_s: Callable[[], float]
    rate: float = 1.0
    wall_offset_s: float = 0.0
    _suspended_s: float = 0.0
    _since_s: float | None = None
    _based_at_s: float = 0.0
    _base_s: float = 0.0

    def boot_s(self) -> float:
        """CLOCK_BOOTTIME."""
        return self._base_s + (self.virtual_s() - self._based_at_s) * self.rate

    def monotonic_s(self) -> float:
        """CLOCK_MONOTONIC."""
        return (self.boot_s() if self._since_s is None else self._since_s) - self._suspended_s

    def wall_s(self) -> float:
        """UTC seconds."""
        return EPOCH_S + self.boot_s() + self.wall_offset_s

    def jump(self, seconds: float) -> None:
        """Somebody sets the wall clock; the others know nothing of it."""
        self.wall_offset_s += seconds

    def drift(self, rate: float) -> None:
        """From now on a second here is ``1/rate`` seconds of the world."""
        self._base_s, self._based_at_s = self.boot_s(), self.virtual_s()
        self.rate = rate

    def suspend(self) -> None:
        """The machine sleeps."""
        if self._since_s is None:
            self._since_s = self.boot_s()

    def resume(self) -> None:
        """It wakes."""
        if self._since_s is not None:
            self._suspended_s += self.boot_s() - self._since_s
            self._since_s = None
