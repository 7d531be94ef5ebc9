"""The fence: packets stop by themselves when nobody renews, whatever became of the renewer (G2)."""

from __future__ import annotations

import asyncio
import signal

import pytest
from tests.packets.dataplane.kit import SERVER, Ground, OneNode, probe_during, python, start_echo
from tests.support import eventually

from isthmus.vswitch import Cord, Gate, GateSpec, Node, Panel, StaleEpoch

pytestmark = pytest.mark.world

RENEWER = """
import asyncio, sys
from isthmus.vswitch import Gate, Node
async def main():
    gate = Gate(Node("h1"))
    await gate.renew("c-1", 7, 1.0)
    print("ready", flush=True)
    while True:
        await asyncio.sleep(0.25)
        await gate.renew("c-1", 7, 1.0)
asyncio.run(main())
"""


async def gated(one: OneNode, epoch: int = 7) -> tuple[GateSpec, Panel]:
    """cli -gate-> i-1 -> srv, everything else plain cords."""
    first, last = await one.instance("i-1")
    gate = GateSpec("c-1", one.ends["cli"], first, epoch)
    panel = Panel(cords=(Cord(last, one.ends["srv"]),), gates=(gate,))
    await one.panel.reconcile(panel)
    return gate, panel


async def passes(ground: Ground) -> bool:
    return (await ground.run("cli", "ping", "-c1", "-W1", SERVER)).code == 0


async def test_a_gate_is_closed_until_a_lease_is_given(ground: Ground, one: OneNode) -> None:
    """Fail closed: a gate that was just made, or made again, forwards nothing."""
    gate, _ = await gated(one)
    assert not await passes(ground)
    await one.panel.gate.renew("c-1", 7, 5.0)
    assert await passes(ground)
    await one.panel.gate.close_gate("c-1")
    assert not await passes(ground)
    state = await one.panel.gate.state("c-1")
    assert state is not None
    assert (state.open, state.source, state.target) == (False, gate.source, gate.target)


async def test_a_lease_that_is_not_renewed_ends_by_itself(ground: Ground, one: OneNode) -> None:
    """No user space takes part in closing: the element's time runs out in the kernel."""
    await gated(one)
    await one.panel.gate.renew("c-1", 7, 0.5)
    assert await passes(ground)

    async def is_closed() -> bool:
        return not await passes(ground)

    assert await eventually(is_closed, "the gate closes when its lease ends", timeout_s=5)


async def test_a_frozen_holder_stops_forwarding(ground: Ground, one: OneNode) -> None:
    """G2: SIGSTOP freezes the renewer for ever; packets stop within the lease of 1 s (and were
    never interrupted while it ran)."""
    await gated(one)
    holder = await ground.start("h1", *python("-c", RENEWER))
    await start_echo(ground)
    probe = await probe_during(ground, 4.0)
    steady = await probe_during_pings(ground, 8)
    assert steady == 8, "renewals leave no gap"
    holder.send_signal(signal.SIGSTOP)
    record = await probe
    assert record["lost"] > 0
    last = max(sent for sent, rtt, _ in record["timeline"] if rtt is not None)
    lost_before = [sent for sent, rtt, _ in record["timeline"] if rtt is None and sent < last]
    assert lost_before == [], "the gate had a gap while it was renewed"
    assert not await passes(ground)
    state = await one.panel.gate.state("c-1")
    assert state is not None
    assert not state.open


async def probe_during_pings(ground: Ground, count: int) -> int:
    done = await asyncio.gather(*(passes(ground) for _ in range(count)))
    return sum(done)


async def test_an_older_epoch_opens_nothing(ground: Ground, one: OneNode) -> None:
    """G2': a delayed renewal of a holder that was replaced meets the kernel's own comparison, and
    a delayed order to follow the old epoch is refused."""
    gate, _ = await gated(one)
    await one.panel.gate.renew("c-1", 7, 30.0)
    assert await passes(ground)
    newer = GateSpec(gate.gate_id, gate.source, gate.target, 8)
    await one.panel.gate.ensure_gate(newer)
    assert not await passes(ground), "a living lease of the old epoch is shut out at once"
    await one.panel.gate.renew("c-1", 7, 30.0)
    assert not await passes(ground)
    with pytest.raises(StaleEpoch, match="epoch 7 is older than 8"):
        await one.panel.gate.ensure_gate(gate)
    await one.panel.gate.renew("c-1", 8, 30.0)
    assert await passes(ground)


async def test_ensuring_again_keeps_the_lease_and_changes_nothing(
    ground: Ground, one: OneNode
) -> None:
    """A restarted manager looks at its gates: an open one stays open, and no packet is lost."""
    gate, panel = await gated(one)
    await one.panel.gate.renew("c-1", 7, 30.0)
    await start_echo(ground)
    probe = await probe_during(ground, 1.0)
    fresh = Gate(Node("h1"))
    for _ in range(5):
        assert not await fresh.ensure_gate(gate)
        assert (await one.panel.reconcile(panel)).commands == ()
    assert (await probe)["lost"] == 0


async def test_no_cord_bypasses_a_gate(ground: Ground, one: OneNode) -> None:
    """A filter runs before the gate at the same device: making the gate takes it away."""
    first, last = await one.instance("i-1")
    cords = (Cord(one.ends["cli"], first), Cord(last, one.ends["srv"]))
    await one.panel.reconcile(Panel(cords=cords))
    assert await passes(ground)
    await gated(one)
    assert not await passes(ground)


async def test_a_gate_survives_a_new_target_with_its_lease(ground: Ground, one: OneNode) -> None:
    """Healing behind the gate re-points it; the lease is about the chain, not about a device."""
    gate, _ = await gated(one)
    await one.panel.gate.renew("c-1", 7, 60.0)
    first, last = await one.instance("i-2")
    panel = Panel(
        cords=(Cord(last, one.ends["srv"]),),
        gates=(GateSpec("c-1", gate.source, first, 7),),
    )
    await one.panel.reconcile(panel)
    assert await passes(ground)


async def test_a_rebuilt_source_is_gated_again(ground: Ground, one: OneNode) -> None:
    """A device that comes back under its name is another device: the gate is hung on it anew."""
    gate, panel = await gated(one)
    await one.panel.gate.renew("c-1", 7, 60.0)
    await Node("h1").ip([f"link del dev {gate.source}"])
    state = await one.panel.gate.state("c-1")
    assert state is not None
    assert "source device is gone" in state.problem
    remade = await one.reattach("cli")
    assert remade == gate.source
    assert (await one.panel.reconcile(panel)).commands
    assert await passes(ground), "its lease is still alive"
    await one.panel.gate.close_gate("c-1")
    assert not await passes(ground)


async def test_gates_that_nobody_wants_go_away(ground: Ground, one: OneNode) -> None:
    """Removal is part of the panel; a foreign netdev table stays."""
    await gated(one)
    await Node("h1").nft("add table netdev somebody\n")
    report = await one.panel.reconcile(Panel())
    assert "remove gate c-1" in report.commands
    assert await one.panel.gate.list_gates() == ()
    assert "somebody" in await Node("h1").run("nft", "list", "tables")
