"""Leases kept alive in the background, with a verdict of our own about when one is lost.

The store's word comes too late for a holder that is cut off, so the holder counts itself: from the
moment a renewal was *sent* (not answered), on CLOCK_BOOTTIME, which goes on while the machine is
suspended (DESIGN section 5, the fence). Once lost, a lease stays lost: it is never renewed again, even
where the store would still let us (kopf: renew each jittered third of the time to live).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from isthmus.kv import methods
from isthmus.kv import wire_pb2 as wire
from isthmus.kv.calls import Calls
from isthmus.kv.channel import END_OF_STREAM
from isthmus.kv.errors import InvalidRequest, LeaseLost, StoreError, Unauthenticated

Clock = Callable[[], float]


def boottime_s() -> float:
    """Seconds since boot, suspension included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class EtcdLease:
    """One lease; see :class:`isthmus.kv.port.Lease`."""

    def __init__(
        self, calls: Calls, lease_id: int, ttl_s: float, sent_s: float, clock: Clock
    ) -> None:
        self._calls = calls
        self._lease_id = lease_id
        self._ttl_s = ttl_s
        self._clock = clock
        self._expires_s = sent_s + ttl_s
        self._ended = asyncio.Event()
        self._task = asyncio.create_task(self._keep_alive(), name=f"lease {lease_id:x}")

    @property
    def lease_id(self) -> int:
        return self._lease_id

    @property
    def ttl_s(self) -> float:
        return self._ttl_s

    @property
    def lost(self) -> bool:
        return self._ended.is_set() or self._clock() >= self._expires_s

    @property
    def remaining_s(self) -> float:
        """Until the local verdict falls if no renewal succeeds; 0 when lost."""
        return 0.0 if self.lost else self._expires_s - self._clock()

    async def wait_lost(self) -> None:
        while not self.lost:
            # Bounded naps: loop timers run on a clock that stands still while suspended.
            nap_s = max(0.001, min(1.0, self._expires_s - self._clock()))
            try:
                async with asyncio.timeout(nap_s):
                    await self._ended.wait()
            except TimeoutError:
                continue
        self._end()

    async def revoke(self, *, timeout_s: float = 5.0) -> None:
        self.stop()
        request = wire.LeaseRevokeRequest(ID=self._lease_id)
        try:
            await self._calls.unary(
                methods.LEASE_REVOKE,
                request,
                what=f"revoke lease {self._lease_id:x}",
                writes=True,
                timeout_s=timeout_s,
            )
        except LeaseLost:
            return

    def stop(self) -> None:
        """Stop renewing and count it as lost from now on; the store drops it after its time to live."""
        self._ended.set()
        self._task.cancel()

    def _end(self) -> None:
        if not self._ended.is_set():
            self._ended.set()
            self._calls.counters.leases_lost += 1

    # ---- the background

    async def _keep_alive(self) -> None:
        backoff = self._calls.backoff()
        while not self.lost:
            try:
                await self._renew_on_one_stream(backoff.reset)
            except Unauthenticated:
                await self._authenticate_again()
            except LeaseLost:
                break
            except StoreError:
                pass  # the verdict is the clock's, not the connection's
            if not self.lost:
                await asyncio.sleep(min(backoff.next_s(), self._ttl_s / 6))
        self._end()

    async def _authenticate_again(self) -> None:
        try:
            await self._calls.authenticate(used=await self._calls.metadata())
        except StoreError:
            return

    async def _renew_on_one_stream(self, succeeded: Callable[[], None]) -> None:
        await self._calls.metadata()
        call = self._calls.stream_both(methods.LEASE_KEEP_ALIVE)
        try:
            while not self.lost:
                await self._renew(call)
                succeeded()
                third_s = self._ttl_s / 3
                await asyncio.sleep(third_s * (0.8 + 0.4 * self._calls.jitter()))
        except grpc.aio.AioRpcError as error:
            raise self._calls.translated(error, what=self._what, writes=False) from None
        except asyncio.InvalidStateError:
            raise InvalidRequest(f"{self._what}: the stream had ended") from None
        finally:
            call.cancel()

    @property
    def _what(self) -> str:
        return f"keep lease {self._lease_id:x} alive"

    async def _renew(self, call: Any) -> None:
        sent_s = self._clock()
        try:
            async with asyncio.timeout(self._ttl_s / 3):
                await call.write(wire.LeaseKeepAliveRequest(ID=self._lease_id))
                answer = await call.read()
        except TimeoutError:
            raise InvalidRequest(f"{self._what}: no answer") from None
        except asyncio.CancelledError:
            self._calls.raise_if_channel_closed(self._what, writes=False)
            raise
        if answer is END_OF_STREAM:
            raise InvalidRequest(f"{self._what}: the stream ended")
        if answer.TTL <= 0:
            raise LeaseLost(f"{self._what}: the store says it is gone")
        if not self.lost:  # an answer that comes after the verdict changes nothing
            self._ttl_s = float(answer.TTL)
            self._expires_s = sent_s + self._ttl_s
            self._calls.counters.lease_renewals += 1
