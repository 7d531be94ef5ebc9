"""The same chains on a fabric that knows attachments and nothing else (R15, R22)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from tests.packets.site import kit
from tests.packets.site.kit import SITE, Site
from tests.packets.site.promises import *  # noqa: F403


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def milan() -> AsyncIterator[Site]:
    async with kit.one_site() as site:
        await site.lab.supervisor.stop(f"{SITE}.controllers")
        settings = str(site.lab.base / SITE / "site.json")
        site.lab.start(SITE, "plain", "tests.packets.site.plain_site", settings)
        await site.ready()
        yield site
