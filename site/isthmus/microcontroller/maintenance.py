"""Keeps a store from running full: compaction, defragmentation, the NOSPACE alarm (DESIGN section 5, ADR 0006).

A component of its own, apart from the janitor, because etcd asks for its ``root`` role for all three: so it reads no
value of anybody and has no input but the store's figures. It needs no leadership, for a full store grants no lease;
everything it does may be done twice, and a store has one maintainer process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from isthmus.contract.errors import ContractError
from isthmus.kv.admin import Alarm
from isthmus.kv.errors import StoreError
from isthmus.kv.space import MemberSpace, SpacePort
from isthmus.microcontroller.controller import Context, Listener, Traits
from isthmus.microcontroller.errors import Later
from isthmus.microcontroller.space import (
    RevisionLog,
    SpaceSettings,
    compaction_target,
    helps,
    in_order,
    quota,
    share,
    too_full,
)

log = logging.getLogger("isthmus.microcontroller")

ITEM = "*space"
NOSPACE = "NOSPACE"
ALARM_RETRY_S = 5.0
LIFT_BELOW_SHARE = 0.9
"""Of the quota: fuller than this after the cure, the alarm would be back at once."""
TRAITS = Traits(leader=False, resync_s=10.0)


@dataclass(slots=True)
class Maintenance:
    """``needed`` gives revisions that must be kept besides the window; a full store outranks them, too."""

    space: SpacePort
    settings: SpaceSettings = field(default_factory=SpaceSettings)
    needed: Callable[[], Iterable[int]] = tuple
    component: str = "maintenance"
    traits: Traits = TRAITS
    standing_items: tuple[str, ...] = (ITEM,)
    compacted: int = 0
    revisions: RevisionLog = field(default_factory=RevisionLog)
    _looked_s: float | None = None
    _told: str = ""

    @property
    def watches(self) -> Sequence[str]:
        """Nothing: its facts are the store's figures."""
        return ()

    def items_for(self, key: str) -> Iterable[str]:
        """Only the period counts."""
        return ()

    async def listen(self, add: Listener) -> None:
        """Hears nothing; closes the connections at the end of a life."""
        try:
            await asyncio.Event().wait()
        finally:
            await self.space.aclose()

    async def reconcile(self, item: str, context: Context) -> float | None:
        """One look at all members; the alarm first."""
        members = await self.space.members()
        if not members:
            raise Later("no member answers", after_s=ALARM_RETRY_S)
        revision = max(member.revision for member in members)
        if revision < self.compacted:
            self.compacted = 0  # the store was restored
        self.revisions.saw(context.now(), revision)
        full = [alarm for alarm in await self.space.alarms() if alarm.kind == NOSPACE]
        if full:
            return await self._cure(full, members, revision, context)
        if too_full(members, self.settings):
            await self._relieve(members, revision, context)
        else:
            self._told = ""
            await self._keep_window(revision, context)
        await self._defragment_what_helps(context)
        return self.settings.period_s

    async def _keep_window(self, revision: int, context: Context) -> None:
        target = compaction_target(
            self.revisions,
            self.settings,
            now_s=context.now(),
            revision=revision,
            done=self.compacted,
            needed=self.needed(),
        )
        if target:
            await self.space.compact(target)
            self.compacted = target

    async def _relieve(
        self, members: Sequence[MemberSpace], revision: int, context: Context
    ) -> None:
        """Before the alarm: the history goes, whoever is cut off takes a snapshot."""
        await self._forget(revision)
        await self._tell(context, "store-high", _figures(members, self.settings), "warning")

    async def _cure(
        self,
        alarms: Sequence[Alarm],
        members: Sequence[MemberSpace],
        revision: int,
        context: Context,
    ) -> float:
        """After it: forget, defragment every member, and lift the alarm if that made room."""
        await self._forget(revision)
        for member in in_order(members):
            await self._defragment(member)
        after = await self.space.members()
        if len(after) < len(members) or any(
            share(member, self.settings) >= LIFT_BELOW_SHARE for member in after
        ):
            # Lifted now it would be back with the next write; what is in use has to go, or the quota up.
            message = f"{_figures(after, self.settings)} after compaction and defragmentation: raise the quota"
            await self._tell(context, "store-full", message, "error")
            raise Later(message, after_s=ALARM_RETRY_S)
        for alarm in alarms:
            await self.space.disarm(alarm)
        await self._tell(context, "store-cured", _figures(after, self.settings), "warning")
        return ALARM_RETRY_S

    async def _forget(self, revision: int) -> None:
        if revision > self.compacted:
            await self.space.compact(revision)
            self.compacted = revision

    async def _defragment_what_helps(self, context: Context) -> None:
        """One member at a time, and only while all answer: the pause of one must not cost the majority."""
        members = await self.space.members()
        if len(members) < len(self.space.endpoints):
            return
        for member in in_order(members):
            if helps(member, self.settings):
                await self._defragment(member)
                await self._tell(context, "store-defragmented", member.endpoint, "info")

    async def _defragment(self, member: MemberSpace) -> None:
        """And go on only when the member answers again: else the next one would be the second that is away."""
        await self.space.defragment(member.endpoint)
        if member.endpoint not in {answer.endpoint for answer in await self.space.members()}:
            raise Later(f"{member.endpoint} does not answer after its defragmentation", after_s=1.0)

    async def _tell(
        self,
        context: Context,
        kind: str,
        message: str,
        severity: Literal["info", "warning", "error"],
    ) -> None:
        """Once per state, and never in the way: a full store takes no events either."""
        log.log(logging.INFO if severity == "info" else logging.WARNING, "%s: %s", kind, message)
        if severity != "info" and kind == self._told:
            return
        with suppress(StoreError, ContractError):
            await context.event(kind, "store", message, severity)
            self._told = self._told if severity == "info" else kind


def _figures(members: Sequence[MemberSpace], settings: SpaceSettings) -> str:
    return ", ".join(
        f"{m.endpoint} {m.size_bytes / 1e6:.1f} MB, in use {m.in_use_bytes / 1e6:.1f} MB"
        f" of {quota(m, settings) / 1e6:.1f} MB"
        for m in members
    )
