"""Attack 21: no token, wrong tenant, another tenant's chain, oversized and malformed bodies, path tricks.

Every attack must be answered with a clear body, and must leave the store exactly as it was.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

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


MALFORMED: list[tuple[str, bytes, str]] = [
    ("empty", b"", "not-json"),
    ("half", b'{"tenant": "acme"', "not-json"),
    ("nan", b'{"priority": NaN}', "not-json"),
    ("infinity", b'{"priority": -Infinity}', "not-json"),
    ("utf16", '{"tenant": "acme"}'.encode("utf-16"), "missing"),
    ("latin", b'{"tenant": "\xff"}', "not-json"),
    ("twins", b'{"tenant": "acme", "tenant": "globex"}', "not-json"),
    ("list", b"[]", "wrong-type"),
    ("null", b"null", "wrong-type"),
    ("text", b'"acme"', "wrong-type"),
    ("deep-list", b"[" * 100_000, "too-deep"),
    ("deep-object", b'{"a":' * 40_000, "too-deep"),
    ("deep-closed", b"[" * 40 + b"]" * 40, "too-deep"),
    ("huge-integer", b'{"priority": ' + b"9" * 4000 + b"}", "out-of-range"),
    ("enormous-integer", b'{"priority": ' + b"9" * 100_000 + b"}", "not-json"),
    ("surrogate", b'{"tenant": "\\ud800"}', "wrong-text"),
    ("pickle", b"\x80\x04\x95.", "not-json"),
]


@pytest.mark.parametrize(
    ("body", "code"), [row[1:] for row in MALFORMED], ids=[r[0] for r in MALFORMED]
)
async def test_malformed_bodies_are_refused_with_a_reason(body: bytes, code: str) -> None:
    """Attack 9: never a 500, never a stack trace, never a write."""
    async with api_world() as world, world.client() as client:
        headers = {"Content-Type": "application/json"}
        answer = await client.put("/v1/chains/acme/shop", content=body, headers=headers)
        assert error_of(answer, 422)["code"] == code
        assert await world.everything() == {}


@pytest.mark.parametrize(
    "kind",
    ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"],
)
async def test_only_json_is_a_spec(kind: str) -> None:
    """A page in a browser can send forms to any host (CSRF); it cannot send JSON without asking first."""
    async with api_world() as world, world.client() as client:
        headers = {"Content-Type": kind} if kind else {}
        answer = await client.put(path_of(spec()), content=json.dumps(spec()), headers=headers)
        assert error_of(answer, 415)["code"] == "not-json"
        assert await world.everything() == {}


async def test_a_body_at_the_limit_is_read_and_one_byte_more_is_not() -> None:
    """Both sides of the boundary, told by Content-Length and told by nothing (chunked)."""
    limit = 4096
    async with api_world(body_limit_bytes=limit) as world, world.client() as client:
        body = json.dumps(spec()).encode()
        headers = {"Content-Type": "application/json"}

        async def chunked(data: bytes) -> AsyncIterator[bytes]:
            for start in range(0, len(data), 1000):
                yield data[start : start + 1000]

        for size, status in ((limit, 200), (limit + 1, 413)):
            padded = body.ljust(size)
            for content in (padded, chunked(padded)):
                await client.put(path_of(spec()), json=spec())
                answer = await client.put(path_of(spec()), content=content, headers=headers)
                assert answer.status_code == status, answer.text
                if status == 413:
                    assert error_of(answer, 413)["code"] == "body-too-large"


async def test_a_lying_or_absurd_content_length_is_refused() -> None:
    """The limit is decided before a byte is read."""
    async with api_world() as world, world.client() as client:
        headers = {"Content-Type": "application/json", "Content-Length": "9" * 30}
        answer = await client.put(path_of(spec()), content=b"{}", headers=headers)
        assert error_of(answer, 413)["code"] == "body-too-large"


PATHS = [
    "/v1/chains/../../etc/passwd",
    "/v1/chains/%2e%2e/shop",
    "/v1/chains/acme/%2e%2e",
    "/v1/chains/acme/%2E",
    "/v1/chains/acme%2Fshop",
    "/v1/chains/acme/shop%2F..%2Fother",
    "/v1/chains/acme//shop",
    "/v1/chains//acme/shop",
    "/v1/chains/acme/shop/",
    "/v1/chains/acme/shop%00",
    "/v1/chains/acme/shop%0d%0aX-Evil:1",
    "/v1/chains/ACME/shop",
    "/v1/chains/acme/sh%D0%BEp",
    "/v1/chains/acme/shop%5c..",
    "/v1/chains/acme/" + "a" * 64,
    "/v1/chains/-acme/shop",
    "/v1/chains/acme/%C0%AE%C0%AE",
    "/v1/chains/acme/shop;x=1",
    "/v1/chains/acme/shop%20",
    "/V1/chains/acme/shop",
    "/v1/chains/acme/shop/explain/",
    "/v1/chains/*/shop",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_path_tricks_reach_no_chain(method: str, path: str) -> None:
    """Attack 6 at the API: refused as they are, never normalised into somebody's chain."""
    async with api_world() as world:
        await world.apply(spec())
        before = await world.everything()
        async with world.client() as client:
            answer = await client.request(method, path, json=spec(priority=9))
        assert answer.status_code in (404, 405, 422), answer.text
        assert error_of(answer, answer.status_code)["code"]
        assert "x-evil" not in answer.headers
        assert await world.everything() == before


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v1/chains?limit=0", {}),
        ("/v1/chains?limit=5001", {}),
        ("/v1/chains?limit=x", {}),
        ("/v1/events?since=-1", {}),
        ("/v1/events?since=99999999999999999999", {}),
        ("/v1/events/stream", {"Last-Event-ID": "abc"}),
        ("/v1/events/stream", {"Last-Event-ID": "-1"}),
        ("/v1/events/stream?since=1e3", {}),
    ],
)
async def test_bad_parameters_are_named(path: str, headers: dict[str, str]) -> None:
    """The answer says which parameter, with which value."""
    async with api_world() as world, world.client() as client:
        error = error_of(await client.get(path, headers=headers), 422)
        assert error["code"] == "bad-parameter"
        assert error["field"] in ("limit", "since", "last-event-id")
        assert error["value"]


