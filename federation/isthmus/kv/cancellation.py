"""gRPC swallows a cancellation that meets the end of a stream, and raises the stream's status instead (measured: 100 of
100; ``grpc.aio`` catches it while the call is being prepared). Who was told to end would then go on, and whoever awaits
that end would wait for ever: a controller whose lease ran out while its store died never began its next life
(docs/bugs-found.md).

Take :func:`cancellations` before a read or write of a stream, and call :func:`pass_on_cancellation` where its error is
caught. Compared are counts, because a task that was cancelled before may still clean up, and hear what went wrong.
"""

from __future__ import annotations

import asyncio


def cancellations() -> int:
    """How often this task was told to end so far."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def pass_on_cancellation(before: int) -> None:
    """Raises CancelledError when this task was told to end since ``before`` was taken."""
    if cancellations() > before:
        raise asyncio.CancelledError
