"""Every disturbance the fault proxy knows, under churn both ways: afterwards both stores agree (G4)."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.federation_support import SITE, outbox, summary, until
from tests.integration.federation.lab import QUICK, Lab, Toxiproxy, lab
from tests.integration.federation.test_link_real import agree, fill

pytestmark = pytest.mark.etcd


async def churn(world: Lab, name: str) -> None:
    """Changes and deletions in both directions."""
    await fill(world, 120, value=name.encode())
    for number in range(0, 120, 7):
        await world.hub.delete(outbox(f"intents/acme/c{number}"))
    for number in range(20):
        await world.site.put(summary(f"wires/w{number}"), name.encode())


@pytest.mark.parametrize(
    ("kind", "stream", "attributes"),
    [
        ("latency", "downstream", {"latency": 150, "jitter": 100}),
        ("bandwidth", "downstream", {"rate": 60}),
        ("slicer", "upstream", {"average_size": 50, "size_variation": 20, "delay": 100}),
        ("bandwidth", "upstream", {"rate": 0}),
        ("bandwidth", "downstream", {"rate": 0}),
        ("timeout", "downstream", {"timeout": 0}),
        ("timeout", "upstream", {"timeout": 300}),
        ("reset_peer", "downstream", {"timeout": 200}),
        ("limit_data", "downstream", {"bytes": 9000}),
        ("slow_close", "downstream", {"delay": 500}),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else "",
)
async def test_agrees_after_any_disturbance(
    kind: str, stream: str, attributes: dict[str, int], tmp_path: Path
) -> None:
    """One-way cuts, lost bytes, resets, truncation, slowness: the same end."""
    async with lab(tmp_path) as world:
        await churn(world, "before")
        await until(lambda: agree(world), "equal before")
        toxic = await world.proxy.fault(kind, stream, **attributes)
        await churn(world, "during")
        if attributes.get("rate") == 0 or kind == "timeout":
            await until(lambda: not world.seen["site"].connected, "the cut is noticed")
        await churn(world, "later")
        await world.proxy.heal(toxic)
        await until(lambda: agree(world), "equal after the heal", timeout_s=40)
        denied = world.seen["site"].denied | world.seen[f"hub:{SITE}"].denied
        assert not denied, "no disturbance of the line is a denial"


async def test_site_goes_to_another_gateway_when_one_is_gone(tmp_path: Path) -> None:
    """Several gateways before one store: the second takes over where the first stood, the first is fenced off."""
    async with lab(tmp_path, linked=False) as world:
        world.run_gateway()
        first, first_port = world.tasks.pop("gateway"), world.port
        second = Toxiproxy(0)
        world.port = second.port
        world.run_gateway()
        dial = (f"127.0.0.1:{first_port}", f"127.0.0.1:{second.port}")
        world.run_site(dial=dial)
        await churn(world, "one")
        await until(lambda: agree(world), "through the first")
        await until(lambda: world.seen["site"].resyncs == 1, "the site tells of its one copy")
        first.cancel()
        await churn(world, "two")
        await until(lambda: agree(world), "through the second", timeout_s=30)
        assert world.seen["site"].reconnects >= 1
        assert world.seen["site"].resyncs == 0, "the token is in the store, not in the gateway"


async def test_slow_line_still_beats(tmp_path: Path) -> None:
    """G7: a copy that takes longer than the patience for silence must not look like silence."""
    limits = QUICK.model_copy(update={"window_bytes": 64 * 1024, "batch_bytes": 16 * 1024})
    async with lab(tmp_path, limits=limits) as world:
        toxic = await world.proxy.fault("bandwidth", "downstream", rate=100)
        await fill(world, 400, value=b"x" * 1000)
        await until(lambda: agree(world), "equal", timeout_s=60)
        assert world.seen["site"].reconnects == 0
        await world.proxy.heal(toxic)
