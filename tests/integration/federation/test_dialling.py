"""When a site dials again, told by the pauses it takes (issue 7, point 7): over real TLS, with a clock of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.attacks.federation.kit import fort, greeting, operators, rogue_gateway, site_link
from tests.federation_support import until

from isthmus.federation import link_pb2 as pb
from isthmus.federation.errors import Stopping
from isthmus.federation.gateway import Gateway
from isthmus.federation.link import Clocks
from isthmus.federation.run import real_clocks
from isthmus.kv.memory import MemoryStore

SHIPPED: dict[str, Any] = {"backoff_min_s": 0.2, "backoff_max_s": 2.0, "refused_backoff_s": 15.0}
BEAT_S = 0.2  # of the kit's limits
AT_ONCE, LASTED, REFUSED, BYE, BYE_AFTER_ALL, STATUS = range(6)


class Pauses:
    """Instead of sleeping: what would have been slept, and a clock that moves only when a script says so."""

    def __init__(self) -> None:
        self.taken: list[float] = []
        self.now_s = 0.0

    async def sleep(self, pause_s: float) -> None:
        self.taken.append(round(pause_s, 6))
        await asyncio.sleep(0.01)

    def clocks(self) -> Clocks:
        return replace(real_clocks(), monotonic_s=lambda: self.now_s)


def scripted(pauses: Pauses, lives: Sequence[int]) -> Callable[[Any], Any]:
    """A gateway whose links end as ``lives`` say, one after the other; the last kind for ever."""
    coming: Iterator[int] = iter(lives)

    async def script(context: Any) -> None:
        await context.read()
        life = next(coming, lives[-1])
        if life == REFUSED:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "peer-unknown")
        if life != BYE:
            await context.write(greeting("global").SerializeToString())
            await context.read()  # it asks for our keys: so it has seen the greeting
        if life in (LASTED, BYE_AFTER_ALL, STATUS):
            pauses.now_s += 2 * BEAT_S
        if life in (BYE, BYE_AFTER_ALL):
            await context.write(pb.Frame(bye=pb.Bye(code=Stopping.code)).SerializeToString())
        if life == STATUS:
            await context.abort(grpc.StatusCode.UNAVAILABLE, Stopping.code)

    return script


LOST_N = [0.15, 0.3, 0.6, 1.2, 1.5, 1.5]
"""By failures; the kit's jitter is a half."""


@pytest.mark.parametrize(
    ("lives", "expected"),
    [
        ([AT_ONCE], LOST_N[1:]),
        ([AT_ONCE, AT_ONCE, LASTED, AT_ONCE], [0.3, 0.6, LOST_N[0], 0.3, 0.6]),
        ([LASTED], [LOST_N[0]] * 3),
        ([REFUSED, LASTED], [15.0, LOST_N[0]]),
        ([AT_ONCE, REFUSED, AT_ONCE], [0.3, 15.0, LOST_N[3]]),
        ([BYE_AFTER_ALL], [0.1] * 3),
        ([STATUS], [0.1] * 3),
        ([BYE], [0.1, LOST_N[2], LOST_N[3]]),
    ],
    ids=["grows", "reset", "lasting", "refused", "mixed", "farewell", "by-status", "again-and-again"],
)  # fmt: skip
async def test_the_pause_is_of_the_kind_of_ending_and_of_the_failures_in_a_row(
    lives: Sequence[int], expected: list[float], tmp_path: Path
) -> None:
    """Why: the pure rule is nothing if the dialler does not ask it. A link that lasted longer than a beat clears the
    failures, one that died at once is one more. (Mutants: count no link that opened; count every one.)"""
    us, _ = operators()
    pauses = Pauses()
    async with (
        rogue_gateway(us, scripted(pauses, lives)) as port,
        site_link(
            tmp_path, us, port, MemoryStore(), clocks=pauses.clocks(), sleep=pauses.sleep, **SHIPPED
        ),
    ):
        await until(lambda: len(pauses.taken) >= len(expected), "so many dials")
    assert pauses.taken[: len(expected)] == expected


async def test_a_link_of_long_ago_does_not_clear_the_failures_of_today(tmp_path: Path) -> None:
    """Why: the link that lasted was the newest one while the gateway was away, so each failed dial counted as the
    first. (Mutant: judge by the newest link instead of the one of this dial.)"""
    us, _ = operators()
    pauses = Pauses()
    async with rogue_gateway(us, scripted(pauses, [LASTED, AT_ONCE])) as port:
        dialling = site_link(
            tmp_path, us, port, MemoryStore(), clocks=pauses.clocks(), sleep=pauses.sleep, **SHIPPED
        )
        link = await dialling.__aenter__()
        try:
            await until(lambda: pauses.taken, "it lasted")
        finally:
            await dialling.__aexit__(None, None, None)
    assert pauses.taken[0] == LOST_N[0]
    # The same dialler, and nobody listens any more.
    pauses.taken.clear()
    running = asyncio.create_task(link.run())
    try:
        await until(lambda: len(pauses.taken) >= 4, "four dials in vain")
        assert link.status().last_error.startswith("lost: no connection")
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert pauses.taken[:4] == LOST_N[1:5]


async def test_a_gateway_that_stops_sends_its_callers_to_the_other_one(tmp_path: Path) -> None:
    """Why: a roll of two gateways must cost a site one farewell and one dial, no time-out and no back-off; and the one
    that stops must not take calls any more. (Mutant: no good-bye.)"""
    pauses = Pauses()
    async with fort(tmp_path) as world:
        other = Gateway(world.settings, world.store, real_clocks())
        await other.start()
        addresses = tuple(f"127.0.0.1:{one.port}" for one in (world.gateway, other))
        try:
            async with site_link(
                tmp_path, world.us, 0, MemoryStore(), sleep=pauses.sleep, dial=addresses, **SHIPPED
            ) as link:
                await until(lambda: link.status().synced, "at the first")
                await world.gateway.stop()
                told = {one.peer: one.last_error for one in world.gateway.status()}
                await until(lambda: link.status().reconnects == 1, "it dialled again")
                await until(lambda: link.status().synced, "at the second")
                there = {one.peer: one.connected for one in other.status()}
        finally:
            await other.stop(0.1)
    assert pauses.taken == [0.1], "half of the shortest pause: no back-off"
    assert told["a"] == "stopping: this gateway stops"
    assert there == {"a": True, "b": False, "p": False}


async def test_a_call_that_waits_while_the_gateway_stops_is_sent_away_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why: a caller that was let in and waits for our store would get a link that dies with the process, and would
    have to find out by itself. (Mutant: ask nobody whether we are stopping.)"""
    asked, answered = asyncio.Event(), asyncio.Event()

    async def slow(*_: Any) -> None:
        asked.set()
        await answered.wait()

    async with fort(tmp_path) as world:
        monkeypatch.setattr(world.gateway, "_agreed", slow)
        late = await world.dial(*world.us.issue("federation", "site/a"))
        late.start()
        await late.send(greeting("a"))
        await asyncio.wait_for(asked.wait(), 10)
        stopping = asyncio.create_task(world.gateway.stop())
        await until(lambda: world.gateway.stopping, "it stops")
        answered.set()
        assert await late.ended() == (grpc.StatusCode.UNAVAILABLE, Stopping.code)
        await late.close()
        await stopping
