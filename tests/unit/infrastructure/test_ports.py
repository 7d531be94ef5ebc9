"""The narrow waist towards an infrastructure: what it says, what it refuses, what it records."""

from __future__ import annotations

import asyncio
import dataclasses
import json

import pytest

import isthmus.infrastructure as infrastructure
from isthmus.infrastructure import (
    AttachmentSpec,
    Change,
    ComputePort,
    DeliverySpec,
    FabricPort,
    InfrastructureError,
    InstanceSpec,
    NoRoom,
    Refused,
    Resources,
    StaleIncarnation,
    UnknownAttachment,
    Unreachable,
)
from isthmus.infrastructure.hollow import MAX_PENDING_CHANGES, HollowCompute, HollowFabric
from isthmus.infrastructure.linux import LinuxCompute, LinuxFabric, LinuxSettings
from isthmus.infrastructure.recording import RecordingCompute, RecordingFabric

SPEC = InstanceSpec("i-0123456789ab", 1, "h1", resources=Resources(250, 64))


def test_public_names_exist() -> None:
    """What ``__all__`` promises can be imported."""
    assert all(hasattr(infrastructure, name) for name in infrastructure.__all__)


def test_plug_ins_fit_the_ports() -> None:
    """Each port is replaceable alone (R22), so each plug-in must have exactly its methods."""
    settings = LinuxSettings("s1", {"h1": "h1"})
    for compute in (HollowCompute(), RecordingCompute(HollowCompute()), LinuxCompute(settings)):
        assert isinstance(compute, ComputePort)
    for fabric in (HollowFabric(), RecordingFabric(HollowFabric()), LinuxFabric(settings)):
        assert isinstance(fabric, FabricPort)


def test_the_waist_has_no_place_for_functions() -> None:
    """R16 begins with the types: no field could carry a chain, a function or a configuration."""
    fields = {
        field.name
        for record in (InstanceSpec, AttachmentSpec, DeliverySpec)
        for field in dataclasses.fields(record)
    }
    assert fields == {
        *("instance_id", "incarnation", "node", "form", "legs", "resources", "share_dir"),
        *("mtu", "image", "attachment_id", "prefixes"),
    }


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"instance_id": "I 1"}, "instance_id 'I 1'"),
        ({"instance_id": "../x"}, "instance_id '../x'"),
        ({"instance_id": "a@b"}, "instance_id 'a@b'"),
        ({"node": ""}, "node ''"),
        ({"incarnation": 0}, "incarnation 0"),
        ({"mtu": 100}, "mtu 100"),
        ({"mtu": 9001}, "mtu 9001"),
        ({"legs": ()}, "legs"),
        ({"legs": ("in", "in")}, "legs"),
    ],
)
def test_bad_orders_are_refused_before_anything_is_done(
    change: dict[str, object], says: str
) -> None:
    """Names become parts of file names and batch lines; the message names field and value."""
    with pytest.raises(Refused, match=says):
        dataclasses.replace(SPEC, **change)  # type: ignore[arg-type]


def test_errors_say_whether_to_ask_again() -> None:
    """The launcher's queue backs off on what may pass and reports what never will."""
    assert issubclass(NoRoom, InfrastructureError)
    assert [NoRoom.retryable, Unreachable.retryable, Refused.retryable] == [True, True, False]
    error = StaleIncarnation("i-1", 1, 2)
    assert (error.retryable, error.asked, error.current) == (False, 1, 2)


async def test_recorded_calls_are_plain_data_in_order() -> None:
    """The R16 test searches this text, so every call and every argument must be in it."""
    calls: list[dict[str, object]] = []
    compute = RecordingCompute(HollowCompute(), calls)
    fabric = RecordingFabric(HollowFabric(), calls)
    await compute.probe()
    await compute.ensure_instance(SPEC)
    await fabric.ensure_attachment(AttachmentSpec("hq", "h1"))
    await fabric.ensure_delivery(DeliverySpec("hq", "h1"))
    await compute.list_instances()
    await fabric.list_attachments()
    await fabric.remove_attachment("hq")
    await compute.remove_instance(SPEC.instance_id)
    await fabric.probe()
    await compute.watch().aclose()  # type: ignore[attr-defined]
    await fabric.watch().aclose()  # type: ignore[attr-defined]
    assert [call["call"] for call in calls] == [
        *("probe", "ensure_instance", "ensure_attachment", "ensure_delivery", "list_instances"),
        *("list_attachments", "remove_attachment", "remove_instance", "probe", "watch", "watch"),
    ]
    assert compute.calls is calls
    assert fabric.calls is calls
    assert json.loads(json.dumps(calls)) == calls
    assert calls[1]["spec"] == json.loads(json.dumps(dataclasses.asdict(SPEC)))


