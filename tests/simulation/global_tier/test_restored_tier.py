"""A tier whose store came back from a backup counts its epochs from below; its sites remember them (G3, attack 15)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.simulation.global_tier.world import HollowWorld, chain
from tests.support import eventually

from isthmus.contract import unseal
from isthmus.contract.chain import ChainRecord
from isthmus.contract.families import G_PLACEMENTS, SPECS
from isthmus.contract.world import Placement
from isthmus.global_tier.epochs import forgotten, next_epoch

EPOCH = st.integers(0, 2**62)


@pytest.fixture
async def world() -> AsyncIterator[HollowWorld]:
    made = HollowWorld()
    await made.start()
    yield made
    await made.stop()


@given(revision=EPOCH, standing=EPOCH, in_force=EPOCH)
def test_a_new_epoch_is_above_all_that_may_be_in_force(
    revision: int, standing: int, in_force: int
) -> None:
    """Why: a site refuses what is older than what it carries out, for ever; and one decision is told twice at most."""
    epoch = next_epoch(revision, standing, in_force)
    assert epoch > standing
    assert epoch > in_force or in_force < standing
    assert epoch >= max(revision, 1)
    assert not forgotten(epoch, in_force)


async def test_a_change_given_after_the_restore_takes_effect(world: HollowWorld) -> None:
    """Why: the operator restores a backup and goes on; a site that refuses all he asks for is lost to him."""
    await world.apply(chain(bandwidth_kbps=1000))
    await world.until("web", "running")
    backup = world.store.backup()
    for bandwidth in (2000, 3000, 4000):
        await world.apply(chain(bandwidth_kbps=bandwidth))
        await carried(world, bandwidth)
    world.store.restore(backup)
    await world.apply(chain(bandwidth_kbps=5000))
    await carried(world, 5000)
    placed = await world.store.get(G_PLACEMENTS.key(tenant="acme", chain="web"))
    assert placed is not None
    epoch = unseal(placed.value, Placement).body.epoch
    await world.until("web", "running", lambda status: status.epoch == epoch)


async def carried(world: HollowWorld, bandwidth_kbps: int) -> None:
    """Both sites carry the chain with this bandwidth."""

    async def there() -> bool:
        for site in ("milan", "paris"):
            entry = await world.sites[site].store.get(SPECS.key(tenant="acme", chain="web"))
            if entry is None:
                return False
            if unseal(entry.value, ChainRecord).body.segment.bandwidth_kbps != bandwidth_kbps:
                return False
        return True

    await eventually(there, f"{bandwidth_kbps} kbit/s is in force", timeout_s=20)
