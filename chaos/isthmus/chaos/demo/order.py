"""In which order packets pass the functions: seen on the wire, by the time to live each of them finds."""

from __future__ import annotations

import asyncio
import re
import signal

from isthmus.chaos.ending import end
from isthmus.vswitch import Node

_TTL = re.compile(r"ttl (\d+)")
CAPTURE_TIMEOUT_S = 15.0


async def ttl_at(netns: str, ready: asyncio.Event) -> int | None:
    """The time to live of the next echo request that enters an instance by its leg ``in``."""
    process = await asyncio.create_subprocess_exec(
        *Node(netns).command(
            "tcpdump", "-n", "-v", "-l", "-c", "1", "-i", "in", "icmp[icmptype] == icmp-echo"
        ),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(CAPTURE_TIMEOUT_S):
            while b"listening on" not in await process.stderr.readline():
                if process.returncode is not None:
                    return None
            ready.set()
            output = await process.stdout.read()
    except TimeoutError:
        return None
    finally:
        ready.set()
        await end(process, signal.SIGKILL)
    found = _TTL.search(output.decode(errors="replace"))
    return int(found.group(1)) if found else None
