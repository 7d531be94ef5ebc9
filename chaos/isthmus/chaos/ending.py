"""Ending a child without racing the event loop for its exit status.

``Process.terminate`` and ``kill`` of asyncio poll the child first; if it has just ended, they take the status that the
loop's own watcher waits for, which then reports code 255 and a warning (seen). A plain signal does not poll.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

END_TIMEOUT_S = 10.0


def send(process: asyncio.subprocess.Process, number: signal.Signals = signal.SIGTERM) -> None:
    """Signal a child that has not been waited for; one that is gone is fine."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


async def end(
    process: asyncio.subprocess.Process,
    number: signal.Signals = signal.SIGTERM,
    *,
    timeout_s: float = END_TIMEOUT_S,
) -> None:
    """Signal a child and wait for it; SIGKILL when it does not end in time."""
    send(process, number)
    try:
        async with asyncio.timeout(timeout_s):
            await process.wait()
    except TimeoutError:
        send(process, signal.SIGKILL)
        await process.wait()
