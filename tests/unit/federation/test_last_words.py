"""Who writes into a call that is ending fails before the good-bye is read; why it ends must not be lost with it."""

from __future__ import annotations

import asyncio

import pytest
from tests.federation_support import FAST, HUB, clocks, site_plan

from isthmus.federation import link_pb2 as pb
from isthmus.federation.errors import LinkEnded, LinkLost
from isthmus.federation.link import Link, peer_ends
from isthmus.kv.memory import MemoryStore


class Ending:
    """A channel whose first write after the greeting fails; what is still to be read comes a moment later."""

    def __init__(self, *last: pb.Frame) -> None:
        hello = pb.Frame(hello=pb.Hello(min_version=1, max_version=1, name=HUB))
        self._frames = [hello, *last]
        self._broken = asyncio.Event()
        self._sent = 0

    async def send(self, frame: bytes) -> None:
        self._sent += 1
        if self._sent > 2:  # greeting and resume went
            self._broken.set()
            raise LinkLost("INTERNAL: nothing said")

    async def receive(self) -> bytes | None:
        if len(self._frames) == 0:
            await asyncio.get_running_loop().create_future()
        if self._sent > 1:
            await self._broken.wait()
            for _ in range(20):
                await asyncio.sleep(0)
        return self._frames.pop(0).SerializeToString()

    async def close(self) -> None:
        """Nothing to do."""


async def run(channel: Ending) -> None:
    """The site's end, until it ends."""
    time = clocks()
    link = Link(peer_ends(site_plan(FAST), MemoryStore(), time), channel, time)
    async with asyncio.timeout(10):
        await link.run()


async def test_a_good_bye_that_waits_to_be_read_says_why_the_link_ended() -> None:
    """Why: a gateway that stopped under a busy site was told as a broken transport (seen in a roll under churn).
    (Mutant: do not read on.)"""
    with pytest.raises(LinkEnded) as ended:
        await run(Ending(pb.Frame(bye=pb.Bye(code="stopping"))))
    assert ended.value.code == "stopping"


async def test_without_a_good_bye_the_broken_write_is_told() -> None:
    """Why: who waits for last words must not wait for ever, nor forget what broke."""
    with pytest.raises(LinkLost, match="nothing said"):
        await run(Ending())
