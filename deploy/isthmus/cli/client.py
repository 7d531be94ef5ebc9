"""The command's side of the API: one request, one deadline, one clear failure.

What the API refuses arrives as :class:`ApiRefusal` with the field, so that a command can add file and line; what never
arrived is :class:`~isthmus.cli.failures.Unreachable`, so that a script can tell "no" from "nobody there".
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any, Self

import httpx

from isthmus.cli.failures import CliFailure, Missing, Unreachable
from isthmus.cli.target import Target
from isthmus.contract.chain import ChainSpec
from isthmus.identity.text import visible

MAX_ANSWER_BYTES = 64 * 1024 * 1024
SILENCE_S = 35.0
"""An event stream beats every 10 s; three lost beats and more, and it is opened again."""
PAGE = 5_000
"""As many chains as the API gives at once: each page costs it a look at all keys."""
REPEATS = 3
"""A write whose outcome the store did not tell is sent again under the same idempotency key so often."""


class ApiRefusal(CliFailure):
    """The API said no. ``path`` is the field as data, ``others`` further mistakes of the same body."""

    code = "refused"

    def __init__(self, status: int, error: Mapping[str, Any]) -> None:
        self.status = status
        self.path = tuple(error.get("path") or ())
        self.others: list[Mapping[str, Any]] = list(error.get("others") or ())
        super().__init__(sentence(error), detail=error)


def sentence(error: Mapping[str, Any]) -> str:
    """An error of the API as one line, safe to show."""
    text = visible(str(error.get("message", "refused")), 2_000)
    value, fix = error.get("value"), error.get("fix")
    if value and str(value) not in text:
        text += f" (found: {visible(str(value))})"
    return f"{text}; {visible(str(fix), 1_000)}" if fix else text


class ApiClient:
    """An open connection to one API; use as an asynchronous context."""

    def __init__(self, target: Target, *, timeout_s: float) -> None:
        self.target = target
        self.timeout_s = timeout_s
        headers = {"Accept": "application/json"}
        if target.token:
            headers["Authorization"] = f"Bearer {target.token}"
        verify: ssl.SSLContext | bool = True
        if target.ca_file:
            verify = ssl.create_default_context(cafile=target.ca_file)
        transport = httpx.AsyncHTTPTransport(uds=target.socket_path or None, verify=verify)
        self._http = httpx.AsyncClient(
            base_url=target.url,
            transport=transport,
            headers=headers,
            timeout=timeout_s,
            follow_redirects=False,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def get(self, path: str, **parameters: str | int) -> dict[str, Any]:
        """One document."""
        return await self._ask("GET", path, params=parameters)

    async def apply(self, spec: ChainSpec, *, key: str, dry_run: bool = False) -> dict[str, Any]:
        """Send one spec; an unknown outcome is settled by sending it again."""
        path = chain_path(spec.tenant, spec.chain)
        body = spec.model_dump(mode="json")
        for attempt in range(1, REPEATS + 1):
            try:
                return await self._ask(
                    "PUT",
                    path,
                    json=body,
                    params={"dry_run": "true"} if dry_run else {},
                    headers={"Idempotency-Key": key},
                )
            except Unreachable as failure:
                if failure.detail.get("code") != "outcome-unknown" or attempt == REPEATS:
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def put(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Say how something is to be; for what may safely be said twice."""
        return await self._ask("PUT", path, json=dict(body))

    async def remove(self, path: str) -> dict[str, Any]:
        """Take something away."""
        return await self._ask("DELETE", path)

    async def delete(self, tenant: str, chain: str) -> dict[str, Any]:
        """Take one request back."""
        return await self.remove(chain_path(tenant, chain))

    async def chains(self) -> dict[str, Any]:
        """All chains, page by page."""
        document = await self.get("/v1/chains", limit=PAGE)
        while document["more"]:
            last = document["chains"][-1]
            after = f"{last['tenant']}/{last['chain']}"
            page = await self.get("/v1/chains", limit=PAGE, after=after)
            document["chains"] += page["chains"]
            document["more"] = page["more"]
        return document

    async def stream(self, last_seen: int | None) -> AsyncIterator[tuple[str, int | None, Any]]:
        """Events as (kind, id, data) until the API ends the stream; raises as every question does."""
        headers = {"Accept": "text/event-stream"}
        if last_seen is not None:
            headers["Last-Event-ID"] = str(last_seen)
        timeout = httpx.Timeout(self.timeout_s, read=SILENCE_S)
        try:
            async with self._http.stream(
                "GET", "/v1/events/stream", headers=headers, timeout=timeout
            ) as answer:
                if answer.status_code != 200:
                    await answer.aread()
                    self._document(answer)
                async for event in _events(answer.aiter_lines()):
                    yield event
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None

    async def _ask(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        try:
            async with asyncio.timeout(self.timeout_s):
                answer = await self._http.request(method, path, **arguments)
        except (httpx.HTTPError, TimeoutError, OSError) as error:
            raise self._unreachable(error) from None
        return self._document(answer)

    def _document(self, answer: httpx.Response) -> dict[str, Any]:
        try:
            document = answer.json()
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise CliFailure(f"{self.target}: no API of Isthmus (status {answer.status_code})")
        if answer.is_success:
            return document
        found = document.get("error")
        error = found if isinstance(found, dict) else {"message": f"status {answer.status_code}"}
        if answer.status_code == 404:
            raise Missing(sentence(error), detail=error)
        if answer.status_code == 503:
            raise Unreachable(sentence(error), detail=error)
        raise ApiRefusal(answer.status_code, error)

    def _unreachable(self, error: Exception) -> Unreachable:
        cause = visible(str(error)) or type(error).__name__
        if isinstance(error, httpx.TimeoutException | TimeoutError):
            cause = f"no answer within {self.timeout_s:g} s"
        by = f", named by {self.target.told_by}" if self.target.told_by else ""
        hint = "does the API run?"
        if self.target.told_by in ("--at", "the running lab"):
            hint = "does the lab still run? see 'isthmus lab status'"
        return Unreachable(f"cannot reach the API at {self.target}{by}: {cause}; {hint}")


def chain_path(tenant: str, chain: str) -> str:
    """The path of a chain whose names are already known to be names."""
    return f"/v1/chains/{tenant}/{chain}"


async def _events(
    lines: AsyncIterator[str],
) -> AsyncIterator[tuple[str, int | None, Any]]:
    """Server-sent events from lines; what is no event of ours is passed over."""
    kind, identity, data = "message", None, ""
    async for line in lines:
        name, _, value = line.partition(": ")
        if name == "id" and value.isdigit():
            identity = int(value)
        elif name == "event":
            kind = value
        elif name == "data":
            data += value
        elif not line and data:
            try:
                yield kind, identity, json.loads(data)
            except ValueError:
                raise CliFailure("the event stream holds something else than events") from None
            kind, identity, data = "message", None, ""
