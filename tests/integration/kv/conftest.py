"""One etcd for the tests that only use it, and the store under test: the adapter and the twin."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.integration.kv.server import EtcdServer, serves

from isthmus.kv.memory import MemoryStore
from isthmus.kv.port import KeyValueStore

_numbers = itertools.count()


@pytest.fixture(scope="session")
def shared_etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """A server for all tests that neither kill nor freeze it."""
    server = EtcdServer(tmp_path_factory.mktemp("etcd") / "member")

    async def begin() -> None:
        await server.start()
        async with server.store() as store:
            await serves(store)

    asyncio.run(begin())
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture
async def own_etcd(tmp_path: Path) -> AsyncIterator[EtcdServer]:
    """A server of this test's own, to be mistreated."""
    server = EtcdServer(tmp_path / "member")
    try:
        await server.start()
        async with server.store() as store:
            await serves(store)
        yield server
    finally:
        server.kill()


@pytest.fixture(params=["etcd", "twin"])
async def store(
    request: pytest.FixtureRequest, shared_etcd: EtcdServer
) -> AsyncIterator[KeyValueStore]:
    """What keeps the port's promises: both implementations."""
    subject: KeyValueStore = MemoryStore() if request.param == "twin" else shared_etcd.store()
    yield subject
    await subject.aclose()


@pytest.fixture
def prefix() -> str:
    """Keys of this test alone."""
    return f"t{next(_numbers)}/"
