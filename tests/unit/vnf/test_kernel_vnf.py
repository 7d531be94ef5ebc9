"""The order of things in one instance's life: these orders are the promises a chain is connected on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from tests.support import eventually
from tests.unit.vnf.fakes import INSTANCE, Bench

from isthmus.contract.families import CONFIG
from isthmus.vnf.kernel import Reading
from isthmus.vnf.kernel_vnf import KernelVnf
from isthmus.vnf.netlink import Count

ALL = {"default_policy": "accept"}


@contextlib.asynccontextmanager
async def running(vnf: KernelVnf) -> AsyncIterator[KernelVnf]:
    task = asyncio.create_task(vnf.run())
    try:
        yield vnf
    finally:
        assert not task.done() or task.exception() is None
        task.cancel()
        await asyncio.wait((task,), timeout=5)


async def until(what: str, condition: Callable[[], Awaitable[Any]]) -> None:
    async def truth() -> bool:
        return bool(await condition())

    _: bool = await eventually(truth, what, every_s=0.002)


async def in_force(bench: Bench, generation: int) -> None:
    async def is_in_force() -> bool:
        applied = await bench.applied()
        return applied is not None and applied.config_generation == generation

    await until(f"generation {generation} is in force", is_in_force)


async def test_it_closes_first_and_says_nothing_before_a_configuration_is_in_force() -> None:
    """A cord is connected on `applied`: written too early, packets would pass a function without rules."""
    bench = Bench()
    async with running(bench.vnf()):
        await until("the state is published", bench.state)
        assert await bench.applied() is None
        assert [program.mark.open for program in bench.kernel.applied] == [False]
        revision = await bench.configure(ALL)
        await in_force(bench, 1)
        applied = await bench.applied()
        assert applied is not None
        assert (applied.incarnation, applied.config_revision) == (1, revision)
        assert bench.kernel.now is not None
        assert bench.kernel.now.mark.revision == revision


async def test_a_refused_configuration_leaves_the_old_one_in_force_and_names_the_field() -> None:
    """A mistake must neither open nor close a line, and its writer must find out what was wrong."""
    bench = Bench()
    good = await bench.configure(ALL)
    async with running(bench.vnf()):
        await in_force(bench, 1)
        before = bench.kernel.now
        bad = await bench.configure({"rules": [{"action": "melt"}]}, generation=2)

        async def refused() -> bool:
            applied = await bench.applied()
            return applied is not None and applied.refused_revision == bad

        await until("generation 2 is refused", refused)
        applied = await bench.applied()
        assert applied is not None
        assert applied.error.startswith("rules.0.action: 'melt' is refused")
        assert (applied.config_revision, applied.refused_generation) == (good, 2)
        assert bench.kernel.now is before
        await bench.configure(ALL, generation=3)
        await in_force(bench, 3)
        applied = await bench.applied()
        assert applied is not None
        assert (applied.error, applied.refused_revision) == ("", 0)


async def test_a_value_that_breaks_the_contract_is_refused_like_any_other() -> None:
    """Anybody with the owner's rights can put any bytes there; the function must live on."""
    bench = Bench()
    await bench.store.put(CONFIG.key(owner="configurator", instance=INSTANCE), b"\xff{")
    async with running(bench.vnf()):

        async def refused() -> bool:
            applied = await bench.applied()
            return applied is not None and "not JSON" in applied.error

        await until("garbage is refused", refused)
        applied = await bench.applied()
        assert applied is not None
        assert applied.config_revision == 0
        await bench.configure(ALL)
        await in_force(bench, 1)


async def test_a_configuration_of_another_type_is_refused() -> None:
    """A NAT's configuration on a firewall must not turn it into a NAT."""
    bench = Bench()
    await bench.configure({"address": "203.0.113.1"}, type_="nat")
    async with running(bench.vnf()):

        async def refused() -> bool:
            applied = await bench.applied()
            return applied is not None and "this instance is firewall/1" in applied.error

        await until("the other type is refused", refused)


async def test_a_restarted_agent_adopts_what_is_in_force_and_never_closes_it() -> None:
    """An agent is killed and started under traffic: the customer must not notice."""
    bench = Bench()
    await bench.configure(ALL)
    async with running(bench.vnf()):
        await in_force(bench, 1)
    count = len(bench.kernel.applied)
    async with running(bench.vnf()):
        await until("it applies again", lambda: _longer(bench, count))
        assert all(program.mark.open for program in bench.kernel.applied[count:])


async def _longer(bench: Bench, count: int) -> bool:
    return len(bench.kernel.applied) > count


