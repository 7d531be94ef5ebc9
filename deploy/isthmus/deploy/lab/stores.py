"""First light of a store: users and roles from the contract, then authentication for ever (R13).

Run once with the admin's certificate before anybody else may connect; idempotent, so a restart changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from isthmus.contract.family import Tier
from isthmus.contract.roles import role
from isthmus.deploy.lab.trust import ADMIN, LabTrust
from isthmus.kv.admin import EtcdAdmin
from isthmus.kv.etcd import EtcdStore
from isthmus.kv.settings import EtcdSettings
from isthmus.site.edges import EtcdUsers


def store_settings(trust: LabTrust, tier: str, component: str, endpoint: str) -> EtcdSettings:
    """How ``component`` of ``tier`` reaches its own store."""
    folder = trust.folder(tier, component)
    return EtcdSettings(
        endpoints=(endpoint,),
        server_name=trust.store_name(tier),
        ca_file=folder / "ca.pem",
        cert_file=folder / "cert.pem",
        key_file=folder / "key.pem",
    )


async def first_light(
    trust: LabTrust, tier: str, kind: Tier, components: Iterable[str], endpoint: str
) -> None:
    """Create the users of ``components`` and switch authentication on."""
    store = EtcdStore.connect(store_settings(trust, tier, ADMIN, endpoint))
    try:
        admin = EtcdAdmin(store)
        users = EtcdUsers(admin)
        if not await admin.auth_enabled():
            if "root" not in await admin.roles():
                await admin.add_role("root")
            # Together: each is a dozen small writes, which the store commits in batches.
            async with asyncio.TaskGroup() as group:
                for component in (*components, ADMIN):
                    group.create_task(users.ensure(role(kind, component)))
            await admin.enable_auth()
    finally:
        await store.aclose()
