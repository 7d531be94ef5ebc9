"""Microcontrollers that come, go and change while chains run (R8, R9), on the whole site's twin.

What must not happen is measured on the store and on the panels: no revision of a chain's keys, no patch, no new life.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import sys
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.simulation.site.test_site import chain
from tests.simulation.site.world import HollowSite
from tests.support import eventually

from isthmus.contract import unseal
from isthmus.contract.chain import ChainPlan, Explanation
from isthmus.contract.families import DESIRED, EXPLAIN, INVENTORY, PLANS, SPECS
from isthmus.contract.family import Tier
from isthmus.contract.roles import Grant as RoleGrant
from isthmus.contract.roles import guest_role, role, shadow_role, vendor_role
from isthmus.kv.errors import PermissionDenied
from isthmus.kv.grants import Access, Grant
from isthmus.kv.memory import MemoryStore
from isthmus.kv.port import KeyValueStore
from isthmus.microcontroller import Context, Microcontroller, Runner
from isthmus.microcontroller.shadow import written_by
from isthmus.site.placer import Placer

SAMPLE = (
    Path(__file__).resolve().parents[3] / "docs" / "examples" / "microcontrollers" / "billing.py"
)
STANDING = (SPECS, PLANS, DESIRED, EXPLAIN)


@pytest.fixture
async def site() -> AsyncIterator[HollowSite]:
    running = HollowSite(MemoryStore())
    running.start()
    yield running
    await running.stop()


def sample() -> Any:
    """The module of the sample, as a stranger would load it."""
    spec = importlib.util.spec_from_file_location("billing_sample", SAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def view(store: MemoryStore, user: str, grants: Iterable[RoleGrant]) -> MemoryStore:
    """The store as a component with these rights sees it."""
    return store.as_user(
        user, [Grant.of(grant.target, Access[grant.access.name]) for grant in grants]
    )


async def standing(store: KeyValueStore, name: str = "web") -> dict[str, int]:
    """Key to revision of everything that makes the chain what it is."""
    snapshot = await store.snapshot("/isthmus/v1/")
    found = {}
    for entry in snapshot.entries:
        if any(family.parse(entry.key) for family in STANDING) and (
            entry.key.endswith(f"/{name}") or DESIRED.parse(entry.key)
        ):
            found[entry.key] = entry.mod_revision
    return found


@contextlib.asynccontextmanager
async def beside(runner: Runner) -> AsyncIterator[Runner]:
    """Run one more."""
    task = asyncio.create_task(runner.run())
    try:
        yield runner
    finally:
        runner.stop()
        await asyncio.wait_for(task, 10)


# ---- R8


async def test_a_new_microcontroller_joins_a_running_site(site: HollowSite) -> None:
    """Why: R8. With exactly its own rights, no other controller changed, restarted, or even disturbed."""
    await site.apply(chain())
    await site.until("acme", "web", "running")
    before = await standing(site.store)
    lives = {name: runner.health.lives_total for name, runner in site.runners.items()}
    module = sample()
    own_role = vendor_role(Tier.SITE, "billing", reads=("/isthmus/v1/status/",))
    rights = (*own_role.grants, *guest_role(Tier.SITE, "billing").grants)
    key = f"{module.OWN}acme"

    async def billed() -> tuple[int, int] | None:
        entry = await site.store.get(key)
        if entry is None:
            return None
        bill = unseal(entry.value, module.Bill).body
        return bill.running_chains, bill.functions

    runner = Runner(module.Billing(), view(site.store, "billing", rights), "test/billing")
    async with beside(runner):
        _: object = await eventually(billed, "the first bill")
        assert await billed() == (1, 2)
        panels = len(site.panels["h2"].history)
        second = chain("second", ingress={"attachment": "h2-a"}, egress={"attachment": "h2-b"})
        await site.apply(second)
        await site.until("acme", "second", "running")

        async def both() -> bool:
            return await billed() == (2, 4)

        await eventually(both, "the bill follows")
        assert len(site.panels["h2"].history) > panels
        await site.store.delete(key)
        await eventually(both, "who changes a bill gets it mended")
    left = view(site.store, "billing", rights)
    with pytest.raises(PermissionDenied):
        await left.put(PLANS.key(tenant="acme", chain="web"), b"mine now")
    assert {name: r.health.lives_total for name, r in site.runners.items()} == lives
    after = await standing(site.store)
    assert {key: after[key] for key in before} == before
    assert all(not task.done() for task in site.tasks.values())


# ---- R9


@dataclass(slots=True)
class SecondPlacer:
    """Another implementation of the placer's part of the contract; here by another road to the same answers."""

    inner: Placer

    @property
    def component(self) -> str:
        return "placer"

    @property
    def traits(self) -> Any:
        return self.inner.traits

    @property
    def watches(self) -> Any:
        return tuple(reversed(list(self.inner.watches)))

    def items_for(self, key: str) -> Iterable[str]:
        return self.inner.items_for(key)

    async def reconcile(self, item: str, context: Context) -> float | None:
        return await self.inner.reconcile(item, context)


@dataclass(slots=True)
class ContraryPlacer(SecondPlacer):
    """Never sees the first host."""

    async def reconcile(self, item: str, context: Context) -> float | None:
        hidden = INVENTORY.key(host="h1")
        context.state._overlay[hidden] = _gone(context)
        return await self.inner.reconcile(item, context)


