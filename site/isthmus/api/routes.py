"""The routes of ``/v1``, and those for machines (health, metrics): each only asks and answers.

The modules behind do the work; failures become answers in :mod:`isthmus.api.app`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import PlainTextResponse, StreamingResponse

from isthmus.api import apply as writing
from isthmus.api import brakes, chains, checks, events, sites
from isthmus.api.auth import Principal
from isthmus.api.errors import ApiError, Refused, StoreAway
from isthmus.api.models import (
    ApplyResult,
    BrakeList,
    BrakeResult,
    ChainDetail,
    ChainList,
    DeleteResult,
    ErrorBody,
    EventList,
    ExplainView,
    SiteList,
    StoreView,
    TierStatus,
)
from isthmus.api.service import (
    Caller,
    Operator,
    Service,
    Shared,
    idempotency_key,
    isthmus_version,
    own,
    read_body,
    trace_of,
)
from isthmus.contract.chain import ChainSpec
from isthmus.contract.schema import closed

MAX_REVISION = 2**63 - 1
FAILURES: dict[int | str, dict[str, Any]] = {
    code: {"model": ErrorBody, "description": HTTPStatus(code).phrase}
    for code in (401, 403, 404, 409, 413, 422, 503)
}
_SPEC_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": closed(ChainSpec)}},
    }
}
_BRAKE_BODY = {
    "requestBody": {
        "required": False,
        "content": {"application/json": {"schema": closed(brakes.BrakeOrder)}},
    }
}
CHAIN = "/chains/{tenant}/{chain}"

v1 = APIRouter(prefix="/v1", responses=FAILURES)
machines = APIRouter(include_in_schema=False)


@v1.put(
    CHAIN,
    response_model=ApplyResult,
    responses={201: {"model": ApplyResult}},
    openapi_extra=_SPEC_BODY,
)
async def apply_chain(
    tenant: str,
    chain: str,
    request: Request,
    response: Response,
    principal: Caller,
    service: Shared,
    dry_run: bool = False,
    key: Annotated[str | None, Header(alias="Idempotency-Key")] = None,
) -> ApplyResult:
    """Ask for a chain, or change it. Idempotent; 201 when it is new."""
    tenant, chain = own(principal, tenant, chain)
    data = await read_body(request, service.settings)
    spec = checks.read_spec(data, request.headers.get("content-type", ""))
    mismatch = tuple(checks.path_is_body(spec, tenant, chain))
    if mismatch:
        raise Refused.because(mismatch)
    fresh = idempotency_key(key, service.desk.new_id)
    wish = writing.Wish(spec, principal.name, fresh, trace_of(request), dry_run)
    result = await writing.apply(service.desk, wish)
    response.status_code = 201 if result.result == "created" else 200
    return result


@v1.get("/chains", response_model=ChainList)
async def list_chains(
    principal: Caller,
    service: Shared,
    limit: Annotated[int, Query(ge=1, le=5_000)] = 500,
    after: Annotated[str, Query(max_length=127)] = "",
) -> ChainList:
    """The chains of this tier that the caller may see."""
    return await chains.page(service.desk, principal, limit=limit, after=after)


@v1.get(CHAIN, response_model=ChainDetail)
async def get_chain(tenant: str, chain: str, principal: Caller, service: Shared) -> ChainDetail:
    """Everything about one chain."""
    return await chains.detail(service.desk, principal, *own(principal, tenant, chain))


@v1.get(CHAIN + "/explain", response_model=ExplainView)
async def explain_chain(tenant: str, chain: str, principal: Caller, service: Shared) -> ExplainView:
    """Why a chain is placed as it is, or why it cannot be."""
    return await chains.explain(service.desk, principal, *own(principal, tenant, chain))


@v1.delete(CHAIN, response_model=DeleteResult)
async def delete_chain(
    tenant: str, chain: str, request: Request, principal: Caller, service: Shared
) -> DeleteResult:
    """Take the request back; the chain is then taken down."""
    tenant, chain = own(principal, tenant, chain)
    return await writing.delete(
        service.desk, tenant, chain, principal=principal, trace_id=trace_of(request)
    )


@v1.get("/sites", response_model=SiteList)
async def list_sites(_: Operator, service: Shared) -> SiteList:
    """The sites this tier knows; a site answers with itself and its hosts."""
    return await sites.listing(service.desk)


@v1.get("/brakes", response_model=BrakeList)
async def list_brakes(_: Operator, service: Shared) -> BrakeList:
    """Which deletions by peers this site holds, and who let the brake go until when."""
    return await brakes.listing(service.desk)


@v1.put("/brakes/{peer}", response_model=BrakeResult, openapi_extra=_BRAKE_BODY)
async def confirm_brake(
    peer: str, request: Request, principal: Operator, service: Shared
) -> BrakeResult:
    """Let deletions by a peer take effect for a while (300 s; at most an hour)."""
    data = await read_body(request, service.settings)
    content_type = request.headers.get("content-type", "")
    return await brakes.confirm(service.desk, peer, data, content_type, principal.name)


@v1.delete("/brakes/{peer}", response_model=BrakeResult)
async def hold_brake(peer: str, principal: Operator, service: Shared) -> BrakeResult:
    """Take the word back: the brake holds again."""
    return await brakes.hold(service.desk, peer, principal.name)


@v1.get("/events", response_model=EventList)
async def list_events(
    principal: Caller,
    service: Shared,
    limit: Annotated[int, Query(ge=1, le=5_000)] = 100,
    since: Annotated[int, Query(ge=0, le=MAX_REVISION)] = 0,
) -> EventList:
    """The newest events, oldest first."""
    return await events.listing(service.desk, principal, limit=limit, since=since)


@v1.get("/events/stream", response_class=StreamingResponse)
async def follow_events(
    request: Request,
    principal: Caller,
    service: Shared,
    last_event_id: Annotated[int | None, Header(ge=0, le=MAX_REVISION)] = None,
    since: Annotated[int | None, Query(ge=0, le=MAX_REVISION)] = None,
) -> StreamingResponse:
    """Events as they happen (server-sent events); resumes behind ``Last-Event-ID`` or ``since``."""
    follower = _follower(service, request, principal)
    service.counters.streams += 1
    try:
        await follower.open(last_event_id if last_event_id is not None else since)
    except BaseException:
        service.counters.streams -= 1
        raise
    return StreamingResponse(_counted(service, follower), media_type="text/event-stream")


def _follower(service: Service, request: Request, principal: Principal) -> events.Follower:
    if service.closing.is_set() or service.counters.streams >= service.settings.stream_limit:
        raise StoreAway(
            "too-many-streams",
            f"this API has {service.counters.streams} event streams open and takes no more",
            fix="close one, or come back later",
            retry_after_s=10,
        )

    def still_welcome() -> bool:
        try:
            return service.caller(request) == principal
        except ApiError:
            return False

    return events.Follower(
        service.desk,
        principal,
        closing=service.closing,
        beat_s=service.settings.beat_s,
        still_welcome=still_welcome,
    )


async def _counted(service: Service, follower: events.Follower) -> AsyncIterator[str]:
    try:
        async for text in follower.stream():
            yield text
    finally:
        service.counters.streams -= 1


@v1.get("/status", response_model=TierStatus)
async def tier_status(principal: Operator, service: Shared) -> TierStatus:
    """This tier in one look."""
    desk = service.desk
    store = await desk.status()
    return TierStatus(
        tier=desk.tier.value,
        name=desk.name,
        version=isthmus_version(),
        health="alarm" if store.alarms else "ok",
        store=StoreView(
            version=store.version,
            revision=store.revision,
            db_size_bytes=store.db_size_bytes,
            alarms=store.alarms,
        ),
        chains=await chains.count(desk, principal),
        chains_held=await brakes.held_chains(desk),
        streams=service.counters.streams,
        uptime_s=max(0.0, desk.clock() - service.started_at),
    )


@machines.get("/healthz")
async def alive() -> PlainTextResponse:
    """The process lives; says nothing of the store."""
    return PlainTextResponse("ok\n")


@machines.get("/readyz")
async def ready(service: Shared) -> PlainTextResponse:
    """The store answers the API's own user."""
    desk = service.desk
    await desk.gets((desk.families.requests.key(tenant="readyz", chain="readyz"),))
    return PlainTextResponse("ready\n")


@machines.get("/metrics")
async def metrics(_: Operator, service: Shared) -> PlainTextResponse:
    """Counters in the text format that monitoring systems read."""
    lines = [
        f'isthmus_api_answers_total{{method="{method}",status="{status}"}} {count}'
        for (method, status), count in sorted(service.counters.answers.items())
    ]
    lines.append(f"isthmus_api_streams {service.counters.streams}")
    return PlainTextResponse("\n".join(lines) + "\n")
