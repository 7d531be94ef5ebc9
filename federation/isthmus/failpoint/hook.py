"""The one switch: None, or whoever hears of every failpoint that is reached.

Kept apart from what is done there, so that the price of a point that is off is one global and one comparison
(``tests/bench`` would be noise; ``isthmus failpoints`` measures it on the spot).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from isthmus.failpoint.table import FAILPOINTS

Hook = Callable[[str], float | None]
"""Hears a name; may raise (an error, or a BaseException that ends the task), kill, or answer seconds to wait."""

_hook: Hook | None = None


def failpoint(name: str) -> None:
    """``name`` is reached; a delay blocks the whole process, as a slow system call does."""
    if _hook is None:
        return
    wait_s = _told(_hook, name)
    if wait_s:
        time.sleep(wait_s)


async def afailpoint(name: str) -> None:
    """The same where only this task is to be late."""
    if _hook is None:
        return
    wait_s = _told(_hook, name)
    if wait_s:
        await asyncio.sleep(wait_s)


def arm(hook: Hook) -> Hook | None:
    """From now on ``hook`` hears every name; returns the one before, to be put back."""
    global _hook
    before, _hook = _hook, hook
    return before


def disarm(before: Hook | None = None) -> None:
    """Nobody hears any more, or ``before`` does again."""
    global _hook
    _hook = before


def armed() -> bool:
    """Does anybody hear?"""
    return _hook is not None


def _told(hook: Hook, name: str) -> float | None:
    if name not in FAILPOINTS:
        raise KeyError(f"failpoint {name!r} is not declared in isthmus.failpoint.table")
    return hook(name)
