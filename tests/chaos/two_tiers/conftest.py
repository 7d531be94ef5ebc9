"""One lab for the whole folder: bringing it up takes a quarter of the folder's time, so all repair it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.chaos.two_tiers import kit
from tests.chaos.two_tiers.kit import World

LAST = "test_ray"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All share one loop, for they share one lab; Ray comes last, since it takes the runtime's place."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
            item.add_marker(pytest.mark.chaos)
            item.add_marker(pytest.mark.world)
            item.add_marker(pytest.mark.timeout(900))
    items.sort(key=lambda item: item.path.stem == LAST)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def standing() -> AsyncIterator[World]:
    """The lab, with one chain over two own sites and one that ends at the partner."""
    base = Path(tempfile.mkdtemp(prefix="tt"))
    try:
        async with kit.world(base) as running:
            yield running
    finally:
        shutil.rmtree(base, ignore_errors=True)


@pytest_asyncio.fixture(loop_scope="session")
async def two(standing: World) -> AsyncIterator[World]:
    """The lab as each test finds it: all links synced; and leaves it, or this very test is the one that failed."""
    await standing.whole()
    yield standing
    await standing.repair()
