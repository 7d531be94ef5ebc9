"""Attack 21, who asks: no token, wrong tenant, another tenant's chain; the store stays exactly as it was."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from tests.api_world import api_world, error_of, path_of, spec

from isthmus.api.auth import Tokens, TokensRefused, issue, token_hash
from isthmus.contract import families
from isthmus.contract.chain import Candidate, ChainStatus, Explanation, FunctionStatus, Phase
from isthmus.contract.instance import HostInventory

ROUTES = [
    ("GET", "/v1/chains"),
    ("GET", "/v1/chains/acme/shop"),
    ("GET", "/v1/chains/acme/shop/explain"),
    ("PUT", "/v1/chains/acme/shop"),
    ("DELETE", "/v1/chains/acme/shop"),
    ("GET", "/v1/sites"),
    ("GET", "/v1/events"),
    ("GET", "/v1/events/stream"),
    ("GET", "/v1/status"),
    ("GET", "/metrics"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Basic YWNtZTpwYXNz",
        "bearer isthmus_" + "A" * 43,
        "Bearer isthmus_\x7f\xff",
        "Bearer " + "x" * 8000,
    ],
    ids=["none", "empty", "blank", "wrong", "basic", "guess", "bytes", "long"],
)
async def test_no_route_answers_without_a_token_of_ours(
    tmp_path: Path, method: str, path: str, authorization: str
) -> None:
    """Over TCP everything but liveness needs a token; the answer does not tell what exists."""
    async with api_world(folder=tmp_path) as world:
        await world.apply(spec())
        before = await world.everything()
        async with world.client("nobody") as client:
            headers = {b"Authorization": authorization.encode("latin-1")}
            answer = await client.request(method, path, json=spec(priority=9), headers=headers)
        assert error_of(answer, 401)["code"] == "unauthenticated"
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert await world.everything() == before


async def test_a_request_cannot_claim_to_come_by_the_unix_socket(tmp_path: Path) -> None:
    """The door is marked by the listener; no header opens it."""
    async with api_world(folder=tmp_path) as world, world.client("nobody") as client:
        claims = {
            "Forwarded": "for=unix:;proto=http",
            "X-Forwarded-For": "unix:",
            "X-Isthmus-Door": "unix",
            "isthmus.door": "unix",
            "Host": "localhost",
        }
        error_of(await client.get("/v1/chains", headers=claims), 401)


async def test_without_a_tokens_file_tcp_lets_nobody_in() -> None:
    """The default is closed."""
    async with api_world() as world, world.client("nobody", Authorization="Bearer x") as client:
        assert error_of(await client.get("/v1/chains"), 401)["message"] == (
            "this API takes no tokens"
        )


async def test_another_tenants_chain_does_not_exist(tmp_path: Path) -> None:
    """IDOR: the answers for a foreign chain and for none at all are equal byte by byte, but for the trace id."""
    async with api_world(folder=tmp_path) as world:
        await world.apply(spec(), who="acme")
        before = await world.everything()
        async with world.client("globex", **{"X-Trace-Id": "same"}) as client:
            for method, suffix in (("GET", ""), ("GET", "/explain"), ("DELETE", ""), ("PUT", "")):
                texts = []
                for chain in ("shop", "shoq"):
                    answer = await client.request(
                        method, f"/v1/chains/acme/{chain}{suffix}", json=spec(chain=chain)
                    )
                    error_of(answer, 404)
                    texts.append(answer.text.replace("shoq", "shop"))
                assert texts[0] == texts[1]
            assert (await client.get("/v1/chains")).json()["chains"] == []
        assert await world.everything() == before


async def test_a_tenant_cannot_write_into_another_tenant_by_the_body(tmp_path: Path) -> None:
    """The path is the tenant's own, the body is not: the two must agree."""
    async with api_world(folder=tmp_path) as world, world.client("globex") as client:
        answer = await client.put("/v1/chains/globex/shop", json=spec("acme"))
        assert error_of(answer, 422)["code"] == "path-mismatch"
        assert await world.everything() == {}


