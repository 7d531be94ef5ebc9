"""``python -m tests.packets.site.rights BASE SPEC``, run inside the site: what the store lets each component do.

The answer is JSON. Each question is a transaction whose condition is never true: the right is checked, nothing changes.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from isthmus.contract.families import FAMILIES
from isthmus.contract.family import Tier
from isthmus.deploy.lab.files import STORE
from isthmus.deploy.lab.spec import LabSpec
from isthmus.deploy.lab.stores import store_settings
from isthmus.deploy.lab.trust import LabTrust
from isthmus.kv.errors import PermissionDenied
from isthmus.kv.etcd import EtcdStore
from isthmus.kv.port import Compare, Put, Target, Txn

SITE = "milan"
NAMES = {"host": "h1", "instance": "i-0123456789ab", "component": "monitor", "owner": "ems"}


def example(pattern: str) -> str:
    """An absolute key of a family."""
    parts = []
    for part in pattern.rstrip("/").split("/"):
        parts.append(NAMES.get(part[1:-1], "sample") if part.startswith("{") else part)
    return "/isthmus/v1/" + "/".join(parts) + ("/sample" if pattern.endswith("/") else "")


async def ask(base: str, document: str) -> dict[str, dict[str, list[bool]]]:
    """component -> family -> may write, may read."""
    spec = LabSpec.model_validate_json(document)
    trust = LabTrust(Path(base), spec)
    rights: dict[str, dict[str, list[bool]]] = {}
    for component in trust.components(spec.site(SITE)):
        store = EtcdStore.connect(store_settings(trust, SITE, component, STORE))
        try:
            rights[component] = {
                family.name: [
                    await _may_write(store, example(family.pattern)),
                    await _may_read(store, example(family.pattern)),
                ]
                for family in FAMILIES[Tier.SITE]
            }
        finally:
            await store.aclose()
    return rights


async def _may_write(store: EtcdStore, key: str) -> bool:
    never = Compare(key, Target.CREATE_REVISION, 2**60)
    try:
        result = await store.txn(Txn((never,), (Put(key, b"never"),)))
    except PermissionDenied:
        return False
    assert not result.succeeded
    return True


async def _may_read(store: EtcdStore, key: str) -> bool:
    try:
        await store.get(key)
    except PermissionDenied:
        return False
    return True


if __name__ == "__main__":
    print(json.dumps(asyncio.run(ask(sys.argv[1], sys.argv[2]))))
