"""The site's end: dial a gateway, run the link, dial again (DESIGN section 6: edge sites sit behind NAT, so they dial).

Each dial is a connection of its own, resolved anew; several gateways are tried in turn. Pauses are jittered and short
after a loss, long after a refusal that dialling cannot change. The gateway is known by its server name, which only
its tier's authority may sign, and greets with the name we expect.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from isthmus.contract.envelope import Stamp
from isthmus.contract.scopes import site_exports
from isthmus.federation.accord import Accords
from isthmus.federation.destination import quarantine
from isthmus.federation.errors import (
    AGREEMENT_CODES,
    AgreementChanged,
    AgreementRefused,
    CutOff,
    FederationError,
    LinkEnded,
    LinkLost,
    PeerRefused,
)
from isthmus.federation.filters import DenialLog
from isthmus.federation.link import Clocks, Link, LinkPlan, Tap, peer_ends
from isthmus.federation.session import Phase
from isthmus.federation.settings import SiteLinkSettings
from isthmus.federation.standing import Standing
from isthmus.federation.status import LinkStatus
from isthmus.federation.terms import LinkTerms
from isthmus.federation.transport import ClientChannel, channel_options
from isthmus.identity import Identity
from isthmus.kv.errors import StoreError
from isthmus.kv.port import KeyValueStore
from isthmus.trust.errors import TrustError
from isthmus.trust.workload import CERT, KeyAndCert, load

REFUSING_CODES = AGREEMENT_CODES | {
    "claim-refused",
    "version-refused",
    "peer-refused",
    "denials",
    "revoked",
    "expired",
}


class Renewed(FederationError):
    """Our certificate was renewed: dial again with the new one, at once."""

    code = "renewed"


class SiteLink:
    """Dials until cancelled. ``jitter`` gives numbers from 0 to 1."""

    def __init__(
        self,
        settings: SiteLinkSettings,
        store: KeyValueStore,
        clocks: Clocks,
        *,
        jitter: Callable[[], float],
        tap: Tap | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._clocks = clocks
        self._jitter = jitter
        self._tap = tap
        self._peer = settings.peer.peer()
        self._link: Link | None = None
        self._last_error = self._doubt = ""
        self._dials = 0
        self._denials = DenialLog()
        self._standing = Standing(
            settings.bundles,
            settings.revocations,
            clocks.utc_s,
            own_domain=self._peer.identity.trust_domain,
        )
        self._accords: Accords | None = None

    async def run(self) -> None:
        """Dial, link, pause, for ever."""
        failures = 0
        for address in itertools.cycle(self._settings.dial):
            opened_at_s = self._clocks.monotonic_s()
            pause_s = 0.0
            try:
                await self._once(address)
            except (Renewed, AgreementChanged):
                failures = 0
            except (FederationError, StoreError, TrustError, OSError) as error:
                lasted = self._clocks.monotonic_s() - opened_at_s > self._settings.limits.beat_s
                failures = 0 if lasted and self._was_open() else failures + 1
                self._last_error = f"{getattr(error, 'code', 'store')}: {error}"
                pause_s = self._pause_s(error, failures)
            await asyncio.sleep(pause_s)

    def status(self) -> LinkStatus:
        """This moment."""
        if self._link is None:
            state = LinkStatus(peer=self._peer.name, state="dialling", as_of=self._clocks.utc_s())
        else:
            state = self._link.status()
        return state.model_copy(
            update={
                "reconnects": max(0, self._dials - 1),
                "last_error": self._last_error,
                "quarantined": self._doubt,
            }
        )

    async def _once(self, address: str) -> None:
        self._dials += 1
        held = load(self._settings.credentials)
        channel: ClientChannel | None = None
        try:
            self._check_gateway()
            accords = self._agreed(held.identity)
            stamp = Stamp(origin=str(held.identity), incarnation=self._clocks.ids())
            terms = await accords.enter(self._peer, self._settings.peer, self._store, stamp)
            channel = ClientChannel(self._connect(address, held))
            await channel.open(self._settings.connect_timeout_s)
            plan = self._plan(held.identity, terms)
            self._link = Link(
                peer_ends(plan, self._store, self._clocks, self._denials),
                channel,
                self._clocks,
                guard=self._guard(held, accords, terms),
                tap=self._tap,
            )
            self._doubt = ""
            await self._link.run()
        except (AgreementRefused, CutOff) as refused:
            if (
                refused.code != "expired"
            ):  # our own certificate's end says nothing about the gateway
                await self._quarantine(held.identity, refused.code)
            raise
        finally:
            if channel is not None:
                await channel.close()

    def _agreed(self, own: Identity) -> Accords:
        """What the operators agreed on; kept over lives of the link, with its newest version and its rate."""
        if self._accords is None:
            self._accords = Accords(
                self._settings,
                own.trust_domain,
                lambda: load(self._settings.credentials).ca_pem,
                self._standing,
                self._clocks.utc_s,
            )
        return self._accords

    def _check_gateway(self) -> None:
        self._standing.refresh()
        gateway = str(self._peer.identity)
        if gateway in self._standing.revocations.identities:
            raise CutOff("revoked", f"{gateway} is revoked")

    async def _quarantine(self, own: Identity, code: str) -> None:
        """What we hold of the peer is marked, so that no reader takes it for current (G9)."""
        self._doubt = code
        stamp = Stamp(origin=str(own), incarnation=self._clocks.ids())
        with contextlib.suppress(StoreError):
            await quarantine(
                self._store, self._peer.name, code, stamp=stamp, as_of=self._clocks.utc_s()
            )

    def _connect(self, address: str, held: KeyAndCert) -> Any:
        credentials = grpc.ssl_channel_credentials(
            root_certificates=self._standing.roots_pem(),
            private_key=held.key_pem,
            certificate_chain=held.cert_pem,
        )
        proxy = self._settings.proxy
        options = [
            *channel_options(self._settings.limits),
            ("grpc.http_proxy", f"http://{proxy}") if proxy else ("grpc.enable_http_proxy", 0),
            ("grpc.ssl_target_name_override", self._peer.identity.server_name),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_retries", 0),
        ]
        return grpc.aio.secure_channel(address, credentials, options=options)

    def _plan(self, identity: Identity, terms: LinkTerms | None) -> LinkPlan:
        return LinkPlan(
            name=self._settings.name,
            peer=self._peer.name,
            exports=site_exports(self._peer.name),
            sends=self._peer.sends,
            accepts=self._peer.accepts,
            quota=self._peer.quota,
            stamp=Stamp(origin=str(identity), incarnation=self._clocks.ids()),
            limits=self._settings.limits,
            terms=terms,
        )

    def _guard(
        self, held: KeyAndCert, accords: Accords, terms: LinkTerms | None
    ) -> Callable[[], Any]:
        """Our own certificate: dial again with a newer one; stop with an ended one."""

        seen: tuple[int, ...] = ()  # the first look reads: it may have changed since we dialled

        async def guard() -> None:
            nonlocal seen
            if (now := self._seen()) != seen:
                seen = now
                try:
                    newest = load(self._settings.credentials)
                except TrustError:
                    newest = held
                    seen = ()  # half written, perhaps: look again
            else:
                newest = held
            if newest.serial != held.serial:
                raise Renewed("dialling again with the renewed certificate")
            if self._clocks.utc_s() > held.validity.not_after_s:
                raise CutOff("expired", "our own certificate has ended; enroll again")
            self._check_gateway()
            accords.check(self._peer, terms)

        return guard

    def _seen(self) -> tuple[int, ...]:
        """Which certificate lies there; reading and checking it each second would cost more than the link itself."""
        try:
            status = (self._settings.credentials / CERT).stat()
        except OSError:
            return ()
        return (status.st_mtime_ns, status.st_ino)

    def _was_open(self) -> bool:
        link = self._link
        return link is not None and (link.session.version > 0 or link.session.phase is Phase.OPEN)

    def _pause_s(self, error: Exception, failures: int) -> float:
        settings = self._settings
        refused = isinstance(error, PeerRefused | CutOff) or (
            isinstance(error, LinkEnded) and error.code in REFUSING_CODES
        )
        if refused:
            return settings.refused_backoff_s * (0.5 + self._jitter())
        ceiling_s = settings.backoff_min_s * 2.0 ** min(failures, 10)
        return min(settings.backoff_max_s, ceiling_s) * (0.5 + self._jitter() / 2)


__all__ = ["LinkLost", "Renewed", "SiteLink"]
