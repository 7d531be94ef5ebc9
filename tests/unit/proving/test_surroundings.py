"""Clocks, lines and stores of the simulation: faults must do what their names say, and nothing else."""

from __future__ import annotations

import asyncio
import random

import pytest

from isthmus.chaos.simulation.clocks import EPOCH_S, SiteClock
from isthmus.chaos.simulation.links import Line, SimChannel
from isthmus.chaos.simulation.loop import run_virtually
from isthmus.chaos.simulation.stores import SimStore, StoreServer
from isthmus.federation.errors import LinkLost
from isthmus.kv.errors import AmbiguousOutcome, NoSpace, Unavailable


def test_clocks_differ_as_a_kernel_makes_them_differ() -> None:
    """Why: leases rely on the boot clock alone; a simulation that moved it with the wall clock would prove nothing."""
    now = [0.0]
    clock = SiteClock(lambda: now[0])
    now[0] = 10.0
    clock.jump(3600)
    assert clock.wall_s() == EPOCH_S + 3610
    assert (clock.monotonic_s(), clock.boot_s()) == (10.0, 10.0)
    clock.suspend()
    now[0] = 15.0
    assert (clock.monotonic_s(), clock.boot_s()) == (10.0, 15.0)
    clock.resume()
    now[0] = 16.0
    assert (clock.monotonic_s(), clock.boot_s()) == (11.0, 16.0)
    clock.drift(1.5)
    now[0] = 18.0
    assert clock.boot_s() == pytest.approx(19.0)


async def _pair() -> tuple[Line, SimChannel, SimChannel]:
    line = Line("milan", random.Random(1))
    return line, *line.connect()


def test_an_honest_line_keeps_order_through_delay_and_block() -> None:
    """Why: TCP loses and swaps nothing while it stands; a simulated gap would be our own bug (it once was)."""

    async def work() -> list[bytes | None]:
        line, site, tier = await _pair()
        line.up.extra_s = 2.0
        for number in range(4):
            await site.send(b"%d" % number)
        line.up.extra_s = 0.0
        line.up.block()
        for number in range(4, 8):
            await site.send(b"%d" % number)
        await asyncio.sleep(5)
        line.up.unblock()
        return [await tier.receive() for _ in range(8)]

    assert run_virtually(work()) == [b"%d" % number for number in range(8)]


def test_a_reset_is_told_to_both_ends_and_silence_to_none() -> None:
    """Why: half-open connections are what heartbeats are for; they need one to be tried on."""

    async def work() -> None:
        line, site, tier = await _pair()
        line.reset()
        for end in (site, tier):
            with pytest.raises(LinkLost):
                await end.receive()
        line, site, tier = await _pair()
        site.abandon()
        with pytest.raises(LinkLost):
            await site.receive()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(100):
                await tier.receive()

    run_virtually(work())


def test_a_reader_that_does_not_read_stops_the_sender() -> None:
    """Why: bounded memory (G7) begins with back pressure."""

    async def flood(site: SimChannel, sent: list[int]) -> None:
        async with asyncio.timeout(10):
            while True:
                await site.send(b"x")
                sent.append(1)

    async def work() -> int:
        line, site, tier = await _pair()
        line.up.unread += 1
        sent: list[int] = []
        with pytest.raises(TimeoutError):
            await flood(site, sent)
        line.up.unread -= 1
        tier.wake()
        assert await tier.receive() == b"x"
        return len(sent)

    assert 0 < run_virtually(work()) <= 32


def _server() -> StoreServer:
    return StoreServer(
        "milan", asyncio.get_running_loop().time, random.Random(1), lambda *event: None
    )


def test_a_store_that_is_away_answers_nobody_and_loses_nothing() -> None:
    """Why: Unavailable promises that nothing was applied."""

    async def work() -> None:
        server = _server()
        store = SimStore(server, None)
        await store.put("/a", b"1")
        server.go_away()
        with pytest.raises(Unavailable):
            await store.get("/a")
        server.come_back()
        entry = await store.get("/a")
        assert entry is not None
        assert entry.value == b"1"

    run_virtually(work())


def test_a_lost_answer_is_of_a_write_that_was_done() -> None:
    """Why: the client must find out by itself; a fault that applied nothing would be a milder one."""

    async def work() -> None:
        server = _server()
        store = SimStore(server, None)
        server.lost_answers = 1.0
        with pytest.raises(AmbiguousOutcome):
            await store.put("/a", b"1")
        assert await store.get("/a") is not None
        server.lost_answers = 0.0
        server.full = True
        with pytest.raises(NoSpace):
            await store.put("/b", b"1")
        assert await store.delete("/a")

    run_virtually(work())


def test_a_restored_store_is_what_it_was_and_says_so() -> None:
    """Why: the judges need to know to which moment of which history a store went back."""

    async def work() -> None:
        server = _server()
        store = SimStore(server, None)
        await store.put("/a", b"1")
        server.take_backup()
        await store.put("/a", b"2")
        server.restore()
        entry = await store.get("/a")
        assert entry is not None
        assert entry.value == b"1"
        assert (server.incarnation, server.backup_incarnation) == (2, 1)
        assert server.backup_revision == entry.mod_revision

    run_virtually(work())
