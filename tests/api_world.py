"""One tier's API over the in-memory twin, as its callers see it: operator, tenants, strangers.

The API's view of the twin has exactly the rights that the contract gives to the user ``api``, so a route that reads or
writes a key it must not fails here, as it would on etcd.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from isthmus.api import ApiSettings, Application, create_app
from isthmus.api.auth import issue
from isthmus.api.main import Door
from isthmus.contract import Body, Family, Stamp, Tier, seal
from isthmus.contract import roles as contract_roles
from isthmus.kv.grants import Access, Grant
from isthmus.kv.memory import ManualClock, MemoryStore

NOW = 1_800_000_000.0
_ACCESS = {
    contract_roles.Access.READ: Access.READ,
    contract_roles.Access.WRITE: Access.WRITE,
    contract_roles.Access.READ_WRITE: Access.READ_WRITE,
}


def spec(tenant: str = "acme", chain: str = "shop", **changes: Any) -> dict[str, Any]:
    """A chain that every tier of these tests accepts."""
    site = changes.pop("site", "milan")
    return {
        "tenant": tenant,
        "chain": chain,
        "ingress": {"site": site, "attachment": "customer"},
        "egress": {"site": site, "attachment": "internet"},
        "functions": [{"name": "guard", "type": "firewall"}],
        **changes,
    }


def api_view(store: MemoryStore, tier: Tier) -> MemoryStore:
    """The twin as etcd would show it to the user ``api``."""
    grants = contract_roles.role(tier, "api").grants
    return store.as_user("api", [Grant.of(item.target, _ACCESS[item.access]) for item in grants])


@dataclass(slots=True)
class ApiWorld:
    """A tier with its store, its clock and its API; see :func:`api_world`."""

    tier: Tier
    store: MemoryStore
    view: MemoryStore
    app: Application
    clock: ManualClock
    tokens: dict[str, str] = field(default_factory=dict)

    def client(self, who: str = "operator", **headers: str) -> httpx.AsyncClient:
        """A caller: ``operator`` comes by the Unix socket, a name of ``tokens`` by TCP, ``nobody`` without a token."""
        if who in self.tokens:
            headers["Authorization"] = f"Bearer {self.tokens[who]}"
        app = Door(self.app, "unix" if who == "operator" else "tcp")
        transport = httpx.ASGITransport(app=app)
        return httpx.AsyncClient(transport=transport, base_url="http://isthmus", headers=headers)

    async def write(self, family: Family, body: Body, *, ttl_s: float = 0.0, **names: str) -> int:
        """Another component of the tier writes a fact; its revision."""
        value = seal(body, Stamp(origin="test", incarnation="1"), as_of=self.clock(), ttl_s=ttl_s)
        return await self.store.put(family.key(**names), value)

    async def apply(self, document: dict[str, Any], who: str = "operator") -> dict[str, Any]:
        """Apply a spec that must be accepted; the answer."""
        async with self.client(who) as client:
            answer = await client.put(path_of(document), json=document)
        assert answer.status_code in (200, 201), answer.text
        result: dict[str, Any] = answer.json()
        return result

    async def get(self, path: str, who: str = "operator") -> dict[str, Any]:
        """A document that must be there."""
        async with self.client(who) as client:
            answer = await client.get(path)
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()
        return result

    async def everything(self) -> dict[str, bytes]:
        """The whole store: an attack must leave it as it was."""
        snapshot = await self.store.snapshot("/isthmus/v1/")
        return {entry.key: entry.value for entry in snapshot.entries}


def path_of(document: dict[str, Any]) -> str:
    """Where a spec is applied."""
    return f"/v1/chains/{document['tenant']}/{document['chain']}"


def error_of(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The error of an answer, which must have ``status`` and the one error body, whole."""
    assert answer.status_code == status, f"{answer.status_code}: {answer.text}"
    error: dict[str, Any] = answer.json()["error"]
    assert {"code", "message", "field", "value", "fix", "trace_id"} <= set(error)
    assert error["message"]
    assert "Traceback" not in answer.text
    return error


@asynccontextmanager
async def api_world(
    tier: Tier = Tier.SITE, *, folder: Path | None = None, **settings: Any
) -> AsyncIterator[ApiWorld]:
    """A tier named ``milan`` or ``global``. With ``folder`` there are tokens for tenants and one for an operator."""
    clock = ManualClock(NOW)
    store = MemoryStore(clock=clock)
    view = api_view(store, tier)
    tokens = {}
    if folder is not None:
        path = folder / "tokens.json"
        for tenant in ("acme", "globex"):
            tokens[tenant] = issue(path, tenant=tenant)
        tokens["remote-operator"] = issue(path, tenant=None, name="remote-operator")
        settings["tokens_file"] = path
    ids = itertools.count(1)
    app = create_app(
        tier,
        "milan" if tier is Tier.SITE else "global",
        view,
        ApiSettings(**settings),
        clock=clock,
        new_id=lambda: f"id-{next(ids)}",
    )
    try:
        yield ApiWorld(tier, store, view, app, clock, tokens)
    finally:
        app.close_streams()
        await view.aclose()
        await store.aclose()


def sse_events(text: str) -> list[dict[str, Any]]:
    """The server-sent events in ``text``: kind, id (None when it has none) and data."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in block.splitlines() if not line.startswith(":")
        )
        if "data" in fields:
            identity = int(fields["id"]) if "id" in fields else None
            found.append(
                {"kind": fields["event"], "id": identity, "data": json.loads(fields["data"])}
            )
    return found
