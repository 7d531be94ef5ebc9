"""Who waits how long for a greeting: a thousand callers at once are served in turn, a silent caller is nobody's guest.

1,000 hollow sites did not link within 5 minutes on a busy machine: each gave up in the queue and went to its end.
"""

from __future__ import annotations

import asyncio

import pytest
from tests.federation_support import FAST, clocks, hub_plan, site_plan

from isthmus.federation.channel import pair
from isthmus.federation.errors import LinkLost
from isthmus.federation.link import Link, peer_ends
from isthmus.federation.session import Phase
from isthmus.kv.memory import MemoryStore

SHORT = FAST.model_copy(update={"lost_after_s": 0.05, "stalled_after_s": 60.0})


async def test_a_caller_outwaits_a_busy_gateway_and_a_gateway_no_silent_caller() -> None:
    """While it waits, two silent callers after each other are shown the door by an end with the same limits."""
    time = clocks()
    called_by, caller_end = pair()
    caller = Link(peer_ends(site_plan(SHORT), MemoryStore(), time), caller_end, time)
    calling = asyncio.create_task(caller.run())
    try:
        for _ in range(2):
            ends, (_, callee_end) = peer_ends(hub_plan(SHORT), MemoryStore(), time), pair()
            callee = Link(ends, callee_end, time, greets_first=False)
            with pytest.raises(LinkLost, match="no greeting"):
                async with asyncio.timeout(20):
                    await callee.run()
        assert not calling.done()
        assert caller.session.phase is Phase.GREETING
    finally:
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
        await called_by.close()


async def test_the_callers_patience_ends_too() -> None:
    """With the verdict on whatever is under way and moves no more."""
    time = clocks()
    limits = SHORT.model_copy(update={"stalled_after_s": 0.1})
    _, end = pair()
    link = Link(peer_ends(site_plan(limits), MemoryStore(), time), end, time)
    with pytest.raises(LinkLost, match="no greeting"):
        async with asyncio.timeout(20):
            await link.run()