def _gone(context: Context) -> Any:
    """An own deletion that never comes back: the host is hidden from this reader only."""
    hidden = INVENTORY.key(host="h1")
    context.state.wrote(hidden, 1 << 60, None)
    return context.state._overlay[hidden]


@pytest.mark.parametrize("way", ["hand over", "stand by"])
async def test_a_placer_is_replaced_live_by_another_implementation(
    site: HollowSite, way: str
) -> None:
    """Why: R9. The chains that run are not touched: no revision, no patch, no new life."""
    await site.apply(chain())
    status = await site.until("acme", "web", "running")
    before = await standing(site.store)
    patched = {host: len(panel.history) for host, panel in site.panels.items()}
    first = site.runners["placer"]
    second = Runner(SecondPlacer(Placer()), site.store, "vendor/placer")
    if way == "hand over":
        first.stop()
        await asyncio.wait_for(site.tasks["placer"], 10)
    async with beside(second):
        if way == "stand by":
            await eventually(lambda: first.health.leading, "the first leads")
            assert not second.health.leading
            first.stop()
        await eventually(lambda: second.health.leading, "the second leads")
        await eventually(lambda: second.health.settled_total, "it looked at everything")
        await eventually(lambda: second.health.queue_depth == 0, "it is done")
        assert await standing(site.store) == before
        assert {h: len(panel.history) for h, panel in site.panels.items()} == patched
        await site.apply(
            chain("second", ingress={"attachment": "h2-a"}, egress={"attachment": "h2-b"})
        )
        await site.until("acme", "second", "running")
        plan = await site.store.get(PLANS.key(tenant="acme", chain="second"))
        assert plan is not None
        assert unseal(plan.value, ChainPlan).origin == "vendor/placer"
        now = await site.until("acme", "web", "running")
        assert [f.incarnation for f in now.functions] == [f.incarnation for f in status.functions]


# ---- shadow mode


def shadow_of(controller: Microcontroller, site: HollowSite) -> Runner:
    """With rights that let it read and nothing else."""
    grants = shadow_role(Tier.SITE, "placer").grants
    return Runner(
        controller, view(site.store, "shadow.placer", grants), "test/shadow.placer", shadow=True
    )


async def test_a_shadow_of_equal_mind_shows_no_difference(site: HollowSite) -> None:
    """Why: before a second implementation takes over, it has to have decided the same on the same live facts."""
    await site.apply(chain())
    await site.until("acme", "web", "running")
    runner = shadow_of(SecondPlacer(Placer()), site)
    async with beside(runner):
        await eventually(lambda: runner.health.ready, "the shadow follows")
        assert not runner.health.leading
        await site.apply(
            chain("second", ingress={"attachment": "h2-a"}, egress={"attachment": "h2-b"})
        )
        await site.until("acme", "second", "running")
        await site.store.delete("/isthmus/v1/requests/local/acme/web")
        plan = PLANS.key(tenant="acme", chain="second")
        wanted = runner.report.wanted
        await eventually(lambda: wanted.get(plan) is not None, "it decided on the second")
        gone = PLANS.key(tenant="acme", chain="web")

        def withdrawn() -> bool:
            return wanted.get(gone, wanted) is None

        await eventually(withdrawn, "it decided on the first")
        await eventually(lambda: not runner.report.differences("placer"), "equal decisions")
        assert runner.health.problems == {}
    assert site.runners["placer"].health.lives_total == 1


async def test_a_contrary_shadow_is_shown_and_not_applied(site: HollowSite) -> None:
    """Why: the difference is the whole point, with key, field and both values; and the chain keeps running."""
    await site.apply(chain())
    await site.until("acme", "web", "running")
    before = await standing(site.store)
    runner = shadow_of(ContraryPlacer(Placer()), site)
    async with beside(runner):
        key = EXPLAIN.key(component="placer", tenant="acme", chain="web")
        await eventually(lambda: runner.report.wanted.get(key) is not None, "it decided")
        differences = {d.key: d for d in runner.report.differences("placer")}
        assert key in differences
        assert differences[key].live["decision"] == "accepted"
        assert differences[key].shadow["decision"] == "refused"
        assert "decision: live \"accepted\", shadow \"refused\"" in str(differences[key])  # fmt: skip
        write = next(write for write in runner.report.writes if write.key == key)
        assert write.old == await _value(site.store, key)
        assert write.new is not None
        assert unseal(write.new, Explanation).body.decision == "refused"
    assert await standing(site.store) == before
    await site.until("acme", "web", "running")


async def _value(store: MemoryStore, key: str) -> bytes | None:
    entry = await store.get(key)
    return None if entry is None else entry.value


def test_a_shadow_has_no_right_to_write() -> None:
    """Why: that nothing is applied must not depend on the second implementation's good manners."""
    grants = shadow_role(Tier.SITE, "placer").grants
    assert grants
    assert {grant.access.value for grant in grants} == {"read"}
    seen = {grant.target for grant in role(Tier.SITE, "placer").grants}
    assert {grant.target for grant in grants} == seen


def test_decisions_are_compared_where_the_component_is_the_writer() -> None:
    """Why: what others write is not this component's decision, and names of events are drawn by lot."""
    assert set(written_by("launcher.h1")) >= {
        "/isthmus/v1/runtime/h1/",
        "/isthmus/v1/csr/h1/",
    }
    assert PLANS.prefix() in written_by("placer")
    assert not any("/events/" in prefix or "/leases/" in prefix for prefix in written_by("placer"))
    assert INVENTORY.prefix() not in written_by("placer")
