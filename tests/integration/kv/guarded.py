"""An etcd with authentication on, for tests of rights and users."""

from __future__ import annotations

from contextlib import AsyncExitStack

from tests.integration.kv.authority import Authority
from tests.integration.kv.server import EtcdServer

from isthmus.kv.admin import Access, Grant
from isthmus.kv.etcd import EtcdStore

GRANTS = (
    Grant.of("hosts/h1/", Access.READ_WRITE),
    Grant.of("chains/", Access.READ),
    Grant.of("summary/site", Access.WRITE),
    Grant.of("one", Access.READ),
)


class Guarded:
    """An etcd with authentication, its authority, and stores of several identities."""

    def __init__(self, server: EtcdServer, authority: Authority, stack: AsyncExitStack) -> None:
        self.server = server
        self.authority = authority
        self._stack = stack

    async def store(self, common_name: str) -> EtcdStore:
        files = self.authority.client_files(common_name)
        return await self._stack.enter_async_context(self.server.store(**files))
