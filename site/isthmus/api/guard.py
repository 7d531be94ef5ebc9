"""The outermost layer of the application: trace ids, limits, counters, and never a stack trace at a caller.

A plain ASGI wrapper around everything else, so that whatever happens inside, every answer has the one error body, every
request has a trace id that is in the log too, and every answer is counted. Paths with percent signs are refused here:
a server decodes ``acme%2Fshop`` before the router sees it, and names are never normalised (attacks 6 and 21).
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from isthmus.api.errors import ApiError, NotKnown, OverLimit

log = logging.getLogger(__name__)

_TRACE = re.compile(r"[A-Za-z0-9._-]{1,64}")
METHODS = frozenset({"GET", "HEAD", "PUT", "DELETE", "POST", "OPTIONS", "PATCH"})


@dataclass(slots=True)
class Counters:
    """What the API did so far; labels are of bounded number (a foreign method is counted as OTHER)."""

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    streams: int = 0

    def count(self, method: str, status: int) -> None:
        """One answer went out."""
        self.answers[(method if method in METHODS else "OTHER", status)] += 1


def error_response(error: ApiError, trace_id: str) -> JSONResponse:
    """The one error body with its status and headers."""
    return JSONResponse(error.body(trace_id), status_code=error.status, headers=error.headers)


class Guard:
    """See the module docstring. ``new_id`` makes trace ids for callers that bring none."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        counters: Counters,
        new_id: Callable[[], str],
        body_limit_bytes: int,
    ) -> None:
        self._app = app
        self._counters = counters
        self._new_id = new_id
        self._body_limit_bytes = body_limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        brought = headers.get("x-trace-id", "")
        trace_id = brought if _TRACE.fullmatch(brought) else self._new_id()
        scope.setdefault("state", {})["trace_id"] = trace_id
        started = finished = False

        async def sending(message: Message) -> None:
            nonlocal started, finished
            if message["type"] == "http.response.body":
                finished = not message.get("more_body", False)
            if message["type"] == "http.response.start":
                started = True
                self._counters.count(scope["method"], message["status"])
                answer = MutableHeaders(scope=message)
                answer["X-Trace-Id"] = trace_id
                answer["X-Content-Type-Options"] = "nosniff"
                answer["Cache-Control"] = "no-store"
            await send(message)

        try:
            self._check(scope, headers)
            await self._app(scope, receive, sending)
        except ApiError as error:
            if started:
                raise
            await error_response(error, trace_id)(scope, receive, sending)
        except Exception:
            log.exception("request %s failed", trace_id)
            if started and not finished:
                raise  # half an answer is out: only a broken connection can say so
            if not finished:
                await error_response(internal(trace_id), trace_id)(scope, receive, sending)

    def _check(self, scope: Scope, headers: Headers) -> None:
        if b"%" in scope.get("raw_path", b""):
            raise NotKnown(
                "not-found",
                "no path of this API holds a percent sign",
                fix="write names as they are: a-z 0-9 . _ -",
            )
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length[:20]) > self._body_limit_bytes:
            raise too_large(self._body_limit_bytes)


def internal(trace_id: str) -> ApiError:
    """The answer to a caller when the mistake is ours."""
    return ApiError(
        "internal",
        "this is a mistake in Isthmus, not in the request",
        fix=f"report it with the trace id {trace_id}",
    )


def too_large(limit_bytes: int) -> OverLimit:
    """The refusal of a body over the limit."""
    return OverLimit(
        "body-too-large",
        f"the body is over the limit of {limit_bytes} bytes",
        fix="send one chain at a time, and large data by reference",
    )
