"""One etcd with authentication for all tests of this room: each component is the common name of its certificate.

The two tiers share the server, so a user is ``<tier>-<component>``; what decides is the role.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.integration.kv.authority import Authority
from tests.integration.kv.server import EtcdServer, serves

from isthmus.contract.roles import Access as ContractAccess
from isthmus.contract.roles import Role
from isthmus.kv.admin import EtcdAdmin
from isthmus.kv.etcd import EtcdStore
from isthmus.kv.grants import Access, Grant
from isthmus.kv.settings import EtcdSettings

_ACCESS = {
    ContractAccess.READ: Access.READ,
    ContractAccess.WRITE: Access.WRITE,
    ContractAccess.READ_WRITE: Access.READ_WRITE,
}
_numbers = itertools.count()


def grants_of(role: Role) -> list[Grant]:
    """As etcd keeps them."""
    return [Grant.of(grant.target, _ACCESS[grant.access]) for grant in role.grants]


@dataclass
class Realm:
    """The server, and who may come in."""

    server: EtcdServer
    authority: Authority
    files: dict[str, dict[str, Path]] = field(default_factory=dict)

    def settings(self, user: str) -> EtcdSettings:
        """Of a client with the certificate of ``user``."""
        if user not in self.files:
            self.files[user] = self.authority.client_files(user)
        return self.server.settings(backoff_max_s=0.1, **self.files[user])

    def store(self, user: str) -> EtcdStore:
        """Connected as ``user``."""
        return EtcdStore.connect(self.settings(user))

    async def admit(self, user: str, grants: Sequence[Grant], *, root: bool = False) -> str:
        """``user`` exists and has exactly these rights."""
        async with self.store("root") as store:
            admin = EtcdAdmin(store)
            await admin.ensure_role(user, grants)
            await admin.ensure_user(user, [user, "root"] if root else [user])
        return user

    async def admit_somebody(self, role: Role, *more: Grant) -> str:
        """A user of this test alone with the rights of ``role`` (and more, where a mistake is planted)."""
        return await self.admit(f"u{next(_numbers)}-{role.name}", [*grants_of(role), *more])


@pytest.fixture(scope="session")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Realm]:
    """Up, with authentication on."""
    folder = tmp_path_factory.mktemp("realm")
    authority = Authority(folder / "certificates")
    certificate, key = authority.issue("server")
    server = EtcdServer(folder / "member", tls=(authority.file, certificate, key))
    realm = Realm(server, authority)

    async def begin() -> None:
        await server.start()
        async with realm.store("root") as root:
            await serves(root)
            await EtcdAdmin(root).enable_auth()

    asyncio.run(begin())
    try:
        yield realm
    finally:
        server.kill()