async def test_recording_passes_answers_and_failures_on() -> None:
    """A recorder changes nothing for the one who asks."""
    hollow = HollowCompute()
    compute = RecordingCompute(hollow)
    assert await compute.ensure_instance(SPEC) == (await hollow.list_instances())[0]
    hollow.fail_next(NoRoom("quota of 3 cores is used up"))
    with pytest.raises(NoRoom, match="quota"):
        await compute.ensure_instance(SPEC)
    assert len(compute.calls) == 2


async def test_a_hollow_sandbox_behaves_like_a_real_one() -> None:
    """Idempotent, replaced by a higher life, refused for a lower one, rebuilt when lost."""
    compute = HollowCompute()
    first = await compute.ensure_instance(SPEC)
    assert await compute.ensure_instance(SPEC) == first
    second = await compute.ensure_instance(dataclasses.replace(SPEC, incarnation=2))
    assert second.sandbox != first.sandbox
    assert len(await compute.list_instances()) == 1
    with pytest.raises(StaleIncarnation):
        await compute.ensure_instance(SPEC)
    compute.lose_instance(SPEC.instance_id)
    assert (await compute.list_instances())[0].phase == "lost"
    third = await compute.ensure_instance(dataclasses.replace(SPEC, incarnation=2))
    assert third.phase == "running"
    assert third.sandbox != second.sandbox
    await compute.remove_instance(SPEC.instance_id)
    await compute.remove_instance(SPEC.instance_id)
    assert await compute.list_instances() == ()


async def test_hollow_says_that_it_is_hollow() -> None:
    """Nobody may take a simulation for a data plane, or believe that it fences."""
    for port in (HollowCompute(), HollowFabric()):
        capability = await port.probe()
        assert (capability.dataplane, capability.fence) == ("hollow", "none")
        assert capability.reasons


async def test_hollow_losses_are_watched() -> None:
    """A healer that sleeps on watch() is woken; several watchers each hear it."""
    compute = HollowCompute()
    await compute.ensure_instance(SPEC)
    watches = [compute.watch() for _ in range(2)]
    heard = [asyncio.ensure_future(anext(watch)) for watch in watches]
    await asyncio.sleep(0)
    compute.lose_instance(SPEC.instance_id, "power")
    async with asyncio.timeout(5):
        assert [await one for one in heard] == [Change(SPEC.instance_id, "power")] * 2


async def test_a_slow_watcher_is_told_to_look_at_everything() -> None:
    """Memory is bounded: what does not fit collapses into one reason to look at all."""
    compute = HollowCompute()
    await compute.ensure_instance(SPEC)
    watch = compute.watch()
    first = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0)
    for _ in range(MAX_PENDING_CHANGES + 2):
        compute.lose_instance(SPEC.instance_id)
    async with asyncio.timeout(5):
        assert (await first).subject == ""
        assert (await anext(watch)).subject == SPEC.instance_id, "what came later is named again"


async def test_a_hollow_fabric_knows_its_attachments() -> None:
    """An unknown id is refused as a real plug-in would, naming the known ones."""
    fabric = HollowFabric(("hq", "lab"))
    state = await fabric.ensure_attachment(AttachmentSpec("hq", "h1"))
    assert (state.node, state.phase) == ("h1", "running")
    with pytest.raises(UnknownAttachment, match="'cafe' is unknown here; known: hq, lab"):
        await fabric.ensure_attachment(AttachmentSpec("cafe", "h1"))
    await fabric.ensure_delivery(DeliverySpec("hq", "h1"))
    assert fabric.deliveries["hq"].node == "h1"
    await fabric.remove_attachment("hq")
    assert await fabric.list_attachments() == ()
    assert fabric.deliveries == {}
