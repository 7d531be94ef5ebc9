"""The agent and everything around it may die; packets and promises must not (DESIGN 5; GUARANTEES G1, G14)."""

from __future__ import annotations

import asyncio
import shutil
import signal

import pytest
from tests.packets.vnf.packet_lab import GREET, LEFT, Lab, packet_lab, pss_kib
from tests.support import eventually

pytestmark = [pytest.mark.world, pytest.mark.etcd]

FW = "i-00000000000a"
OPEN = {"default_policy": "accept"}
FURTHER = 20
MIB_PER_INSTANCE = 2


async def _open_firewall(lab: Lab) -> None:
    firewall = await lab.instance(FW, "firewall")
    await lab.patch(firewall)
    await lab.serve("right", GREET, 6000)
    await lab.start_agent()
    await lab.etcdctl_put(FW, "firewall", OPEN)
    await lab.in_force(FW, 1)
    assert await lab.connect(6000) == LEFT


async def _ended(lab: Lab) -> int:
    assert lab.agent is not None
    async with asyncio.timeout(10):
        return await lab.agent.wait()


async def test_packets_go_on_while_the_agent_is_dead_and_a_new_one_adopts() -> None:
    """The ruleset is in the kernel: killing the agent must cost control, never packets."""
    async with packet_lab() as lab:
        await _open_firewall(lab)
        assert lab.agent is not None
        lab.agent.kill()
        await _ended(lab)
        assert await lab.connect(6000) == LEFT
        deny = {"action": "deny", "protocol": "tcp", "ports": [6000]}
        await lab.etcdctl_put(FW, "firewall", {**OPEN, "rules": [deny]}, 2)
        assert await lab.connect(6000) == LEFT
        await lab.start_agent()
        await lab.in_force(FW, 2)
        assert await lab.connect(6000) == "ConnectionRefusedError"


async def test_sigterm_ends_the_agent_cleanly_and_leaves_the_rules() -> None:
    """An upgrade of the agent is a SIGTERM and a start; nobody's packets may notice."""
    async with packet_lab() as lab:
        await _open_firewall(lab)
        socket = lab.instances / FW / "kv.sock"
        assert socket.is_socket()
        assert socket.stat().st_mode & 0o777 == 0o600
        assert lab.agent is not None
        lab.agent.send_signal(signal.SIGTERM)
        assert await _ended(lab) == 0
        assert not socket.exists()
        assert await lab.connect(6000) == LEFT
        assert "Traceback" not in lab.agent_log()


async def test_a_dead_store_costs_control_only_and_comes_back_by_itself() -> None:
    """A site's etcd is restarted one day; its functions must go on, and listen again afterwards."""
    async with packet_lab() as lab:
        await _open_firewall(lab)
        lab.etcd.server.kill()
        assert await lab.connect(6000) == LEFT
        assert lab.agent is not None
        await lab.etcd.server.start()
        deny = {"action": "deny", "protocol": "tcp", "ports": [6000]}
        _: bool = await eventually(
            lambda: _put(lab, {**OPEN, "rules": [deny]}), "the store takes a put"
        )
        await lab.in_force(FW, 2)
        assert await lab.connect(6000) == "ConnectionRefusedError"
        assert lab.agent.returncode is None
        assert "Traceback" not in lab.agent_log()


async def _put(lab: Lab, parameters: dict[str, object]) -> bool:
    try:
        await lab.etcdctl_put(FW, "firewall", parameters, 2)
    except AssertionError:
        return False
    return True


async def test_an_instance_whose_user_does_not_exist_yet_waits_and_starts() -> None:
    """Launcher and credentials are two processes: the folder may well be there before the user."""
    async with packet_lab() as lab:
        firewall = await lab.instance(FW, "firewall")
        role = f"instance.{FW}"
        await lab.etcd.admin.ensure_no_user(role)
        await lab.patch(firewall)
        await lab.serve("right", GREET, 6000)
        await lab.start_agent()
        await lab.etcdctl_put(FW, "firewall", OPEN)
        await eventually(lambda: "read configuration" in lab.agent_log(), "the agent was refused")
        assert await lab.connect(6000, timeout_s=0.5) == "TimeoutError"
        await lab.etcd.admit(FW)
        await lab.in_force(FW, 1)
        assert await lab.connect(6000) == LEFT


async def test_a_new_life_is_closed_until_it_has_applied_for_itself() -> None:
    """`applied` of an earlier life must never open a later one."""
    async with packet_lab() as lab:
        await _open_firewall(lab)
        shutil.rmtree(lab.instances / FW)
        reborn = await lab.instance(FW, "firewall", incarnation=2)
        await lab.patch(reborn)

        async def second_life() -> bool:
            applied = await lab.etcd.applied(FW)
            return applied is not None and applied.incarnation == 2

        _: bool = await eventually(second_life, "the second life applied")
        assert await lab.connect(6000) == LEFT


async def test_a_deleted_namespace_is_reported_not_a_crash() -> None:
    """Healing begins with somebody who notices; the agent only says what it sees."""
    async with packet_lab() as lab:
        await _open_firewall(lab)
        await lab.compute.remove_instance(FW)

        async def reported() -> bool:
            state = await lab.etcd.state(FW)
            return state is not None and not state.healthy and "namespace" in state.detail

        _: bool = await eventually(reported, "the loss is reported")
        assert lab.agent is not None
        assert lab.agent.returncode is None


async def test_one_broken_folder_does_not_touch_the_others() -> None:
    """Forty instances share this process; one bad certificate must stay one bad certificate."""
    async with packet_lab() as lab:
        broken = lab.instances / "i-00000000000b"
        shutil.copytree(lab.etcd.make_folder(lab.folder, "i-00000000000b"), broken)
        (broken / "cert.pem").write_text("no certificate")
        (lab.instances / "i-00000000000c").mkdir()
        (lab.instances / "i-00000000000c" / "instance.json").write_text("{")
        await _open_firewall(lab)
        await eventually(lambda: "credentials unusable" in lab.agent_log(), "it complains")
        assert "i-00000000000c" in lab.agent_log()
        assert "Traceback" not in lab.agent_log()


async def test_each_further_kernel_instance_costs_at_most_two_mib() -> None:
    """Goal of DESIGN section 5: a credential each, but one process for all of a host."""
    async with packet_lab() as lab:
        await _open_firewall(lab)
        assert lab.agent is not None
        before_kib = pss_kib(lab.agent.pid)
        further = [f"i-{number:012x}" for number in range(0x100, 0x100 + FURTHER)]
        for instance in further:
            await lab.instance(instance, "firewall")
            await lab.etcd.configure(instance, OPEN)
        for instance in further:
            await lab.in_force(instance, 1)
            await lab.stats(instance)
        each_kib = (pss_kib(lab.agent.pid) - before_kib) / FURTHER
        assert each_kib <= MIB_PER_INSTANCE * 1024, f"{each_kib:.0f} KiB each"