async def test_a_new_life_is_closed_although_an_old_ruleset_is_there() -> None:
    """Rules of another life prove nothing about this one."""
    bench = Bench()
    await bench.configure(ALL)
    async with running(bench.vnf()):
        await in_force(bench, 1)
    count = len(bench.kernel.applied)
    async with running(bench.vnf(incarnation=2)):
        await until("it applies again", lambda: _longer(bench, count + 1))
    first, second = bench.kernel.applied[count : count + 2]
    assert (first.mark.incarnation, first.mark.open) == (2, False)
    assert (second.mark.incarnation, second.mark.open) == (2, True)


async def test_rules_that_vanished_come_back_closed_first() -> None:
    """A namespace made anew under the same name forwards everything until somebody notices: we do."""
    bench = Bench()
    await bench.configure(ALL)
    async with running(bench.vnf()):
        await in_force(bench, 1)
        count = len(bench.kernel.applied)
        bench.kernel.rebuild()
        await until("the rules are back", lambda: _longer(bench, count + 1))
    assert [p.mark.open for p in bench.kernel.applied[count : count + 2]] == [False, True]


async def test_a_missing_namespace_is_reported_and_waited_for() -> None:
    """Launcher and agent are two processes: either may be first."""
    bench = Bench()
    bench.kernel.present = False
    await bench.configure(ALL)
    async with running(bench.vnf()):

        async def reported() -> bool:
            state = await bench.state()
            return state is not None and not state.healthy and "namespace" in state.detail

        await until("the missing namespace is reported", reported)
        assert await bench.applied() is None
        bench.kernel.present = True
        await in_force(bench, 1)

        async def well() -> bool:
            state = await bench.state()
            return state is not None and state.healthy

        await until("it is healthy", well)
        bench.kernel.present = False
        await until("the loss is reported", reported)


async def test_what_the_kernel_refuses_is_tried_again() -> None:
    """A valid configuration that the kernel refuses is an accident of the host, and accidents pass."""
    bench = Bench()
    bench.kernel.refuse = "nft: out of memory"
    await bench.configure(ALL)
    async with running(bench.vnf()):

        async def refused() -> bool:
            applied = await bench.applied()
            state = await bench.state()
            return (
                applied is not None
                and "out of memory" in applied.error
                and state is not None
                and not state.healthy
            )

        await until("the refusal is reported", refused)
        bench.kernel.refuse = ""
        await in_force(bench, 1)


async def test_ownership_moves_live_and_the_old_owner_has_no_say_any_more() -> None:
    """An EMS takes over and gives back (R31-R37); between owners the last configuration stays in force."""
    bench = Bench()
    await bench.configure(ALL)
    async with running(bench.vnf()):
        await in_force(bench, 1)
        await bench.hand_over("ems-acme")
        await bench.configure(ALL, owner="configurator", generation=7)
        await bench.configure({"allow_ping": False}, owner="ems-acme", generation=2)
        await in_force(bench, 2)
        applied = await bench.applied()
        assert applied is not None
        assert applied.owner == "ems-acme"
        assert all(program.mark.generation != 7 for program in bench.kernel.applied)
        await bench.hand_over("configurator")
        await in_force(bench, 7)


async def test_a_deleted_configuration_changes_nothing() -> None:
    """Deletion is no configuration; what was asked for last stays in force."""
    bench = Bench()
    await bench.configure(ALL)
    async with running(bench.vnf()):
        await in_force(bench, 1)
        count = len(bench.kernel.applied)
        await bench.store.delete(CONFIG.key(owner="configurator", instance=INSTANCE))
        await bench.configure(ALL, generation=2)
        await in_force(bench, 2)
        assert all(program.mark.open for program in bench.kernel.applied[count:])


async def test_counters_are_written_when_they_move_and_refreshed_when_not() -> None:
    """A still counter must not look like a dead writer, a moving one must not wait."""
    bench = Bench()
    await bench.configure(ALL)
    async with running(bench.vnf()):
        await in_force(bench, 1)
        bench.kernel.reading = Reading(
            forward=Count(5, 500), reverse=Count(3, 300), dropped=Count(2, 80), queue_drops=1
        )

        async def counted() -> bool:
            stats = await bench.stats()
            return stats is not None and stats.packets_forward == 5

        await until("counters are published", counted)
        stats = await bench.stats()
        assert stats is not None
        assert (stats.packets_reverse, stats.packets_dropped) == (3, 3)
        assert (stats.bytes_forward, stats.bytes_reverse) == (500, 300)
