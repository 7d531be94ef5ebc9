"""One etcd for the tests that only use it, others to be mistreated or guarded, and the store under test."""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.integration.kv.authority import Authority
from tests.integration.kv.guarded import GRANTS, Guarded
from tests.integration.kv.server import EtcdServer, serves

from isthmus.kv.admin import EtcdAdmin
from isthmus.kv.memory import MemoryStore
from isthmus.kv.port import KeyValueStore
from isthmus.kv.sharing import SharedWatches

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


@pytest.fixture(params=["etcd", "twin", "etcd, shared", "twin, shared"])
async def store(
    request: pytest.FixtureRequest, shared_etcd: EtcdServer
) -> AsyncIterator[KeyValueStore]:
    """What keeps the port's promises: both implementations, watched directly and together with a
    neighbour."""
    kind, _, shared = request.param.partition(", ")
    subject: KeyValueStore = MemoryStore() if kind == "twin" else shared_etcd.store()
    if shared:
        monkeypatch = request.getfixturevalue("monkeypatch")
        together = SharedWatches(subject_as_it_is(subject))
        monkeypatch.setattr(subject, "watch", together.watch)
    yield subject
    await subject.aclose()


def subject_as_it_is(store: KeyValueStore) -> KeyValueStore:
    """The store with its own ``watch``, whatever its name is bound to later."""
    return copy.copy(store)


@pytest.fixture
def prefix() -> str:
    """Keys of this test alone."""
    return f"t{next(_numbers)}/"


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Guarded]:
    """Authentication on; ``launcher.h1`` holds GRANTS."""
    authority = Authority(tmp_path / "certificates")
    certificate, key = authority.issue("server")
    server = EtcdServer(tmp_path / "member", tls=(authority.file, certificate, key))
    async with AsyncExitStack() as stack:
        stack.callback(server.kill)
        await server.start()
        world = Guarded(server, authority, stack)
        root = await world.store("root")
        await serves(root)
        admin = EtcdAdmin(root)
        await admin.ensure_role("launcher.h1", GRANTS)
        await admin.ensure_user("launcher.h1", ["launcher.h1"])
        await admin.enable_auth()
        for key_name in ("hosts/h1/a", "hosts/h10/a", "hosts/h2/a", "chains/t/c", "one", "zz"):
            await root.put(key_name, b"secret")
        yield world
