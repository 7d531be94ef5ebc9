"""Looks into one store of a lab with the admin's key, from inside the tier's own namespace; for experiments only.

    python -m isthmus.chaos.peek BASE TIER SPEC dump
    python -m isthmus.chaos.peek BASE TIER SPEC put KEY TEXT [KEY TEXT...]
    python -m isthmus.chaos.peek BASE TIER SPEC delete KEY...
    python -m isthmus.chaos.peek BASE TIER SPEC digest export|import PEER
    python -m isthmus.chaos.peek BASE TIER SPEC digests PEER        (both, ten times a second, until ended)

One line of JSON for each answer. No component of ours has these rights; the admin's key stays with the operator.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from isthmus.contract.scopes import site_exports, tier_exports
from isthmus.deploy.lab.files import STORE
from isthmus.deploy.lab.spec import GLOBAL, LabSpec
from isthmus.deploy.lab.stores import store_settings
from isthmus.deploy.lab.trust import ADMIN, LabTrust
from isthmus.federation.digest import digest, imported
from isthmus.kv.etcd import EtcdStore
from isthmus.policy.keys import ROOT

SIDES = ("export", "import")
DIGEST_PERIOD_S = 0.1


async def peek(store: EtcdStore, tier: str, verb: str, arguments: Sequence[str]) -> Any:
    """The answer to one question."""
    if verb == "dump":
        snapshot = await store.snapshot(ROOT)
        return {e.key: e.value.decode("utf-8", "backslashreplace") for e in snapshot.entries}
    if verb == "put":
        pairs = zip(arguments[::2], arguments[1::2], strict=True)
        return {"revision": [await store.put(key, text.encode()) for key, text in pairs][-1]}
    if verb == "delete":
        return {"revision": [await store.delete(key) for key in arguments][-1]}
    side, peer = arguments
    return await _digest(store, tier, side, peer)


async def _digest(store: EtcdStore, tier: str, side: str, peer: str) -> dict[str, Any]:
    roots = imported(peer)
    if side == "export":
        roots = tier_exports(peer) if tier == GLOBAL else site_exports(peer)
    found = await digest(store, roots)
    return {"hex": found.hex, "keys": found.keys}


async def _digests(store: EtcdStore, tier: str, peer: str) -> None:
    while True:
        sides = {side: (await _digest(store, tier, side, peer))["hex"] for side in SIDES}
        print(json.dumps(sides), flush=True)
        await asyncio.sleep(DIGEST_PERIOD_S)


async def _main(base: str, tier: str, document: str, verb: str, *arguments: str) -> None:
    spec = LabSpec.model_validate_json(document)
    trust = LabTrust(Path(base), spec)
    store = EtcdStore.connect(store_settings(trust, tier, ADMIN, STORE))
    try:
        if verb == "digests":
            await _digests(store, tier, arguments[0])
        print(json.dumps(await peek(store, tier, verb, arguments)))
    finally:
        await store.aclose()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
