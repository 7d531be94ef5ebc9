"""One link at work: both directions over one channel, until something ends it (an edge).

The same code runs at both ends. Whatever ends a link is an exception of this package with a stable code; it is said to
the peer as a Bye where that still can be. Nothing here dials or listens."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from isthmus.contract.envelope import Stamp
from isthmus.contract.scopes import ExportRoot
from isthmus.federation import link_pb2 as pb
from isthmus.federation.channel import Channel
from isthmus.federation.destination import Destination, PeerDestination
from isthmus.federation.errors import (
    FederationError,
    LinkEnded,
    LinkLost,
    PeerRefused,
    ProtocolViolation,
)
from isthmus.federation.export_pump import ExportPump
from isthmus.federation.filters import DenialLog, ExportFilter, KeyCheck, ScopeFilter
from isthmus.federation.import_pump import ImportPump
from isthmus.federation.limits import LinkLimits
from isthmus.federation.session import Phase, Session
from isthmus.federation.source import PeerSource, Source
from isthmus.federation.status import LinkStatus
from isthmus.federation.terms import LinkTerms
from isthmus.identity.text import visible
from isthmus.kv.errors import StoreError
from isthmus.kv.port import KeyValueStore
from isthmus.policy.quotas import Quota
from isthmus.policy.scopes import Scope

Tap = Callable[[str, pb.Frame], None]
"""Gets every frame with ``sent`` or ``received``, for tests that look for what must not cross."""
Guard = Callable[[], Awaitable[None]]
"""Raises CutOff when the peer's right to the link is over; asked every second (G9)."""
LAST_WORDS_S = 0.25
"""So long an end whose write failed goes on reading; a broken transport ends the reader, too, at once."""
TICK_S = 1.0
"""How often the verdicts are looked at: five seconds are promised for a cut (G9)."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """``monotonic_s`` for waits, ``utc_s`` for envelopes, ``ids`` and ``streams`` for what must be unguessable."""

    monotonic_s: Callable[[], float]
    utc_s: Callable[[], float]
    ids: Callable[[], str]
    streams: Callable[[], int]


@dataclass(frozen=True, slots=True)
class LinkPlan:
    """What one link with a peer does: ``name`` is ours, ``peer`` theirs as the certificate proves it."""

    name: str
    peer: str
    exports: Sequence[ExportRoot]
    sends: Scope
    accepts: Scope
    quota: Quota
    stamp: Stamp
    limits: LinkLimits = field(default_factory=LinkLimits)
    terms: LinkTerms | None = None
    """What the operators agreed on, where they did: it narrows ``sends`` and ``accepts``."""
    session: str = ""
    """This link's own random name, where the caller wants to know it; empty: one is made."""


@dataclass(frozen=True, slots=True)
class Ends:
    """What a link reads from and writes to, and the checks on both ways."""

    name: str
    peer: str
    source: Source
    export: ExportFilter
    destination: Destination
    accept: KeyCheck
    quota: Quota | None
    limits: LinkLimits
    denials: DenialLog
    terms: LinkTerms | None = None


def peer_ends(
    plan: LinkPlan, store: KeyValueStore, clocks: Clocks, denials: DenialLog | None = None
) -> Ends:
    """The ends of a link between two tiers: the contract's roots, ``remote/<peer>/``, a scope each way."""
    denials = denials or DenialLog()
    terms = plan.terms
    return Ends(
        name=plan.name,
        peer=plan.peer,
        source=PeerSource(
            store,
            plan.exports,
            plan.peer,
            stamp=plan.stamp,
            ids=clocks.ids,
            utc_s=clocks.utc_s,
        ),
        export=ExportFilter(
            plan.exports,
            ScopeFilter(plan.sends) if terms is None else terms.export,
            denials,
            values=None if terms is None else terms.export,
            utc_s=clocks.utc_s,
        ),
        destination=PeerDestination(
            store,
            plan.peer,
            session=plan.session or clocks.ids(),
            stamp=plan.stamp,
            limits=plan.limits,
            utc_s=clocks.utc_s,
        ),
        accept=ScopeFilter(plan.accepts) if terms is None else terms.accept,
        quota=plan.quota,
        limits=plan.limits,
        denials=denials,
        terms=terms,
    )


def _broken(tasks: Iterable[asyncio.Task[None]]) -> bool:
    return any(isinstance(task.exception(), LinkLost) for task in tasks)


