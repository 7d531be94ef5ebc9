"""One lab site per module: starting it costs seconds, so tests share it and each clears what it asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

pytest.register_assert_rewrite("tests.packets.site.promises", "tests.packets.site.kit")

from tests.packets.site import kit  # noqa: E402
from tests.packets.site.kit import Site  # noqa: E402


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
