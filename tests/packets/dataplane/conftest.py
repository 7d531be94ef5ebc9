"""Fixtures of the data plane's packet tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.packets.dataplane.kit import Ground, OneNode


@pytest.fixture
async def ground(tmp_path: Path) -> AsyncIterator[Ground]:
    """An empty piece of world, cleared afterwards."""
    ground = Ground(tmp_path)
    try:
        yield ground
    finally:
        await ground.clear()


@pytest.fixture
async def one(ground: Ground) -> OneNode:
    """One node with two customers."""
    return await OneNode.make(ground)
