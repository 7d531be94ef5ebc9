"""The application over one tier's store (DESIGN section 7, "Northbound").

The same application serves a site and the global tier; the ``isthmus`` command and the dashboard use nothing else. It
is no Ray driver and holds no state of its own: any number of copies may run, and one may be killed at any time.
"""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from isthmus.api.auth import Tokens
from isthmus.api.desk import Desk
from isthmus.api.errors import ApiError, Refused
from isthmus.api.guard import Guard, error_response, internal
from isthmus.api.routes import machines, v1
from isthmus.api.service import Service, isthmus_version, trace_of
from isthmus.api.settings import ApiSettings
from isthmus.contract import Stamp, Tier
from isthmus.identity.text import visible
from isthmus.kv.port import KeyValueStore


class Application:
    """What :func:`create_app` makes: an ASGI application, and the way to end its streams before the server stops."""

    def __init__(self, service: Service, api: FastAPI) -> None:
        self.service = service
        self.api = api
        self._guarded = Guard(
            api,
            counters=service.counters,
            new_id=service.desk.new_id,
            body_limit_bytes=service.settings.body_limit_bytes,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._guarded(scope, receive, send)

    def close_streams(self) -> None:
        """Event streams end now, and no new one begins."""
        self.service.closing.set()


def create_app(
    tier: Tier,
    name: str,
    store: KeyValueStore,
    settings: ApiSettings,
    *,
    clock: Callable[[], float],
    new_id: Callable[[], str],
) -> Application:
    """The API of ``name`` over ``store``. ``clock`` gives UTC seconds, ``new_id`` fresh lower-case names."""
    stamp = Stamp(origin=settings.identity or f"api.{name}", incarnation=new_id())
    desk = Desk(tier, name, store, stamp, clock, new_id, settings.store_timeout_s)
    tokens = Tokens(settings.tokens_file) if settings.tokens_file is not None else None
    api = FastAPI(
        title="Isthmus",
        summary=f"north side of {tier.value} {name}",
        version=isthmus_version(),
        openapi_url="/v1/openapi.json",
        docs_url=None,  # both pages load scripts from a foreign host
        redoc_url=None,
        redirect_slashes=False,  # a path is right or wrong, never repaired
        default_response_class=JSONResponse,
    )
    api.state.service = Service(desk, settings, tokens, started_at=clock())
    api.include_router(v1)
    api.include_router(machines)
    api.add_exception_handler(ApiError, _refused)
    api.add_exception_handler(HTTPException, _routed)
    api.add_exception_handler(RequestValidationError, _invalid)
    api.add_exception_handler(Exception, _internal)
    return Application(api.state.service, api)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error_response(error, trace_of(request))


async def _internal(request: Request, error: Exception) -> Response:
    """The framework raises it again afterwards; the guard logs it."""
    return error_response(internal(trace_of(request)), trace_of(request))


async def _routed(request: Request, error: Exception) -> Response:
    """No such path, or not with this method."""
    assert isinstance(error, HTTPException)
    answer = ApiError(
        {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "http"),
        visible(str(error.detail)).lower(),
        fix="see /v1/openapi.json",
        status=error.status_code,
        headers=error.headers,
    )
    return error_response(answer, trace_of(request))


async def _invalid(request: Request, error: Exception) -> Response:
    """A parameter of the path, the query or a header is wrong."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = str(first["loc"][-1]) if first["loc"] else ""
    answer = Refused(
        "bad-parameter",
        visible(f"{where}: {first['msg']}"),
        field=visible(where),
        value=visible(str(first.get("input", "")), 60),
        fix="see /v1/openapi.json",
    )
    return error_response(answer, trace_of(request))
