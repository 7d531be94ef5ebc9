"""ComputePort on one machine: a sandbox is a network namespace with legs on its node.

Three processes build one (a batch for the namespace and its legs, one shell inside for switches,
routes and marks); asking again looks, finds nothing to do and changes nothing. Removal goes in
the only order that never leaves something behind: processes, links, names (pitfalls 2 and 3).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import replace

from isthmus.infrastructure.errors import BuildFailed, Refused, StaleIncarnation
from isthmus.infrastructure.linux.holding import Holder
from isthmus.infrastructure.linux.kernel import (
    instance_states,
    legs_of,
    pids_inside,
    sandbox_names,
    sandbox_token,
)
from isthmus.infrastructure.linux.names import Leg, Sandbox, partner_of
from isthmus.infrastructure.linux.probing import probe_kernel
from isthmus.infrastructure.linux.processes import ProcessKeeper
from isthmus.infrastructure.linux.recipe import (
    DEVICE_MTU,
    Inside,
    Pair,
    inside_from,
    inside_lines,
    inspect_script,
    pairs_of,
    steer_script,
    sysctls,
)
from isthmus.infrastructure.linux.settings import LinuxSettings
from isthmus.infrastructure.linux.watching import watch_kernel
from isthmus.infrastructure.ports import Capability, Change, InstanceSpec, InstanceState
from isthmus.vswitch import NETNS_DIR, Node, NodeGone, VSwitchError
from isthmus.vswitch.observed import Link, json_documents, links_from

__all__ = ["LinuxCompute"]

END_TIMEOUT_S = 5.0
"""A killed process leaves its namespace within milliseconds; one in the kernel's grip may not."""


