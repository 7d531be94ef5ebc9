"""What a store client did, counted: plain integers that a microcontroller's metrics page reads (R43).

No metrics library below the microcontroller layer; whoever exports them gives them their names.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class StoreCounters:
    """Counts since the store was opened. Only ever grow."""

    calls: Counter[str] = field(default_factory=Counter)
    """By method name, attempts included."""

    errors: Counter[str] = field(default_factory=Counter)
    """By class of our error tree, refusals included."""

    retries: int = 0
    watch_events: int = 0
    watch_reconnects: int = 0
    watch_silences: int = 0
    """Watches cut because the server gave no sign of life."""

    lease_renewals: int = 0
    leases_lost: int = 0
    snapshot_resumes: int = 0
    """Streams of a snapshot that were cut and went on behind the last key."""

    authentications: int = 0
    channels_renewed: int = 0
    """Because the certificate files were."""

    def as_dict(self) -> dict[str, int]:
        """Flat, sorted, for a metrics page."""
        flat = {
            name: getattr(self, name) for name in self.__slots__ if name not in ("calls", "errors")
        }
        flat |= {f"calls.{name}": count for name, count in self.calls.items()}
        flat |= {f"errors.{name}": count for name, count in self.errors.items()}
        return dict(sorted(flat.items()))
