"""The site's end: dial a gateway, run the link, dial again (DESIGN section 6: edge sites sit behind NAT, so they dial).

Each dial is a channel of its own, resolved anew; of a name with several addresses any is tried first and the others
soon after, several names are tried in turn. How long to wait in between says :mod:`isthmus.federation.backoff`. The
gateway is known by its server name, which only its tier's authority may sign, and greets with the name we expect.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from isthmus.contract.envelope import Stamp
from isthmus.contract.scopes import site_exports
from isthmus.federation.accord import Accords
from isthmus.federation.backoff import ending, pause_s
from isthmus.federation.destination import quarantine
from isthmus.federation.errors import (
    AgreementChanged,
    AgreementRefused,
    CutOff,
    FederationError,
)
from isthmus.federation.filters import DenialLog
from isthmus.federation.link import Clocks, Link, LinkPlan, Tap, peer_ends
from isthmus.federation.settings import SiteLinkSettings
from isthmus.federation.standing import Standing
from isthmus.federation.status import LinkStatus
from isthmus.federation.terms import LinkTerms
from isthmus.federation.transport import ANY_ADDRESS, ClientChannel, channel_options
from isthmus.identity import Identity
from isthmus.kv.errors import StoreError
from isthmus.kv.port import KeyValueStore
from isthmus.trust.errors import TrustError
from isthmus.trust.workload import CERT, KeyAndCert, load


class Renewed(FederationError):
    """Our certificate was renewed: dial again with the new one, at once."""

    code = "renewed"


class SiteLink:
    """Dials until cancelled. ``jitter`` gives numbers from 0 to 1; ``sleep`` waits between dials."""

    def __init__(
        self,
        settings: SiteLinkSettings,
        store: KeyValueStore,
        clocks: Clocks,
        *,
        jitter: Callable[[], float],
        tap: Tap | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._sleep = sleep
        self._settings = settings
        self._store = store
        self._clocks = clocks
        self._jitter = jitter
        self._tap = tap
        self._peer = settings.peer.peer()
        self._link: Link | None = None
        """The newest one, for the status; it may have ended."""
        self._made: Link | None = None
        """What the present dial made, if it came so far."""
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
            wait_s, self._made = 0.0, None
            try:
                await self._once(address)
            except (Renewed, AgreementChanged):
                failures = 0
            except (FederationError, StoreError, TrustError, OSError) as error:
                failures = 0 if self._lasted() else failures + 1
                self._last_error = f"{getattr(error, 'code', 'store')}: {error}"
                pauses = self._settings.pauses()
                wait_s = pause_s(pauses, ending(error), failures, self._jitter())
            await self._sleep(wait_s)

    def _lasted(self) -> bool:
        """Did this dial give a link that was open for longer than a beat? One that dies at once is a failure, too; and
        the link of an earlier dial says nothing about this one."""
        return self._made is not None and self._made.open_s > self._settings.limits.beat_s

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
            self._link = self._made = Link(
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
            ("grpc.service_config", ANY_ADDRESS),
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


__all__ = ["Renewed", "SiteLink"]
