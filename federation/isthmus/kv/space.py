"""The space of an etcd, member by member: what the maintainer may ask of it, and nothing else (DESIGN section 5).

A narrow port over :class:`~isthmus.kv.admin.EtcdAdmin`, because the identity behind it must be etcd's ``root``
(measured on 3.7: compaction, defragmentation and disarming are refused to everybody else, ADR 0006): who holds this
object can free space, but cannot name a user, a role or a key.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from isthmus.kv import methods
from isthmus.kv import wire_pb2 as wire
from isthmus.kv.admin import Alarm, EtcdAdmin
from isthmus.kv.errors import Compacted, StoreError
from isthmus.kv.etcd import EtcdStore
from isthmus.kv.settings import EtcdSettings

ASK_TIMEOUT_S = 3.0
WORK_TIMEOUT_S = 120.0
"""Of a compaction or a defragmentation: 8 GiB, etcd's largest sensible store, at 100 MB/s and then some."""


@dataclass(frozen=True, slots=True)
class MemberSpace:
    """One member as it answers for itself. ``in_use_bytes`` is what a defragmentation would leave."""

    endpoint: str
    member_id: int
    is_leader: bool
    revision: int
    size_bytes: int
    in_use_bytes: int
    quota_bytes: int


class SpacePort(Protocol):
    """What keeping the space of a store takes."""

    @property
    def endpoints(self) -> Sequence[str]:
        """All members there should be."""
        ...

    async def members(self) -> tuple[MemberSpace, ...]:
        """Those members that answer."""
        ...

    async def compact(self, revision: int) -> None:
        """Forget history below ``revision``, and return when it is gone. Nothing happens when it was gone before."""
        ...

    async def defragment(self, endpoint: str) -> None:
        """Give one member's free pages back; it answers nothing meanwhile."""
        ...

    async def alarms(self) -> tuple[Alarm, ...]:
        """Those that are raised."""
        ...

    async def disarm(self, alarm: Alarm) -> None:
        """Lift one."""
        ...

    async def aclose(self) -> None:
        """End all connections; the next call opens them again. Idempotent."""
        ...


class EtcdSpace:
    """:class:`SpacePort` on an etcd. Connects to each member alone, since each has a space of its own."""

    def __init__(self, settings: EtcdSettings) -> None:
        self._settings = settings
        self._stores: dict[str, EtcdStore] = {}
        self._all: EtcdStore | None = None

    @property
    def endpoints(self) -> Sequence[str]:
        return self._settings.endpoints

    async def members(self) -> tuple[MemberSpace, ...]:
        answers = []
        for endpoint in self.endpoints:
            admin = EtcdAdmin(self._at(endpoint), timeout_s=ASK_TIMEOUT_S)
            with suppress(StoreError):
                status = await admin.member_status()
                answers.append(
                    MemberSpace(
                        endpoint,
                        status.member_id,
                        status.is_leader,
                        status.revision,
                        status.db_size_bytes,
                        status.db_size_in_use_bytes,
                        status.quota_bytes,
                    )
                )
        return tuple(answers)

    async def compact(self, revision: int) -> None:
        request = wire.CompactionRequest(revision=revision, physical=True)
        with suppress(Compacted):
            await self._any().calls.unary(
                methods.COMPACT,
                request,
                what=f"compact to revision {revision}",
                writes=True,
                timeout_s=WORK_TIMEOUT_S,
            )

    async def defragment(self, endpoint: str) -> None:
        await EtcdAdmin(self._at(endpoint)).defragment(timeout_s=WORK_TIMEOUT_S)

    async def alarms(self) -> tuple[Alarm, ...]:
        return await EtcdAdmin(self._any()).alarms()

    async def disarm(self, alarm: Alarm) -> None:
        await EtcdAdmin(self._any()).disarm(alarm)

    async def aclose(self) -> None:
        stores = [*self._stores.values(), *([self._all] if self._all else [])]
        self._stores, self._all = {}, None
        for store in stores:
            await store.aclose()

    def _at(self, endpoint: str) -> EtcdStore:
        if endpoint not in self._stores:
            self._stores[endpoint] = EtcdStore.connect(self._settings.only(endpoint))
        return self._stores[endpoint]

    def _any(self) -> EtcdStore:
        if self._all is None:
            self._all = EtcdStore.connect(self._settings)
        return self._all
