"""What to make of a site whose link is silent: alive but cut off, or dead? Neighbours vouch (issue 7, point 8).

The control link is one path, the wires between sites are another. A neighbour that still gets packets from the site
says that it lives; if neighbours heard it until about its last word and none does any more, both paths say dead. Who
has no wire that carried packets says nothing. Pure; clocks of sites may differ by a few seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["silent", "cut-off", "dead"]
HEARD_WITHIN_S = 15.0
"""A word on a wire is at most 5 s old when it is written, and takes a summary's way up."""
UNTIL_LAST_WORD_S = 30.0
"""A neighbour that had long heard nothing when the site fell silent can tell nothing about why."""


@dataclass(frozen=True, slots=True)
class Voucher:
    """What one end of a wire told about its far end: when packets last came, UTC seconds; 0: never."""

    neighbour: str
    wire: str
    heard_at: float


def verdict(last_word_at: float, vouchers: Iterable[Voucher], now: float) -> tuple[Verdict, str]:
    """Of a site whose last summary was of ``last_word_at``; ``vouchers`` come from neighbours that are heard of."""
    telling = [one for one in vouchers if one.heard_at > 0]
    newest = max(telling, key=lambda one: one.heard_at, default=None)
    if newest is None:
        return "silent", "no neighbour has a wire with packets from it"
    age_s = max(0.0, now - newest.heard_at)
    if age_s <= HEARD_WITHIN_S:
        return "cut-off", f"{newest.neighbour} got packets from it {age_s:.0f} s ago"
    if newest.heard_at >= last_word_at - UNTIL_LAST_WORD_S:
        return "dead", f"{newest.neighbour} got packets from it until {age_s:.0f} s ago, no more"
    return "silent", f"its wires were idle already when its last word came ({age_s:.0f} s ago)"
