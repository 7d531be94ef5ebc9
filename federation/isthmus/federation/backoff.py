"""How long a site waits before it dials again; pure (DESIGN section 6: jittered back-off).

Three endings want three pauses. *Lost* (silence, a broken transport, our own store): short, doubled per failure and
capped, because a heal must be noticed within seconds (G4). *Refused* (dialling again will not change it): long, so that
a misconfigured site is no flood. *Stopping* (the gateway said that it stops): at once, as others are there; spread
over the shortest pause, since all the sites of that gateway hear it in the same moment. Who leaves again and again
before a link has lasted counts as lost. The jitter is an argument: a number from 0 to 1, another one for each dial.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from isthmus.federation.errors import (
    AGREEMENT_CODES,
    CutOff,
    LinkEnded,
    PeerRefused,
    stopping,
)

REFUSING_CODES = AGREEMENT_CODES | {
    "claim-refused",
    "version-refused",
    "peer-refused",
    "denials",
    "revoked",
    "expired",
}
"""Codes of a good-bye that dialling again will not change."""

MOST_DOUBLINGS = 10
"""A thousand times the shortest pause is beyond any cap."""


class Ending(Enum):
    """Why a dial or a link is over."""

    LOST = "lost"
    REFUSED = "refused"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class Pauses:
    """The bounds, as the settings of a link give them. A refusal is never answered faster than a loss."""

    min_s: float = 0.2
    max_s: float = 2.0
    refused_s: float = 15.0


def ending(error: Exception) -> Ending:
    """What ``error`` says about dialling again."""
    if isinstance(error, PeerRefused | CutOff):
        return Ending.REFUSED
    if isinstance(error, LinkEnded) and error.code in REFUSING_CODES:
        return Ending.REFUSED
    return Ending.STOPPING if stopping(error) else Ending.LOST


def pause_s(pauses: Pauses, why: Ending, failures: int, jitter: float) -> float:
    """Seconds until the next dial. ``failures``: dials in a row, with this one, that gave no link that lasted; 0 after
    one that did. Raises ValueError for a ``jitter`` outside 0 to 1 or negative ``failures``."""
    if not 0.0 <= jitter <= 1.0:
        raise ValueError(f"jitter {jitter} is not within 0 to 1")
    if failures < 0:
        raise ValueError(f"failures {failures} is negative")
    if why is Ending.REFUSED:
        return max(pauses.refused_s, pauses.max_s) * (0.5 + jitter)
    ceiling_s = min(pauses.max_s, pauses.min_s * 2.0 ** min(failures, MOST_DOUBLINGS))
    if why is Ending.STOPPING and failures <= 1:
        return min(pauses.min_s, pauses.max_s) * jitter
    return ceiling_s * (0.5 + jitter / 2)
