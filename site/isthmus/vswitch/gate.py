"""The fence in the kernel: packets of an exclusive chain pass only while a lease is alive.

A gate is an nft netdev chain at the ingress of the first device of a chain (G2). It marks every
packet with the epoch the gate follows and forwards it only if an element of that epoch is in the
lease set; the element has a timeout, so a holder that is frozen, killed or cut off stops
forwarding by itself, whatever user space does (measured: closed 0.97 s after SIGSTOP with a 1 s
element). Renewing replaces the element in one transaction, which leaves no gap. A late renewal by
an older epoch adds an element that no packet carries (G2'): it is refused by the kernel's own
comparison, not by our goodwill.

The way back is an ordinary one-way cord; a filter at the gate's source would run before the gate
and bypass it, so the panel never puts one there.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from isthmus.vswitch.commands import Node
from isthmus.vswitch.errors import CommandFailed, DeviceMissing, InvalidPanel, StaleEpoch
from isthmus.vswitch.model import GateSpec, Panel
from isthmus.vswitch.naming import MARK, gate_table
from isthmus.vswitch.observed import Link, links_from, observed_from
from isthmus.vswitch.plan import DeviceLines, device_lines
from isthmus.vswitch.rules import deliveries

__all__ = ["Gate", "GateState", "gate_script", "gate_state_from", "renew_script"]

EPOCH_MASK = 0xFFFF_FFFF
"""A mark has 32 bits; epochs only rise, and four thousand million of them never overlap."""
MAX_TTL_S = 3600.0


@dataclass(frozen=True, slots=True)
class GateState:
    """A gate as the kernel has it. ``open``: a lease of the gate's own epoch is alive."""

    gate_id: str
    source: str
    target: str
    epoch: int
    open: bool
    remaining_s: float = 0.0
    problem: str = ""


def gate_script(gate: GateSpec, *, source_index: int, moved: bool) -> str:
    """One transaction that makes the gate, or re-points it and keeps its lease, pure.

    ``moved``: the chain hangs on the hook of another device and is replaced. nft does not tell the
    device of a chain in JSON, and a device may come back under its name, so the rule's comment
    keeps the name and the kernel's index of it.
    """
    table = gate_table(gate.gate_id)
    comment = f"{MARK} {gate.gate_id} {gate.epoch} {gate.source} {source_index}"
    chain = (
        f"add chain netdev {table} in "
        f'{{ type filter hook ingress device "{gate.source}" priority 0; policy drop; }}\n'
    )
    return (
        f"add table netdev {table}\n"
        f"add set netdev {table} lease {{ type mark; flags timeout; }}\n"
        + (f"delete chain netdev {table} in\n" if moved else "")
        + chain
        + f"flush chain netdev {table} in\n"
        f"add rule netdev {table} in counter meta mark set {gate.epoch & EPOCH_MASK}\n"
        f"add rule netdev {table} in meta mark @lease counter "
        f'fwd to "{gate.target}" comment "{comment}"\n'
    )


def renew_script(gate_id: str, epoch: int, ttl_ms: int) -> str:
    """Replace the lease element of ``epoch``: add (so that delete finds it), delete, add."""
    element = f"element netdev {gate_table(gate_id)} lease {{ {epoch & EPOCH_MASK}"
    timed = f"{element} timeout {ttl_ms}ms }}"
    return f"add {timed}\ndelete {element} }}\nadd {timed}\n"


