"""A hollow infrastructure: it answers like a real one and carries nothing.

It holds its state in memory, so that a simulation on virtual time or a scale test with five
hundred sites on two cores exercises every microcontroller without a single packet. Its capability
says ``hollow``, so nobody can mistake it for a data plane, and it never pretends to fence. Tests
break things in it with ``lose_instance`` and ``fail_next``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace

from isthmus.infrastructure.errors import InfrastructureError, StaleIncarnation, UnknownAttachment
from isthmus.infrastructure.ports import (
    AttachmentSpec,
    AttachmentState,
    Capability,
    Change,
    DeliverySpec,
    InstanceSpec,
    InstanceState,
)

__all__ = ["HollowCompute", "HollowFabric"]

_CAPABILITY = Capability("hollow", "none", ("a hollow plug-in carries no packets",))
MAX_PENDING_CHANGES = 1024
"""A watcher that sleeps longer than this is told to look at everything instead."""


class _Watchers:
    """Fans changes out to bounded queues; an overflow collapses into "look at everything"."""

    def __init__(self) -> None:
        self._queues: dict[asyncio.Queue[Change], None] = {}

    def tell(self, change: Change) -> None:
        for queue in self._queues:
            if queue.full():
                while not queue.empty():
                    queue.get_nowait()
                change = Change("", "too many changes to name them")
            queue.put_nowait(change)

    async def watch(self) -> AsyncGenerator[Change, None]:
        queue: asyncio.Queue[Change] = asyncio.Queue(MAX_PENDING_CHANGES)
        self._queues[queue] = None
        try:
            while True:
                yield await queue.get()
        finally:
            self._queues.pop(queue, None)


class HollowCompute:
    """A ComputePort of pure memory."""

    def __init__(self) -> None:
        self._instances: dict[str, InstanceState] = {}
        self._watchers = _Watchers()
        self._built = 0
        self._failures: list[InfrastructureError] = []

    async def ensure_instance(self, spec: InstanceSpec) -> InstanceState:
        if self._failures:
            raise self._failures.pop(0)
        have = self._instances.get(spec.instance_id)
        if have is not None and have.incarnation > spec.incarnation:
            raise StaleIncarnation(spec.instance_id, spec.incarnation, have.incarnation)
        if have is not None and _complete(have, spec):
            return have
        self._built += 1
        state = InstanceState(
            instance_id=spec.instance_id,
            incarnation=spec.incarnation,
            node=spec.node,
            phase="running",
            legs={leg: f"hollow{self._built}{leg}" for leg in spec.legs},
            sandbox=f"hollow-{self._built}",
        )
        self._instances[spec.instance_id] = state
        return state

    async def remove_instance(self, instance_id: str) -> None:
        if self._instances.pop(instance_id, None) is not None:
            self._watchers.tell(Change(instance_id, "removed"))

    async def list_instances(self) -> tuple[InstanceState, ...]:
        return tuple(self._instances.values())

    async def probe(self) -> Capability:
        return _CAPABILITY

    def watch(self) -> AsyncGenerator[Change, None]:
        return self._watchers.watch()

    def lose_instance(self, instance_id: str, reason: str = "lost by the test") -> None:
        """Break a sandbox as a fault would: it stays listed as lost and watchers are told."""
        state = self._instances[instance_id]
        self._instances[instance_id] = replace(state, phase="lost", legs={}, reason=reason)
        self._watchers.tell(Change(instance_id, reason))

    def fail_next(self, failure: InfrastructureError) -> None:
        """Let the next ``ensure_instance`` raise ``failure``."""
        self._failures.append(failure)


def _complete(have: InstanceState, spec: InstanceSpec) -> bool:
    asked = (spec.incarnation, spec.node, "running")
    return (have.incarnation, have.node, have.phase) == asked and set(spec.legs) == set(have.legs)


class HollowFabric:
    """A FabricPort of pure memory; ``attachments`` are the ids it knows (None: any)."""

    def __init__(self, attachments: tuple[str, ...] | None = None) -> None:
        self._known = attachments
        self._attachments: dict[str, AttachmentState] = {}
        self._watchers = _Watchers()
        self.deliveries: dict[str, DeliverySpec] = {}

    async def ensure_attachment(self, spec: AttachmentSpec) -> AttachmentState:
        self._check(spec.attachment_id)
        device = f"hollow-{spec.attachment_id}"
        state = AttachmentState(spec.attachment_id, spec.node, "running", device)
        self._attachments[spec.attachment_id] = state
        return state

    async def remove_attachment(self, attachment_id: str) -> None:
        self.deliveries.pop(attachment_id, None)
        if self._attachments.pop(attachment_id, None) is not None:
            self._watchers.tell(Change(attachment_id, "removed"))

    async def list_attachments(self) -> tuple[AttachmentState, ...]:
        return tuple(self._attachments.values())

    async def ensure_delivery(self, spec: DeliverySpec) -> None:
        self._check(spec.attachment_id)
        self.deliveries[spec.attachment_id] = spec

    async def probe(self) -> Capability:
        return _CAPABILITY

    def watch(self) -> AsyncGenerator[Change, None]:
        return self._watchers.watch()

    def _check(self, attachment_id: str) -> None:
        if self._known is not None and attachment_id not in self._known:
            raise UnknownAttachment(attachment_id, self._known)
