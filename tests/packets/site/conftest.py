"""One lab site per module: starting it costs seconds, so tests share it and each clears what it asked for.

A module has a world of its own even when the run is in a world already: two labs cannot share names.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

pytest.register_assert_rewrite("tests.packets.site.promises", "tests.packets.site.kit")

from tests import world  # noqa: E402
from tests.packets.site import kit  # noqa: E402
from tests.packets.site.kit import Site  # noqa: E402

_HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    return world.run_item(item, item.path) if item.path.is_relative_to(_HERE) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Outside, the first test of a module takes as long as the whole module."""
    if world.REPORTS_VARIABLE in os.environ:
        return
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.timeout(world.MODULE_TIMEOUT_S), append=False)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def milan() -> AsyncIterator[Site]:
    """The module's lab."""
    async with kit.one_site() as site:
        yield site


@pytest_asyncio.fixture(loop_scope="module")
async def site(milan: Site) -> AsyncIterator[Site]:
    """The lab without chains, before and after."""
    yield milan
    await milan.clear()
