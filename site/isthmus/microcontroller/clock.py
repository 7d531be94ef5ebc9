"""Time and identifiers as arguments: the edge hands them in, tests and simulation hand in others."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is not in the store and yet differs from run to run.

    ``now`` is the wall clock in UTC seconds (for ``as_of`` only), ``random`` uniform in 0..1, ``new_id`` a fresh
    lower-case hex name, ``sleep`` waits for seconds of the event loop's time.
    """

    now: Callable[[], float] = time.time
    random: Callable[[], float] = random.random
    new_id: Callable[[], str] = field(default=lambda: secrets.token_hex(8))
    sleep: Callable[[float], object] = asyncio.sleep
