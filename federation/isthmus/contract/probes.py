"""What a component may touch, tried on the real store without changing anything (docs/spec.md, section 3).

A write is tried inside a transaction whose condition never holds: etcd judges the rights of every branch before it
looks at the condition, so a refusal proves the role, and a role that is too wide does no harm either. The two ways
around the rights that old servers left open (attack 8: a stretched watch, a nested transaction) are bytes made here
by hand, since our own client cannot even write them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import aclosing

import grpc.aio

from isthmus.contract.subject import Subject
from isthmus.kv import Compare, Delete, Get, Operation, Put, Target, Txn, methods
from isthmus.kv import wire_pb2 as wire
from isthmus.kv.channel import open_channel
from isthmus.kv.errors import PermissionDenied
from isthmus.kv.etcd import EtcdStore
from isthmus.kv.grants import Access
from isthmus.kv.ranges import KeyRange
from isthmus.kv.settings import EtcdSettings
from isthmus.policy.keys import ROOT

NEVER = 2**62
"""A version that no key reaches: the condition of every probe."""
_WATCH = "/etcdserverpb.Watch/Watch"
_TXN = "/etcdserverpb.KV/Txn"


class Prober:
    """Tries as ``subject``, over ``store`` (its own identity) and, for raw bytes, over ``settings``."""

    def __init__(
        self, subject: Subject, store: EtcdStore, settings: EtcdSettings, *, timeout_s: float
    ) -> None:
        self._subject = subject
        self._store = store
        self._settings = settings
        self._timeout_s = timeout_s

    async def own_access(self) -> list[str]:
        """A1."""
        found = []
        for key in self._subject.own_keys():
            for operation in (Get(key), Put(key, b""), Delete(key)):
                if await self._refused(self._try(operation, condition=key)):
                    found.append(f"{type(operation).__name__.lower()} of its own {key} is refused")
        return found

    async def foreign_writes(self) -> list[str]:
        """A2."""
        found = []
        condition = self._readable()
        for key in self._subject.foreign_keys():
            for operation in (Put(key, b""), Delete(key)):
                if not await self._refused(self._try(operation, condition=condition)):
                    kind = type(operation).__name__.lower()
                    found.append(f"{kind} of {key}, which is another's, is not refused")
        return found

    async def foreign_reads(self) -> list[str]:
        """A3."""
        found = []
        for key in self._subject.foreign_keys():
            if self._subject.may(KeyRange.of_key(key), Access.READ):
                continue
            if not await self._refused(self._store.get(key, timeout_s=self._timeout_s)):
                found.append(f"reading {key} is not refused")
            if not await self._refused(self._watch(key)):
                found.append(f"watching {key} is not refused")
        return found

    async def wide_ranges(self) -> list[str]:
        """A4."""
        found = []
        for prefix in self._wide():
            if not await self._refused(self._range(KeyRange.of_prefix(prefix))):
                found.append(f"reading the whole range {prefix} is not refused")
            if not await self._refused(self._watch(prefix)):
                found.append(f"watching the whole range {prefix} is not refused")
        condition = self._readable()
        for key in self._subject.neighbours():
            if not await self._refused(self._store.get(key, timeout_s=self._timeout_s)):
                found.append(f"reading the neighbour {key} is not refused")
            if not await self._refused(self._try(Put(key, b""), condition=condition)):
                found.append(f"writing the neighbour {key} is not refused")
        return found

    async def stretched_watch(self) -> list[str]:
        """A5."""
        key = self._readable()
        async with open_channel(self._settings) as channel:
            call = channel.stream_stream(
                _WATCH,
                request_serializer=wire.WatchRequest.SerializeToString,
                response_deserializer=wire.WatchResponse.FromString,
            )(timeout=self._timeout_s)
            create = wire.WatchCreateRequest(key=key.encode(), range_end=b"\0")
            await call.write(wire.WatchRequest(create_request=create))
            answer = await call.read()
            call.cancel()
        if isinstance(answer, wire.WatchResponse) and not answer.canceled:
            return [f"a watch of {key} stretched to all keys behind it is not refused"]
        return []

    async def nested_transaction(self) -> list[str]:
        """A6."""
        foreign = next(iter(self._unreadable()), None)
        if foreign is None:
            return []
        get = wire.RequestOp(request_range=wire.RangeRequest(key=foreign.encode()))
        nested = _field(2, _field(4, _field(2, get.SerializeToString())))
        async with open_channel(self._settings) as channel:
            try:
                await channel.unary_unary(_TXN)(nested, timeout=self._timeout_s)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.PERMISSION_DENIED:
                    return []
                if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                    return []  # a server that knows no nesting at all
                raise
        return [f"a nested transaction that reads {foreign} is not refused"]

    def _readable(self) -> str:
        return self._subject.own_keys()[0]

    def _unreadable(self) -> list[str]:
        return [
            key
            for key in self._subject.foreign_keys()
            if not self._subject.may(KeyRange.of_key(key), Access.READ)
        ]

    def _wide(self) -> list[str]:
        """The parents of what was granted, and everything."""
        parents = {ROOT, ROOT.rpartition("v1/")[0]}
        for target in self._subject.writes:
            parents.add(target.rstrip("/").rpartition("/")[0] + "/")
        return sorted(
            prefix
            for prefix in parents
            if not self._subject.may(KeyRange.of_prefix(prefix), Access.READ)
        )

    async def _try(self, operation: Operation, *, condition: str) -> None:
        compare = Compare(condition, Target.VERSION, NEVER, ">")
        await self._store.txn(Txn((compare,), (operation,)), timeout_s=self._timeout_s)

    async def _range(self, keys: KeyRange) -> None:
        await self._store.calls.unary(
            methods.RANGE,
            wire.RangeRequest(key=keys.start, range_end=keys.end, limit=1, keys_only=True),
            what=f"range {keys}",
            writes=False,
            timeout_s=self._timeout_s,
            range_=str(keys),
        )

    async def _watch(self, key_or_prefix: str) -> None:
        async with aclosing(self._store.watch(key_or_prefix)) as batches:
            async with asyncio.timeout(self._timeout_s):
                await anext(batches)

    @staticmethod
    async def _refused(call: Awaitable[object]) -> bool:
        try:
            await call
        except PermissionDenied:
            return True
        return False


def _field(number: int, payload: bytes) -> bytes:
    """A length-delimited field of a message, by hand: our messages know no nesting."""
    size, prefix = len(payload), bytearray()
    while size > 0x7F:
        prefix.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([number << 3 | 2]) + bytes([*prefix, size]) + payload