class LinuxCompute:
    """Sandboxes on the nodes of one machine. The kernel holds all state; a restart adopts."""

    def __init__(self, settings: LinuxSettings) -> None:
        self.settings = settings
        self._workers = asyncio.Semaphore(settings.workers)
        self._turns: dict[str, asyncio.Lock] = {}
        self._holder = Holder(NETNS_DIR)
        self._processes = ProcessKeeper(settings.process_argv)

    async def ensure_instance(self, spec: InstanceSpec) -> InstanceState:
        """Make the sandbox complete; lower incarnations and other nodes' copies go away."""
        pairs = pairs_of(spec.legs)
        node = self.settings.node(spec.node)
        if spec.form == "process" and not self.settings.process_argv:
            raise Refused(f"instance {spec.instance_id!r}: form 'process' is not set up here")
        async with self._turn(spec.instance_id), self._workers:
            try:
                links = await self._links(node)
                await self._clear_others(spec, links)
                state = await self._complete(spec, node, pairs, links)
            except VSwitchError as error:
                raise BuildFailed(f"instance {spec.instance_id!r}: {error}") from error
            self._holder.hold(spec.instance_id, state.netns)
            self._holder.release(spec.instance_id, but=state.netns)
            return state

    async def remove_instance(self, instance_id: str) -> None:
        """Take every life of the instance away, on every node of this scope."""
        async with self._turn(instance_id), self._workers:
            states = [s for s in await self.list_instances() if s.instance_id == instance_id]
            for state in states:
                await self._remove(Sandbox(instance_id, state.incarnation, state.node))
            self._holder.release(instance_id)
        self._turns.pop(instance_id, None)

    async def list_instances(self) -> tuple[InstanceState, ...]:
        """Read the kernel: names and aliases that carry our mark."""
        names = sandbox_names(NETNS_DIR, self.settings.scope)
        nodes = list(self.settings.nodes)
        found = await asyncio.gather(*(self._links(self.settings.node(node)) for node in nodes))
        states = instance_states(names, dict(zip(nodes, found, strict=True)), self.settings.scope)
        for sandbox in names:
            self._holder.hold(sandbox.instance_id, sandbox.netns(self.settings.scope))
        return tuple(self._with_process(state) for state in states)

    async def probe(self) -> Capability:
        """Build the essentials in a throw-away namespace and say what failed."""
        return await probe_kernel()

    def watch(self) -> AsyncGenerator[Change, None]:
        """Yield a change when a sandbox loses its name, a leg or its process."""
        return watch_kernel(self.settings, "instance", self._processes.changes)

    async def close(self) -> None:
        """Let go of processes that were started here; they go on, and a restart adopts them."""
        await self._processes.close()

    def _turn(self, instance_id: str) -> asyncio.Lock:
        return self._turns.setdefault(instance_id, asyncio.Lock())

    def _with_process(self, state: InstanceState) -> InstanceState:
        reason = "" if state.reason else self._processes.fault(state)
        return replace(state, phase="lost", reason=reason) if reason else state

    async def _clear_others(self, spec: InstanceSpec, links: Mapping[str, Link]) -> None:
        """Remove other lives of the instance; refuse if one of them is younger.

        Legs that lost their name on another node are that node's garbage, found by listing it.
        """
        scope = self.settings.scope
        wanted = Sandbox(spec.instance_id, spec.incarnation, spec.node)
        lives = set(sandbox_names(NETNS_DIR, scope))
        lives |= {Sandbox(name, life, spec.node) for name, life in legs_of(links, scope)}
        for life in sorted(lives):
            if life.instance_id != spec.instance_id or life == wanted:
                continue
            if life.incarnation > spec.incarnation:
                raise StaleIncarnation(spec.instance_id, spec.incarnation, life.incarnation)
            await self._remove(life)

    async def _complete(
        self, spec: InstanceSpec, node: Node, pairs: tuple[Pair, ...], links: Mapping[str, Link]
    ) -> InstanceState:
        scope, sandbox = self.settings.scope, Sandbox(spec.instance_id, spec.incarnation, spec.node)
        netns = Node(sandbox.netns(scope))
        legs = legs_of(links, scope).get((spec.instance_id, spec.incarnation), {})
        new = not netns.path.exists()
        seen = Inside() if new else await self._inspect(netns, pairs)
        sound = {
            name: link for name, link in legs.items() if name in seen.links or name not in spec.legs
        }
        stale = [link for name, link in legs.items() if new or name not in sound]
        # the kernel may be taking them down at this moment: gone before we say so is fine
        await node.ip([f"link del dev {link.name}" for link in stale], force=True)
        await node.ip(_outside_lines(spec, scope, sound, new=new))
        await self._furnish(netns, pairs, spec.mtu, seen)
        if spec.form == "process":
            await self._processes.ensure(spec, netns)
        devices = {leg: sandbox.leg(scope, leg) for leg in spec.legs}
        kept = {} if new else {name: link.name for name, link in sound.items()}
        return InstanceState(
            instance_id=spec.instance_id,
            incarnation=spec.incarnation,
            node=spec.node,
            phase="running",
            netns=netns.netns or "",
            legs=dict(sorted({**kept, **devices}.items())),
            sandbox=sandbox_token(netns.path),
        )

    async def _furnish(self, netns: Node, pairs: tuple[Pair, ...], mtu: int, seen: Inside) -> None:
        """Apply what the inside lacks, all of it in one shell."""
        switches = sysctls(pairs)
        script = ""
        if seen.sysctls != tuple(switches.values()):
            script += "".join(
                f"echo {value} >/proc/sys/net/{path}\n" for path, value in switches.items()
            )
        lines, steer = inside_lines(pairs, mtu, seen), steer_script(pairs, seen)
        if lines:
            script += "ip -batch - <<'.'\n" + "\n".join(lines) + "\n.\n"
        if steer:
            script += f"nft -f - <<'.'\n{steer}.\n"
        if script:
            await netns.run("sh", "-e", stdin=script)

    async def _inspect(self, netns: Node, pairs: tuple[Pair, ...]) -> Inside:
        answer = await netns.run("sh", stdin=inspect_script(pairs))
        return inside_from(json_documents(answer), pairs)

    async def _links(self, node: Node) -> dict[str, Link]:
        try:
            return links_from(await node.run("ip", "-d", "-j", "link", "show"))
        except NodeGone:
            return {}

    async def _remove(self, sandbox: Sandbox) -> None:
        """Processes, links, names: a process inside would keep everything alive unseen."""
        scope = self.settings.scope
        netns = Node(sandbox.netns(scope))
        await _end_processes(netns)
        node = self.settings.node(sandbox.node)
        legs = legs_of(await self._links(node), scope)
        mine = legs.get((sandbox.instance_id, sandbox.incarnation), {})
        lines = [f"link del dev {link.name}" for link in mine.values()]
        if netns.path.exists():
            lines.append(f"netns del {netns.netns}")
        await (node if mine else Node()).ip(lines, force=True)
        if netns.path.exists():
            raise BuildFailed(f"namespace {netns.netns!r} cannot be removed; try again")


def _outside_lines(
    spec: InstanceSpec, scope: str, sound: Mapping[str, Link], *, new: bool
) -> list[str]:
    """Lines for the node: the namespace if it is new, and those legs that are not sound."""
    sandbox = Sandbox(spec.instance_id, spec.incarnation, spec.node)
    netns = sandbox.netns(scope)
    lines = [f"netns add {netns}"] if new else []
    for leg in spec.legs:
        device = sandbox.leg(scope, leg)
        if leg in sound and not new:
            lines += [] if sound[leg].up else [f"link set dev {device} up"]
            continue
        mark = Leg(spec.instance_id, spec.incarnation, leg, partner_of(leg, spec.legs))
        lines += [
            f"link add name {device} mtu {DEVICE_MTU} type veth "
            f"peer name {leg} mtu {DEVICE_MTU} netns {netns}",
            f"link set dev {device} alias {mark.alias(scope)} up",
        ]
    return lines


async def _end_processes(netns: Node) -> None:
    """Kill what runs in the namespace and wait until it left."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(END_TIMEOUT_S):
            while pids := await asyncio.to_thread(pids_inside, netns.path):
                _kill(pids)
                await asyncio.sleep(0.01)


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