async def test_a_tenant_owns_its_chains_and_learns_nothing_of_hosts(tmp_path: Path) -> None:
    """What it may: apply, read, delete its own. What it does not see: hosts, instances, plans, sites."""
    async with api_world(folder=tmp_path) as world:
        await world.apply(spec(), who="acme")
        status = ChainStatus(
            phase=Phase.RUNNING,
            path=("milan/secret-host/guard",),
            functions=(FunctionStatus(function="guard", host="secret-host", instance="i-secret"),),
        )
        await world.write(families.STATUS, status, tenant="acme", chain="shop")
        for path in ("/v1/chains", "/v1/chains/acme/shop"):
            assert "secret" not in json.dumps(await world.get(path, who="acme"))
            assert "secret" in json.dumps(await world.get(path))
        async with world.client("acme") as client:
            for path in ("/v1/sites", "/v1/status", "/metrics"):
                assert error_of(await client.get(path), 403)["code"] == "operators-only"
            assert (await client.delete(path_of(spec()))).status_code == 200


async def test_reasons_told_to_a_tenant_name_no_host_and_no_instance(tmp_path: Path) -> None:
    """Components write their reasons for operators; names of machines would be a map of the site for a tenant."""
    async with api_world(folder=tmp_path) as world:
        await world.apply(spec(), who="acme")
        host = HostInventory(
            host="secret-1", cpu_milli=1, memory_mib=1, underlay_address="10.0.0.1", attachments=()
        )
        await world.write(families.INVENTORY, host, host="secret-1")
        text = "no room: secret-1 has 0 of 1000m; i-0123456789ab waits (secret-12 is not a host)"
        refusal = Explanation(
            decision="refused", constraint="capacity", reason=text, nearest_relaxation=text,
            candidates=(Candidate(name="secret-1", verdict="full"),), figures={"need": 500.0},
        )  # fmt: skip
        await world.write(
            families.EXPLAIN, refusal, component="placer", tenant="acme", chain="shop"
        )
        told = "no room: a host has 0 of 1000m; an instance waits (secret-12 is not a host)"
        for path in ("/v1/chains", "/v1/chains/acme/shop", "/v1/chains/acme/shop/explain"):
            answer = json.dumps(await world.get(path, who="acme"))
            assert told in answer, path
            assert "secret-1 " not in answer
            assert '"secret-1"' not in answer
            assert "i-0123456789ab" not in answer
            assert text in json.dumps(await world.get(path)), "the operator reads it as it is"
        explained = await world.get("/v1/chains/acme/shop/explain", who="acme")
        assert explained["explanations"][0]["explanation"]["figures"] == {"need": 500.0}


async def test_an_operators_token_opens_everything(tmp_path: Path) -> None:
    """The remote operator is the same operator."""
    async with api_world(folder=tmp_path) as world:
        await world.apply(spec(), who="acme")
        assert len((await world.get("/v1/chains", who="remote-operator"))["chains"]) == 1
        assert (await world.get("/v1/status", who="remote-operator"))["health"] == "ok"


async def test_a_token_is_revoked_by_removing_its_line(tmp_path: Path) -> None:
    """Without a restart; and a file that became loose or broken lets nobody in at all."""
    async with api_world(folder=tmp_path) as world, world.client("acme") as client:
        assert (await client.get("/v1/chains")).status_code == 200
        path = tmp_path / "tokens.json"
        kept = json.loads(path.read_text())
        path.chmod(0o640)
        path.write_text(json.dumps(kept) + " ")
        error_of(await client.get("/v1/chains"), 401)
        path.chmod(0o600)
        path.write_text(json.dumps(kept))
        assert (await client.get("/v1/chains")).status_code == 200
        kept["tokens"] = [item for item in kept["tokens"] if item.get("tenant") != "acme"]
        path.write_text(json.dumps(kept))
        error_of(await client.get("/v1/chains"), 401)
        path.write_text("{")
        async with world.client("globex") as other:
            error_of(await other.get("/v1/chains"), 401)


def test_tokens_are_kept_as_hashes_in_a_file_for_its_owner_only(tmp_path: Path) -> None:
    """Attack 22: whoever reads a backup of the file cannot log in with it."""
    path = tmp_path / "tokens.json"
    token = issue(path, tenant="acme")
    assert token not in path.read_text()
    assert token_hash(token) in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    issue(path, tenant="globex")
    tokens = Tokens(path)
    tokens.load()
    found = tokens.principal(token)
    assert found is not None
    assert found.tenant == "acme"
    path.chmod(0o604)
    with pytest.raises(TokensRefused, match="mode 0604 lets others in; chmod 600"):
        Tokens(path).load()


async def test_a_listener_that_forgot_its_mark_is_closed(tmp_path: Path) -> None:
    """An application that is served without a Door takes every request as coming over TCP."""
    async with api_world(folder=tmp_path) as world:
        transport = httpx.ASGITransport(app=world.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            error_of(await client.get("/v1/chains"), 401)