@pytest.mark.parametrize("key", ["", "x" * 65, "a\x01b", "\xe4"])
async def test_an_idempotency_key_is_plain_text(key: str) -> None:
    """It is stored and shown to operators."""
    async with api_world() as world, world.client() as client:
        headers = {b"Idempotency-Key": key.encode("latin-1")}
        answer = await client.put(path_of(spec()), json=spec(), headers=headers)
        assert error_of(answer, 422)["field"] == "Idempotency-Key"


@pytest.mark.parametrize("method", ["POST", "PATCH", "OPTIONS", "TRACE", "BREW"])
async def test_other_methods_do_nothing(method: str) -> None:
    """405 with the one error body; no cross-origin preflight is ever answered with yes."""
    async with api_world() as world, world.client() as client:
        origin = {"Origin": "http://evil.example", "Access-Control-Request-Method": "PUT"}
        answer = await client.request(method, path_of(spec()), headers=origin)
        assert error_of(answer, 405)["code"] == "method-not-allowed"
        assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_a_mistake_of_ours_shows_no_stack_trace() -> None:
    """The caller gets a trace id to report; the log has the rest."""
    async with api_world() as world, world.client() as client:

        def broken(*_: Any, **__: Any) -> Any:
            raise KeyError("/secret/path")

        world.app.service.desk.clock = broken
        answer = await client.put(path_of(spec()), json=spec())
        error = error_of(answer, 500)
        assert (error["code"], error["trace_id"]) == ("internal", answer.headers["X-Trace-Id"])
        assert "secret" not in answer.text


async def test_answers_are_never_guessed_cached_or_signed_by_the_framework() -> None:
    """No sniffing into HTML, no proxies keeping a tenant's chains, foreign trace ids only when plain."""
    async with api_world() as world, world.client() as client:
        answer = await client.get("/v1/chains", headers={b"X-Trace-Id": b"<script>"})
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Content-Type"] == "application/json"
        assert "<" not in answer.headers["X-Trace-Id"]
        assert world.tier.value == "site"


async def test_foreign_text_in_an_error_is_escaped() -> None:
    """Attack 20: what the caller wrote comes back harmless for a terminal."""
    async with api_world() as world, world.client() as client:
        evil = spec(**{"a\x1b[2J": "\x1b]0;x\x07"})
        answer = await client.put(path_of(evil), json=evil)
        error = error_of(answer, 422)
        assert error["code"] == "unknown-field"
        for name in ("message", "field", "value", "fix"):
            assert error[name].isprintable()


async def test_a_listener_that_forgot_its_mark_is_closed(tmp_path: Path) -> None:
    """An application that is served without a Door takes every request as coming over TCP."""
    async with api_world(folder=tmp_path) as world:
        transport = httpx.ASGITransport(app=world.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            error_of(await client.get("/v1/chains"), 401)
