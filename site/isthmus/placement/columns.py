"""placeholder"""

from __future__ import annotations

from collections.abc import Callable

from isthmus.placement.arena import Arena
from isthmus.placement.dual import Dual


def worth_it(arena: Arena) -> bool:
    return False


def improve(arena: Arena, dual: Dual, stop: Callable[[], bool]) -> None:
    return None
