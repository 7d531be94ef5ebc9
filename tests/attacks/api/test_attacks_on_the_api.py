"""Attack 21, what is sent: oversized and malformed bodies, path tricks, odd headers and methods.

Every attack must be answered with a clear body, and must leave the store exactly as it was.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.api_world import api_world, error_of, path_of, spec

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