class Gate:
    """The gates of one node."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._turn = asyncio.Lock()

    async def ensure_gate(self, gate: GateSpec) -> bool:
        """Make the gate (closed until renewed) or move it; return whether anything was issued.

        A younger epoch than the gate's own shuts out the leases of the older one at once; an
        older epoch is refused.
        """
        async with self._turn:
            links = await self._links()
            missing = tuple(d for d in (gate.source, gate.target) if d not in links)
            if missing:
                raise DeviceMissing(missing)
            have = await self._state(gate.gate_id, links)
            if have is not None and have.epoch > gate.epoch:
                raise StaleEpoch(gate.gate_id, gate.epoch, have.epoch)
            same = have is not None and not have.problem
            same = same and _shape(have) == (gate.source, gate.target, gate.epoch)
            if not same:
                moved = have is not None and (have.source != gate.source or bool(have.problem))
                index = links[gate.source].index
                await self.node.nft(gate_script(gate, source_index=index, moved=moved))
            back = await self._return_lines(gate)
            await self.node.tc(back)
            return not same or bool(back)

    async def renew(self, gate_id: str, epoch: int, ttl_s: float) -> None:
        """Keep the gate open for ``ttl_s`` from now, if it still follows ``epoch``.

        Nothing is read first: the kernel compares. The caller's clock starts before this call
        (t_send), so the lease it believes in ends before the one in the kernel.
        """
        if not 0 < ttl_s <= MAX_TTL_S:
            raise InvalidPanel(f"gate {gate_id!r}: ttl_s {ttl_s} is not in (0, {MAX_TTL_S:.0f}]")
        await self.node.nft(renew_script(gate_id, epoch, max(1, int(ttl_s * 1000))))

    async def close_gate(self, gate_id: str) -> None:
        """Give every lease of the gate back at once: packets stop with this call."""
        await self.node.nft(f"flush set netdev {gate_table(gate_id)} lease\n")

    async def remove_gate(self, gate_id: str) -> None:
        """Take the gate away; absent is fine."""
        async with self._turn:
            table = gate_table(gate_id)
            await self.node.nft(f"add table netdev {table}\ndelete table netdev {table}\n")

    async def state(self, gate_id: str) -> GateState | None:
        """Return the gate as the kernel has it, or None."""
        return await self._state(gate_id, await self._links())

    async def list_gates(self) -> tuple[GateState, ...]:
        """Every gate of ours on the node."""
        document = json.loads(await self.node.run("nft", "-j", "list", "tables", "netdev"))
        tables = [item["table"]["name"] for item in document["nftables"] if "table" in item]
        links = await self._links()
        states = [
            gate_state_from(await self._table(table), links)
            for table in tables
            if table.startswith(f"{MARK}_gate_")
        ]
        return tuple(state for state in states if state is not None)

    async def _state(self, gate_id: str, links: Mapping[str, Link]) -> GateState | None:
        try:
            return gate_state_from(await self._table(gate_table(gate_id)), links)
        except CommandFailed as error:
            if "No such file" in error.stderr:
                return None
            raise

    async def _table(self, table: str) -> str:
        return await self.node.run("nft", "-j", "list", "table", "netdev", table)

    async def _links(self) -> dict[str, Link]:
        return links_from(await self.node.run("ip", "-d", "-j", "link", "show"))

    async def _return_lines(self, gate: GateSpec) -> list[str]:
        """Lines for the way back, and against a filter that would bypass the gate."""
        devices = (gate.source, gate.target)
        text = "".join(f"filter show dev {device} ingress\n" for device in devices)
        answer = await self.node.run("tc", "-s", "-j", "-batch", "-", stdin=f"qdisc show\n{text}")
        seen = observed_from({}, devices, answer)
        wanted = deliveries(Panel(gates=(gate,)))
        work = DeviceLines()
        for device in devices:
            work += device_lines(device, wanted[device], seen)
        return work.all


def _shape(state: GateState | None) -> tuple[str, str, int]:
    return ("", "", 0) if state is None else (state.source, state.target, state.epoch)


def gate_state_from(text: str, links: Mapping[str, Link]) -> GateState | None:
    """Read ``nft -j list table`` of one gate, pure; None if it is no (whole) gate of ours."""
    items = json.loads(text)["nftables"]
    elements: list[Any] = next((item["set"].get("elem", []) for item in items if "set" in item), [])
    rules = [item["rule"] for item in items if "rule" in item and "comment" in item["rule"]]
    words = rules[0]["comment"].split() if rules else []
    if len(words) != 5 or words[0] != MARK:
        return None
    _, gate_id, epoch, source, index = words
    target = _target(rules[0])
    problem = "" if target in links else "its target device is gone"
    if source not in links or links[source].index != int(index):
        problem = "its source device is gone"
    remaining_s = _remaining_s(elements, int(epoch) & EPOCH_MASK)
    return GateState(
        gate_id=gate_id,
        source=source,
        target=target,
        epoch=int(epoch),
        open=remaining_s > 0 and not problem,
        remaining_s=remaining_s,
        problem=problem,
    )


def _target(rule: dict[str, Any]) -> str:
    for expression in rule.get("expr", ()):
        if "fwd" in expression:
            return str(expression["fwd"].get("dev", ""))
    return ""


def _remaining_s(elements: list[Any], epoch_mark: int) -> float:
    """Seconds of the lease of this epoch; nft tells whole seconds, so an alive one shows > 0."""
    for element in elements:
        inner = element.get("elem", {}) if isinstance(element, dict) else {}
        if inner.get("val") == epoch_mark:
            return max(float(inner.get("expires", 0)), 0.001)
    return 0.0
