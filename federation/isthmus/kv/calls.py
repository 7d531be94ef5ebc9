"""Calls to one store: deadline, safe retries, authentication, counting; the seam under everything else.

A call is repeated only when the answer proves that nothing was applied (``Unavailable``), or when it
reads. A write that may have happened is never repeated here: the caller knows whether it is idempotent.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

import grpc
import grpc.aio

from isthmus.kv import methods
from isthmus.kv import wire_pb2 as wire
from isthmus.kv.backoff import Backoff
from isthmus.kv.channel import file_stamps, open_channel
from isthmus.kv.counters import StoreCounters
from isthmus.kv.errors import (
    AmbiguousOutcome,
    DeadlineExceeded,
    InvalidRequest,
    StoreError,
    Unauthenticated,
    Unavailable,
)
from isthmus.kv.methods import Method, Request, Response
from isthmus.kv.settings import EtcdSettings
from isthmus.kv.translate import from_status

Metadata = tuple[tuple[str, str], ...]

_GRACE_S = 60.0


class Calls:
    """A channel and the rules of using it."""

    def __init__(self, settings: EtcdSettings, *, chance: random.Random | None = None) -> None:
        self.settings = settings
        self.counters = StoreCounters()
        self.closed = False
        self._chance = chance or random.Random()
        self._channel = open_channel(settings)
        self._files = file_stamps(settings)
        self._closing: set[asyncio.Task[None]] = set()
        self._stubs: dict[str, Any] = {}
        self._token: Metadata = ()
        self._authenticating = asyncio.Lock()

    # ---- unary calls

    async def unary(
        self,
        method: Method[Request, Response],
        request: Request,
        *,
        what: str,
        writes: bool,
        timeout_s: float,
        range_: str = "",
    ) -> Response:
        """One answer within ``timeout_s``, or a leaf of our error tree. ``what`` names the call and
        its key in messages."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        attempt_s = timeout_s if writes else min(timeout_s, self.settings.attempt_timeout_s)
        backoff: Backoff | None = None
        while True:
            try:
                return await self._attempt(method, request, what, writes, attempt_s, range_)
            except (Unavailable, DeadlineExceeded) as error:
                backoff = backoff or self.backoff()
                pause_s = backoff.next_s()
                left_s = deadline - asyncio.get_running_loop().time() - pause_s
                if left_s <= 0 or not error.retryable or self.closed:
                    raise
            self.counters.retries += 1
            await asyncio.sleep(pause_s)
            self.renew_channel()
            attempt_s = left_s if writes else min(left_s, self.settings.attempt_timeout_s)

    async def _attempt(
        self,
        method: Method[Request, Response],
        request: Request,
        what: str,
        writes: bool,
        timeout_s: float,
        range_: str,
    ) -> Response:
        """One attempt; one more when only the token had run out."""
        try:
            return await self._once(method, request, what, writes, timeout_s, range_)
        except Unauthenticated:
            if self.settings.user is None:
                raise
            await self.authenticate(used=self._token)
            return await self._once(method, request, what, writes, timeout_s, range_)

    async def _once(
        self,
        method: Method[Request, Response],
        request: Request,
        what: str,
        writes: bool,
        timeout_s: float,
        range_: str,
    ) -> Response:
        stub = self._stubs.get(method.path) or self._make_stub(method)
        metadata = self._token or await self.metadata()
        self.counters.calls[method.path] += 1
        try:
            answer: Response = await stub(request, timeout=timeout_s, metadata=metadata or None)
            return answer
        except grpc.aio.AioRpcError as error:
            raise self.translated(error, what=what, writes=writes, range_=range_) from None
        except asyncio.CancelledError:
            self.raise_if_channel_closed(what, writes=writes)
            raise

    def _make_stub(self, method: Method[Request, Response]) -> Any:
        self.check_open()
        stub = self._channel.unary_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        self._stubs[method.path] = stub
        return stub

    def raise_if_channel_closed(self, what: str, *, writes: bool) -> None:
        """gRPC raises CancelledError where a channel is closed under a call; that is no cancellation
        of the task."""
        task = asyncio.current_task()
        if task is None or task.cancelling():
            return
        if writes:
            raise AmbiguousOutcome(f"{what}: the channel was closed while the answer was awaited")
        raise Unavailable(f"{what}: the channel was closed while the answer was awaited")

    def renew_channel(self) -> None:
        """Open a new channel when the certificate files were renewed since (G10).

        gRPC reads them once; without this a store client that lives longer than its first certificate
        could never connect again. Asked before a new attempt and a new stream only: a connection that
        works is not touched. What is under way on the old channel gets a minute to end.
        """
        self.check_open()
        stamps = file_stamps(self.settings)
        if stamps == self._files or None in stamps:  # None: in the middle of being replaced
            return
        old, self._channel = self._channel, open_channel(self.settings)
        self._files = stamps
        self._stubs.clear()
        self.counters.channels_renewed += 1
        closing = asyncio.create_task(old.close(_GRACE_S), name="close the old channel")
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    # ---- streams

    def stream_in(self, method: Method[Request, Response], request: Request) -> Any:
        """A call with one question and many answers (grpc.aio's object: read, cancel)."""
        self.renew_channel()
        self.counters.calls[method.path] += 1
        return self._channel.unary_stream(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )(request, metadata=self._token or None)

    def stream_both(self, method: Method[Request, Response]) -> Any:
        """A call with many questions and many answers (read, write, cancel)."""
        self.renew_channel()
        self.counters.calls[method.path] += 1
        return self._channel.stream_stream(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )(metadata=self._token or None)

    # ---- authentication by name and password

    async def metadata(self) -> Metadata:
        """What every call carries; empty for users by certificate."""
        if self.settings.user is not None and not self._token:
            await self.authenticate(used=())
        return self._token

    async def authenticate(self, *, used: Metadata) -> None:
        """Get a new token, unless somebody else replaced the ``used`` one meanwhile."""
        user, password = self.settings.user, self.settings.password
        if user is None or password is None:
            raise Unauthenticated("the store asks for a user, and the settings name none")
        async with self._authenticating:
            if self._token != used:
                return
            request = wire.AuthenticateRequest(name=user, password=password.get_secret_value())
            self._token = ()
            stub = self._stubs.get(methods.AUTHENTICATE.path) or self._make_stub(
                methods.AUTHENTICATE
            )
            self.counters.authentications += 1
            try:
                answer = await stub(request, timeout=self.settings.attempt_timeout_s)
            except grpc.aio.AioRpcError as error:
                what = f"authenticate user {user!r}"
                raise self.translated(error, what=what, writes=False) from None
            self._token = (("token", answer.token),)

    # ---- small things

    def backoff(self) -> Backoff:
        """A fresh pause sequence."""
        return Backoff(self.settings.backoff_min_s, self.settings.backoff_max_s, self._chance)

    def jitter(self) -> float:
        """Between 0 and 1."""
        return self._chance.random()

    def translated(
        self, error: grpc.aio.AioRpcError, *, what: str, writes: bool, range_: str = ""
    ) -> StoreError:
        """Our error for gRPC's, counted."""
        ours = from_status(
            error.code(), error.details() or "", what=what, writes=writes, range_=range_
        )
        self.count(ours)
        return ours

    def count(self, error: StoreError) -> None:
        """Remember that this happened."""
        self.counters.errors[type(error).__name__] += 1

    def check_open(self) -> None:
        """Refuse to work after :meth:`close`."""
        if self.closed:
            raise InvalidRequest("the store was closed; open a new one")

    async def close(self) -> None:
        """Idempotent."""
        if not self.closed:
            self.closed = True
            self._stubs.clear()
            await self._channel.close()
            for closing in list(self._closing):
                closing.cancel()
            await asyncio.gather(*self._closing, return_exceptions=True)
