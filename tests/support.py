"""What many tests need: waiting for a condition with a deadline, never for a time.

A test that sleeps proves nothing on a slow machine and wastes time on a fast one, so tests wait
for the fact itself and fail with a sentence that says which fact never came.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

T = TypeVar("T")


@overload
async def eventually(
    condition: Callable[[], Awaitable[T]],
    what: str,
    *,
    timeout_s: float = ...,
    every_s: float = ...,
) -> T: ...
@overload
async def eventually(
    condition: Callable[[], T],
    what: str,
    *,
    timeout_s: float = ...,
    every_s: float = ...,
) -> T: ...
async def eventually(
    condition: Callable[[], T | Awaitable[T]],
    what: str,
    *,
    timeout_s: float = 20.0,
    every_s: float = 0.02,
) -> T:
    """Return the first truthy value of ``condition`` (sync or async) within ``timeout_s``.

    Raises AssertionError naming ``what`` and the last value seen when the deadline passes.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        outcome = condition()
        value: T = await outcome if inspect.isawaitable(outcome) else outcome
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"{what}: not within {timeout_s} s (last value: {value!r})")
        await asyncio.sleep(every_s)
