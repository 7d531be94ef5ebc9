"""The tier's end: a gRPC server that lets listed peers in by their certificate and runs a link with each (G8, G9).

The peer's name comes from its certificate and the table, never from a frame. A new stream of a peer replaces the
old one, which may be half dead behind a cut. What is refused is counted by reason; what a stranger may cost is bounded
by the transport's options.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
from collections import Counter
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from isthmus.contract.envelope import Stamp
from isthmus.contract.scopes import tier_exports
from isthmus.federation.accord import Accords
from isthmus.federation.destination import quarantine
from isthmus.federation.errors import (
    AgreementRefused,
    CutOff,
    FederationError,
    PeerRefused,
    ProtocolViolation,
    Stopping,
    Superseded,
)
from isthmus.federation.holders import Holders
from isthmus.federation.link import TICK_S, Clocks, Link, LinkPlan, Tap, peer_ends
from isthmus.federation.seats import Seat, answer, vacate
from isthmus.federation.server_tls import ServerTls
from isthmus.federation.settings import GatewaySettings
from isthmus.federation.standing import Standing
from isthmus.federation.status import LinkStatus
from isthmus.federation.terms import LinkTerms
from isthmus.federation.transport import SERVICE, ServerChannel, server_options
from isthmus.kv.errors import StoreError
from isthmus.kv.port import KeyValueStore
from isthmus.policy.errors import PeerUnknown
from isthmus.policy.peers import Peer, PeerTable
from isthmus.trust import PeerRefused as CertificateRefused
from isthmus.trust import VerifiedPeer, presented_chain
from isthmus.trust.workload import load

log = logging.getLogger("isthmus.federation")
STOPS = "this gateway stops"
ROUNDS_A_LOOK = 5
"""Where an absent peer is, is asked every so many rounds: a thousand sites are two hundred small reads a second."""
LOOKS = 3
"""Rounds within which a gateway that took a peer over has told so."""
TapOf = Callable[[str], Tap | None]


class Gateway:
    """Serves until :meth:`stop`. ``port`` is known after :meth:`start`."""

    def __init__(
        self,
        settings: GatewaySettings,
        store: KeyValueStore,
        clocks: Clocks,
        *,
        tap_of: TapOf = lambda peer: None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._clocks = clocks
        self._tap_of = tap_of
        self._identity = load(settings.credentials).identity
        self._table = settings.table()
        self._seats: dict[str, Seat] = {}
        self._server: Any = None
        self._holders: Holders
        self._elsewhere: dict[str, str] = {}
        self.standing = Standing(
            settings.bundles,
            settings.revocations,
            clocks.utc_s,
            own_domain=self._identity.trust_domain,
            partner_list_max_age_s=settings.partner_list_max_age_s,
        )
        self._listed = {one.name: one for one in settings.peers}
        self._accords = Accords(
            settings,
            self._identity.trust_domain,
            lambda: load(settings.credentials).ca_pem,
            self.standing,
            clocks.utc_s,
        )
        self.tls = ServerTls(settings.credentials, tuple(settings.bundles.values()), self.standing)
        self.refused: Counter[str] = Counter()
        """By reason: who had no certificate of ours or no place in the table, who claimed another name or sent what
        must not be, who was cut off. What TLS itself turns away never gets here."""
        self.port = 0
        self._judging: asyncio.Task[None] | None = None
        self.stopping = False
        """Told to stop: nobody is let in any more."""

    async def start(self) -> None:
        """Listen."""
        clocks = self._clocks
        self._holders = Holders(self._store, clocks.ids(), stamp=self._stamp, utc_s=clocks.utc_s)
        self._server = grpc.aio.server(
            options=server_options(
                self._settings.limits,
                handshake_timeout_ms=self._settings.handshake_timeout_ms,
                max_streams=self._settings.max_streams,
            )
        )
        handler = grpc.stream_stream_rpc_method_handler(self._open)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {"Open": handler}),)
        )
        self.port = self._server.add_secure_port(self._settings.listen, self.tls.credentials())
        self._holders.gateway = self._settings.label or f"{socket.gethostname()}:{self.port}"
        await self._server.start()
        self._judging = asyncio.get_running_loop().create_task(self._judge_absent())

    async def stop(self, grace_s: float = 1.0) -> None:
        """Listen no more, tell every peer to go to another gateway, end. A call that comes now hears the same."""
        self.stopping = True
        loop = asyncio.get_running_loop()
        if self._judging is not None:
            self._judging.cancel()
            await asyncio.gather(self._judging, return_exceptions=True)
        ending = None if self._server is None else loop.create_task(self._server.stop(grace_s))
        await asyncio.sleep(0)  # the door is shut before anybody is told to knock
        for seat in self._seats.values():
            if seat.task is not None and seat.link is not None:
                seat.link.dismiss(Stopping(STOPS))
                seat.task.cancel()
        if ending is not None:
            await ending
            await self._holders.close()
        marking = [seat.marking for seat in self._seats.values() if seat.marking is not None]
        await asyncio.gather(*marking, return_exceptions=True)

    def replace_peers(self, table: PeerTable) -> None:
        """A new list of peers is in force; links admitted under another version are cut and may come back."""
        self._table = table

    def status(self) -> tuple[LinkStatus, ...]:
        """One line per listed peer, connected or not."""
        return tuple(self._status_of(peer) for peer in self._table.peers)

    def _status_of(self, peer: Peer) -> LinkStatus:
        seat = self._seats.get(peer.name)
        if seat is None:
            now, more = None, {}
        else:
            now = seat.link.status() if seat.link is not None else seat.last
            more = {
                "reconnects": max(0, seat.connects - 1),
                "quarantined": seat.owed or seat.marked,
            }
        if now is None:
            state = "absent" if seat is None else "closed"
            now = LinkStatus(peer=peer.name, state=state, as_of=self._clocks.utc_s())
        if seat is None or seat.link is None:
            where = self._elsewhere.get(peer.name, "")
            more |= {"state": "elsewhere", "gateway": where} if where else {}
        return now.model_copy(update=more)

    # -- one call

    async def _open(self, _requests: Any, context: Any) -> None:
        try:
            verified, peer = self._admit(context.auth_context())
        except CertificateRefused as refused:
            self.refused[refused.code] += 1
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, refused.code)
        except PeerUnknown as unknown:
            self.refused[unknown.code] += 1
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, unknown.code)
        except CutOff as cut:
            self.refused[cut.code] += 1
            await context.abort(*answer(cut))
        try:
            await self._serve(verified, peer, context)
        except (FederationError, StoreError) as error:
            await context.abort(*answer(error))

    def _admit(self, auth_context: Any) -> tuple[VerifiedPeer, Peer]:
        chain = presented_chain(auth_context)
        verified = self.standing.verify(chain, self._table.version)
        peer = self._table.find(verified.identity)
        # Who would be cut a second later is not let in for that second, again at each dialling.
        self.standing.check(verified, self._table.version)
        return verified, peer

    async def _serve(self, verified: VerifiedPeer, peer: Peer, context: Any) -> None:
        seat = self._seats.setdefault(peer.name, Seat())
        await vacate(seat)
        self.standing.check(verified, self._table.version)  # waiting took its time
        seat.connects += 1
        terms = await self._agreed(peer, seat)
        await vacate(seat)  # the store was asked meanwhile
        if self.stopping:
            raise Stopping(STOPS)
        session = self._clocks.ids()
        plan = self._plan(peer, terms, session)
        link = Link(
            peer_ends(plan, self._store, self._clocks, seat.denials),
            ServerChannel(context),
            self._clocks,
            greets_first=False,
            guard=self._guard(verified, peer, terms),
            tap=self._tap_of(peer.name),
        )
        task = asyncio.get_running_loop().create_task(link.run())
        seat.begin(task, link, session)
        try:
            await task
        except asyncio.CancelledError:
            if not task.cancelled():
                raise  # the call itself was cancelled: the peer is gone
            if self.stopping:
                raise Stopping(STOPS) from None
            raise Superseded("a newer link of this peer") from None
        except FederationError as error:
            if isinstance(error, (CutOff, PeerRefused, ProtocolViolation)):
                self.refused[error.code] += 1
            if seat.link is link:  # else a newer one was judged good since
                # Said before it is marked: who hears it hangs up, and ends this call in mid-mark.
                text = f"{error.code}: {error}"
                seat.last = link.status().model_copy(update={"last_error": text})
                if isinstance(error, (CutOff, AgreementRefused)):
                    seat.judged = session
                    await self._quarantine(peer, seat, error)
            raise
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            if seat.link is link:
                error_text = seat.last.last_error if seat.last is not None else ""
                seat.last = link.status().model_copy(update={"last_error": error_text})
                seat.link = seat.task = None

    async def _agreed(self, peer: Peer, seat: Seat) -> LinkTerms | None:
        """The agreement with a peer that needs one; without it nothing starts, and what we hold of it is marked."""
        try:
            listed = self._listed.get(peer.name)
            return await self._accords.enter(peer, listed, self._store, self._stamp())
        except AgreementRefused as refused:
            self.refused[refused.code] += 1
            seat.judged = None
            await self._refuse(peer, seat, refused)
            raise

    async def _refuse(self, peer: Peer, seat: Seat, refused: CutOff | AgreementRefused) -> None:
        seat.last = LinkStatus(
            peer=peer.name,
            state="refused",
            as_of=self._clocks.utc_s(),
            last_error=f"{refused.code}: {refused}",
        )
        await self._quarantine(peer, seat, refused)

    async def _judge_absent(self) -> None:
        """A peer whose end saw first that it is over dials no more, or was away when it was revoked; what we hold of it
        ends all the same, by our own clock and our own copies. Marks that our store did not take are tried again."""
        for round_ in itertools.count():
            await asyncio.sleep(TICK_S)
            await self._share(round_)
            for peer in self._table.peers:
                try:
                    await self._judge(peer)
                except Exception:
                    # One peer's trouble must not leave the others unjudged for ever.
                    log.exception("%s: its standing could not be judged", peer.name)

    async def _judge(self, peer: Peer) -> None:
        seat = self._seats.get(peer.name)
        if seat is not None and seat.link is not None:
            return
        over = await self._over(peer)
        seat = self._seats.get(peer.name)
        if seat is not None and seat.link is not None:
            return  # it came meanwhile, and was judged
        if over is not None:
            seat = self._seats.setdefault(peer.name, Seat())
            if await self._is_next_door(peer, seat) or seat.link is not None:
                return
            if over.code not in (seat.marked, seat.owed):
                await self._refuse(peer, seat, over)
                return
        if seat is not None and seat.owed:
            await self._try_mark(peer, seat)

    async def _is_next_door(self, peer: Peer, seat: Seat) -> bool:
        """Another gateway of this tier has the link, and judges it: what we know may be older. One that took over a
        moment ago has not told yet; so a session that is not of ours is looked at for some rounds."""
        try:
            held = await self._holders.look(peer.name)
        except StoreError as error:
            log.warning("%s: not judged yet: %s", peer.name, error)
            return True
        if seat.link is not None:
            return False  # here, since
        seat.saw(held.session)
        strange = held.session not in ("", seat.session) and seat.looks < LOOKS
        return bool(held.gateway) or strange

    async def _share(self, round_: int) -> None:
        """Tell the other gateways of this tier what is here, and hear in turns where is what is not."""
        try:
            lease_id = await self._holders.lease_id()
            for number, peer in enumerate(self._table.peers):
                seat = self._seats.get(peer.name)
                if seat is not None and (seat.link is not None or seat.told):
                    self._elsewhere.pop(peer.name, None)
                    await self._holders.share(peer.name, seat, lease_id)
                elif number % ROUNDS_A_LOOK == round_ % ROUNDS_A_LOOK:
                    held = await self._holders.look(peer.name)
                    self._elsewhere[peer.name] = held.gateway
                    if held.gateway and seat is not None:
                        seat.owed = seat.marked = ""  # its link took the mark away
        except StoreError as error:
            log.warning("who has which link: not told or not heard: %s", error)

    async def _over(self, peer: Peer) -> CutOff | AgreementRefused | None:
        """Why a peer that is not here would not be let in, whatever certificate it shows; None when it might be."""
        self.standing.refresh()
        if str(peer.identity) in self.standing.revocations.identities:
            return CutOff("revoked", f"identity {peer.identity} is revoked")
        listed = self._listed.get(peer.name)
        try:
            await self._accords.recall(peer, listed, self._store)
            self._accords.terms(peer, listed)
        except AgreementRefused as refused:
            return refused
        except StoreError as error:
            log.warning("%s: not judged yet: %s", peer.name, error)
        return None

    def _stamp(self) -> Stamp:
        return Stamp(origin=str(self._identity), incarnation=self._clocks.ids())

    def _plan(self, peer: Peer, terms: LinkTerms | None, session: str) -> LinkPlan:
        return LinkPlan(
            name=self._settings.name,
            peer=peer.name,
            exports=tier_exports(peer.name),
            sends=peer.sends,
            accepts=peer.accepts,
            quota=peer.quota,
            stamp=self._stamp(),
            limits=self._settings.limits,
            terms=terms,
            session=session,
        )

    def _guard(
        self, verified: VerifiedPeer, peer: Peer, terms: LinkTerms | None
    ) -> Callable[[], Any]:
        async def guard() -> None:
            self.standing.check(verified, self._table.version)
            self._accords.check(peer, terms)

        return guard

    async def _quarantine(self, peer: Peer, seat: Seat, cut: CutOff | AgreementRefused) -> None:
        """What we hold of a peer that lost its right is marked, so that no reader takes it for current (G9)."""
        if cut.code != "policy-changed":
            seat.owed = cut.code
            await self._try_mark(peer, seat)

    async def _try_mark(self, peer: Peer, seat: Seat) -> None:
        """One attempt at the mark that is owed. Not by the call itself: who hears that he is cut hangs up, and that
        cancels the call in mid-write."""
        if seat.marking is None or seat.marking.done():
            seat.marking = asyncio.get_running_loop().create_task(self._mark(peer, seat))
        await asyncio.shield(seat.marking)

    async def _mark(self, peer: Peer, seat: Seat) -> None:
        code = seat.owed
        as_of = self._clocks.utc_s()
        try:
            await quarantine(
                self._store,
                peer.name,
                code,
                stamp=self._stamp(),
                as_of=as_of,
                session=seat.judged,
            )
        except StoreError as error:
            log.warning("%s: not marked yet as %s: %s", peer.name, code, error)
            return
        seat.marked = code
        if seat.owed == code:
            seat.owed = ""
