"""Wrappers that record every call to the infrastructure, as plain JSON-able data.

R16 says that no function name, chain name or configuration reaches the infrastructure. The
promise is tested by recording all calls of a whole scenario and searching the text.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

from isthmus.infrastructure.ports import (
    AttachmentSpec,
    AttachmentState,
    Capability,
    Change,
    ComputePort,
    DeliverySpec,
    FabricPort,
    InstanceSpec,
    InstanceState,
)

__all__ = ["RecordingCompute", "RecordingFabric"]


class _Recorder:
    """Appends calls to a list that several wrappers may share."""

    def __init__(self, calls: list[dict[str, Any]] | None) -> None:
        self.calls: list[dict[str, Any]] = [] if calls is None else calls

    def note(self, port: str, call: str, **arguments: Any) -> None:
        entry = {"port": port, "call": call, **arguments}
        self.calls.append(json.loads(json.dumps(entry)))


class RecordingCompute:
    """A ComputePort that passes everything on and remembers it in ``calls``."""

    def __init__(self, inner: ComputePort, calls: list[dict[str, Any]] | None = None) -> None:
        self._inner = inner
        self._recorder = _Recorder(calls)

    @property
    def calls(self) -> list[dict[str, Any]]:
        """What was asked so far, oldest first."""
        return self._recorder.calls

    async def ensure_instance(self, spec: InstanceSpec) -> InstanceState:
        self._recorder.note("compute", "ensure_instance", spec=asdict(spec))
        return await self._inner.ensure_instance(spec)

    async def remove_instance(self, instance_id: str) -> None:
        self._recorder.note("compute", "remove_instance", instance_id=instance_id)
        await self._inner.remove_instance(instance_id)

    async def list_instances(self) -> tuple[InstanceState, ...]:
        self._recorder.note("compute", "list_instances")
        return await self._inner.list_instances()

    async def probe(self) -> Capability:
        self._recorder.note("compute", "probe")
        return await self._inner.probe()

    def watch(self) -> AsyncIterator[Change]:
        self._recorder.note("compute", "watch")
        return self._inner.watch()


class RecordingFabric:
    """A FabricPort that passes everything on and remembers it in ``calls``."""

    def __init__(self, inner: FabricPort, calls: list[dict[str, Any]] | None = None) -> None:
        self._inner = inner
        self._recorder = _Recorder(calls)

    @property
    def calls(self) -> list[dict[str, Any]]:
        """What was asked so far, oldest first."""
        return self._recorder.calls

    async def ensure_attachment(self, spec: AttachmentSpec) -> AttachmentState:
        self._recorder.note("fabric", "ensure_attachment", spec=asdict(spec))
        return await self._inner.ensure_attachment(spec)

    async def remove_attachment(self, attachment_id: str) -> None:
        self._recorder.note("fabric", "remove_attachment", attachment_id=attachment_id)
        await self._inner.remove_attachment(attachment_id)

    async def list_attachments(self) -> tuple[AttachmentState, ...]:
        self._recorder.note("fabric", "list_attachments")
        return await self._inner.list_attachments()

    async def ensure_delivery(self, spec: DeliverySpec) -> None:
        self._recorder.note("fabric", "ensure_delivery", spec=asdict(spec))
        await self._inner.ensure_delivery(spec)

    async def probe(self) -> Capability:
        self._recorder.note("fabric", "probe")
        return await self._inner.probe()

    def watch(self) -> AsyncIterator[Change]:
        self._recorder.note("fabric", "watch")
        return self._inner.watch()
