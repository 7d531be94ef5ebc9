"""What all requests of one application share, and the questions every route asks first: who, what, how large."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

from fastapi import Depends, Request
from starlette.requests import ClientDisconnect

from isthmus.api import checks
from isthmus.api.auth import Principal, Tokens, identify
from isthmus.api.desk import Desk
from isthmus.api.errors import NotAllowed, NotKnown, OverLimit, Refused
from isthmus.api.guard import Counters, too_large
from isthmus.api.settings import ApiSettings
from isthmus.identity.text import visible


@dataclass(slots=True)
class Service:
    """One application's desk, limits, tokens and counters. ``closing``: event streams are to end."""

    desk: Desk
    settings: ApiSettings
    tokens: Tokens | None
    counters: Counters = field(default_factory=Counters)
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    started_at: float = 0.0

    def caller(self, request: Request) -> Principal:
        """Who asks; raises WhoAreYou."""
        return identify(request.scope, request.headers.get("authorization", ""), self.tokens)


async def _service(request: Request) -> Service:
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


Shared = Annotated[Service, Depends(_service)]


async def _caller(request: Request, service: Shared) -> Principal:
    return service.caller(request)


async def _operator(request: Request, service: Shared) -> Principal:
    principal = service.caller(request)
    if not principal.is_operator:
        raise NotAllowed(
            "operators-only",
            "only an operator may see the tier itself",
            fix="ask for your chains: GET /v1/chains",
        )
    return principal


Caller = Annotated[Principal, Depends(_caller)]
Operator = Annotated[Principal, Depends(_operator)]


def isthmus_version() -> str:
    """As installed."""
    try:
        return version("isthmus")
    except PackageNotFoundError:
        return "0+unknown"


def trace_of(request: Request) -> str:
    """The trace id that the guard gave to the request."""
    return str(request.scope.get("state", {}).get("trace_id", ""))


async def read_body(request: Request, settings: ApiSettings) -> bytes:
    """The body, as far as the limit; a body that drips is given up."""
    data = bytearray()
    try:
        async with asyncio.timeout(settings.body_timeout_s):
            async for chunk in request.stream():
                data += chunk
                if len(data) > settings.body_limit_bytes:
                    raise too_large(settings.body_limit_bytes)
    except TimeoutError:
        raise OverLimit(
            "body-too-slow",
            f"the body did not come within {settings.body_timeout_s:g} s",
            fix="send it in one go",
            status=408,
        ) from None
    except ClientDisconnect:
        raise OverLimit("gone", "the caller left", status=400) from None
    return bytes(data)


def own(principal: Principal, tenant: str, chain: str) -> tuple[str, str]:
    """The names in the path, checked; another tenant's chain does not exist for this caller."""
    if not principal.may_see(tenant):
        raise NotKnown(
            "not-found",
            f"there is no chain {visible(tenant, 63)}/{visible(chain, 63)} here",
            field="chain",
            value=visible(chain, 63),
            fix="list the chains with 'isthmus get chains'",
        )
    return checks.name_in_path("tenant", tenant), checks.name_in_path("chain", chain)


def idempotency_key(value: str | None, fresh: Callable[[], str]) -> str:
    """The caller's key, or a fresh one; it is stored and shown, so it must be plain."""
    if value is None:
        return fresh()
    if not 1 <= len(value) <= 64 or not value.isascii() or not value.isprintable():
        raise Refused(
            "bad-parameter",
            "Idempotency-Key must be 1 to 64 printable ASCII characters",
            field="Idempotency-Key",
            value=visible(value, 60),
            fix="use a random id",
        )
    return value