async def _no_guard() -> None:
    """Nobody is cut."""


class Link:
    """One life of a link over one channel."""

    def __init__(
        self,
        ends: Ends,
        channel: Channel,
        clocks: Clocks,
        *,
        greets_first: bool = True,
        guard: Guard = _no_guard,
        tap: Tap | None = None,
    ) -> None:
        self._peer = ends.peer
        self._agreement = "" if ends.terms is None else ends.terms.title
        self._limits = ends.limits
        self._channel = channel
        self._clocks = clocks
        self._guard = guard
        self._greets_first = greets_first
        self._tap = tap
        self._writing = asyncio.Lock()
        self._since_s = clocks.utc_s()
        self.open_s = 0.0
        """How long both ends had greeted each other, once it is over."""
        self._dismissed: FederationError | None = None
        self._bytes = [0, 0]
        self._frames = [0, 0]
        self.denials = ends.denials
        self.session = Session(ends.name, ends.peer, ends.limits, clocks.monotonic_s())
        self._export = ExportPump(
            ends.source,
            ends.export,
            ends.limits,
            self._send,
            monotonic_s=clocks.monotonic_s,
            utc_ms=lambda: round(clocks.utc_s() * 1000),
            streams=clocks.streams,
            pacer=None if ends.terms is None else ends.terms.pacer,
        )
        self._import = ImportPump(
            ends.destination,
            ends.accept,
            ends.quota,
            ends.limits,
            ends.denials,
            self._send,
            monotonic_s=clocks.monotonic_s,
            values=None if ends.terms is None else ends.terms.accept,
        )

    async def run(self) -> None:
        """Until the link ends: always by raising a FederationError, a StoreError or CancelledError."""
        try:
            await self._admitted()
            await self._work()
        except (FederationError, StoreError) as error:
            await self._say_bye(error)
            raise
        except asyncio.CancelledError:
            if self._dismissed is None:
                raise
            await self._say_bye(self._dismissed)
            raise self._dismissed from None
        finally:
            self.session.phase = Phase.CLOSED
            await self._channel.close()

    def dismiss(self, error: FederationError) -> None:
        """Say in the good-bye that ``error`` is why, when the task of :meth:`run` is cancelled: do that next."""
        self._dismissed = error

    async def _admitted(self) -> None:
        """The greeting, and still a right to it: who greets late may have been revoked since it was let in (G9)."""
        greeting = asyncio.ensure_future(self._greet())
        try:
            while not (await asyncio.wait([greeting], timeout=TICK_S))[0]:
                await self._guard()
            await greeting
            await self._guard()
        finally:
            greeting.cancel()
            await asyncio.gather(greeting, return_exceptions=True)

    async def _greet(self) -> None:
        """Who was called greets second: a caller that is refused must not be writing when it is told why (its call
        would break with an error that says nothing). The caller is the more patient: a gateway that a thousand sites
        call at once gets to each in its turn, and who gives up too soon and calls again makes the queue longer."""
        patience_s = self._limits.lost_after_s
        if self._greets_first:
            patience_s = max(patience_s, self._limits.stalled_after_s)
            await self._send(self.session.hello())
        try:
            async with asyncio.timeout(patience_s):
                frame = await self._receive()
        except TimeoutError:
            raise LinkLost("no greeting came") from None
        self.session.greeted(frame)
        if not self._greets_first:
            await self._send(self.session.hello())
        self._since_s = self._clocks.utc_s()

    async def _work(self) -> None:
        opened_at_s = self._clocks.monotonic_s()
        await self._import.open()
        loop = asyncio.get_running_loop()
        tasks = [
            loop.create_task(work)
            for work in (
                self._read(),
                self._watch_over(),
                self._beat(),
                self._export.run(),
                self._import.run(),
            )
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            reading, watching = tasks[:2]
            if reading not in done and watching not in done and _broken(done):
                # Who writes into a call that is ending fails before the good-bye is read that says why it ends.
                done |= (await asyncio.wait([reading], timeout=LAST_WORDS_S))[0]
        finally:
            self.open_s = self._clocks.monotonic_s() - opened_at_s
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in tasks:  # not `done`: a set has another order in each process
            if task in done:
                task.result()
        raise LinkLost("the link stopped by itself")

    async def _read(self) -> None:
        while True:
            frame = await self._receive()
            self.session.heard(self._clocks.monotonic_s())
            self._dispatch(frame)

    def _dispatch(self, frame: pb.Frame) -> None:
        match frame.WhichOneof("kind"):
            case "batch":
                self._import.on_batch(frame.batch)
            case "ack":
                self._export.on_ack(frame.ack)
            case "beat":
                self._import.on_beat(frame.beat)
            case "begin":
                self._import.on_begin(frame.begin)
            case "end":
                self._import.on_end(frame.end)
            case "resume":
                self._export.on_resume(frame.resume)
            case "compare":
                self._export.on_compare(frame.compare)
            case "bye":
                raise LinkEnded(frame.bye.code[:64], visible(frame.bye.detail))
            case kind:
                raise ProtocolViolation("kind", f"a frame of kind {kind} cannot come here")

    async def _watch_over(self) -> None:
        """The verdicts; they wait for nothing that a peer can hold up."""
        while True:
            await asyncio.sleep(min(TICK_S, self._limits.beat_s))
            now_s = self._clocks.monotonic_s()
            self.session.check_alive(now_s)
            await self._guard()
            if self._export.stalled(now_s):
                raise LinkLost("nothing was acknowledged for too long")
            if self._import.unanswered(now_s):
                raise LinkLost("the peer began no stream")

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._limits.beat_s)
            await self._send(self._export.beat())

    async def _send(self, frame: pb.Frame) -> None:
        data = frame.SerializeToString()
        async with self._writing:
            try:
                async with asyncio.timeout(self._limits.stalled_after_s):
                    await self._channel.send(data)
            except TimeoutError:
                raise LinkLost("the peer does not read") from None
        self._count(0, data, "sent", frame)

    async def _receive(self) -> pb.Frame:
        data = await self._channel.receive()
        if data is None:
            raise LinkLost("the peer closed the stream")
        if len(data) > self._limits.frame_bytes:
            raise ProtocolViolation("frame-bytes", f"a frame of {len(data)} bytes")
        try:
            frame = pb.Frame.FromString(data)
        except DecodeError:
            raise ProtocolViolation("malformed", "a frame that cannot be decoded") from None
        self._count(1, data, "received", frame)
        return frame

    def _count(self, way: int, data: bytes, what: str, frame: pb.Frame) -> None:
        self._bytes[way] += len(data)
        self._frames[way] += 1
        if self._tap is not None:
            self._tap(what, frame)

    async def _say_bye(self, error: FederationError | StoreError) -> None:
        """Tell the peer, if it can still be told; details of refusals and of our store stay here."""
        if isinstance(error, LinkLost | LinkEnded):
            return
        code = error.code if isinstance(error, FederationError) else "store"
        open_book = isinstance(error, ProtocolViolation | PeerRefused)
        bye = pb.Bye(code=code, detail=str(error)[:200] if open_book else "")
        with contextlib.suppress(LinkLost, TimeoutError):
            async with asyncio.timeout(1.0):
                await self._channel.send(pb.Frame(bye=bye).SerializeToString())

    def status(self) -> LinkStatus:
        """This moment."""
        exporter, importer = self._export.exporter, self._import.importer
        now = self._clocks.utc_s()
        opened = self.session.phase is Phase.OPEN
        status = LinkStatus(
            peer=self._peer,
            state=self.session.phase.value,
            connected=opened,
            version=self.session.version,
            since=self._since_s,
            as_of=now,
            silent_s=self.session.silent_s(self._clocks.monotonic_s()),
            bytes_sent=self._bytes[0],
            bytes_received=self._bytes[1],
            frames_sent=self._frames[0],
            frames_received=self._frames[1],
            keys_exported=len(exporter.known),
            items_sent=exporter.items_sent,
            pending_keys=exporter.pending_keys,
            in_flight_bytes=exporter.in_flight_bytes,
            through_sent=exporter.through,
            denied=dict(self.denials.counts),
            newest_denials=tuple(self.denials.newest),
            agreement=self._agreement,
        )
        if importer is None:
            return status
        return status.model_copy(
            update={
                "lag_ms": max(0.0, now * 1000 - importer.source_ms) if importer.source_ms else 0.0,
                "keys_imported": len(importer.known),
                "items_received": importer.items_received,
                "through_received": importer.through,
                "synced": importer.synced,
                "digests_equal": importer.digests_equal,
                "resyncs": importer.resyncs,
                "repairs": importer.repairs,
                "slowed_s": self._import.slowed_s,
            }
        )
