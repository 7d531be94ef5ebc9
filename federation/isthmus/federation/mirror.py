"""A mirror anybody can use: one prefix of any etcd into any other, by the federation's own machinery (issue 7).

The same exporter, mutually authenticated link and importer as between two tiers, but over raw keys and without any
key of its own in either store. So there is no resume token: whenever a history breaks (store lost for long,
compacted, restored), both sides compare digests and only what differs crosses again. A *witness*, the newest change
seen, tells after each lost connection whether the source is still the same. The link's certificates live as long as
the process and never touch a disk.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import grpc
import grpc.aio
from pydantic import BaseModel, ConfigDict, model_validator

from isthmus.federation.errors import FederationError, LinkEnded, LinkLost
from isthmus.federation.filters import DenialLog, ExportFilter
from isthmus.federation.link import Clocks, Ends, Link
from isthmus.federation.raw_ends import (
    LIMITS,
    MAX_VALUE_BYTES,
    DenyAll,
    NoDestination,
    NoSource,
    RawCheck,
    RawDestination,
    RawSource,
    Synced,
)
from isthmus.federation.transport import (
    SERVICE,
    ClientChannel,
    ServerChannel,
    channel_options,
    server_options,
)
from isthmus.identity import Identity, LeafRequest, TrustDomain, Usage
from isthmus.kv.errors import (
    PermissionDenied,
    StoreError,
    Unauthenticated,
)
from isthmus.kv.etcd import EtcdStore
from isthmus.kv.settings import EtcdSettings
from isthmus.trust import TrustBundles, ca, presented_chain, random_serial, verify_peer

DOMAIN = TrustDomain("mirror.localhost")
SOURCE = Identity.of_site(DOMAIN, "source", "exporter")
DESTINATION = Identity.of_site(DOMAIN, "destination", "importer")
RETRY_S = 0.3


class MirrorSettings(BaseModel):
    """``prefix`` at ``source`` becomes ``dest_prefix`` (None: the same) at ``destination``; what begins with one of
    ``exclude`` (as named at the source) is left alone. Everything else below ``dest_prefix`` is made equal: what the
    source does not have is removed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: EtcdSettings
    destination: EtcdSettings
    prefix: str = ""
    dest_prefix: str | None = None
    exclude: tuple[str, ...] = ()

    @property
    def target(self) -> str:
        """The prefix at the destination."""
        return self.prefix if self.dest_prefix is None else self.dest_prefix

    @model_validator(mode="after")
    def _no_loop(self) -> Self:
        one, two = self.prefix, self.target
        if set(self.source.endpoints) & set(self.destination.endpoints) and (
            one.startswith(two) or two.startswith(one)
        ):
            raise ValueError(
                f"--dest-prefix {two!r}: within one store it must not overlap --prefix {one!r}; "
                "the mirror would copy its own copy"
            )
        return self


@dataclass(frozen=True, slots=True)
class _Passport:
    key: bytes
    chain: bytes


class _Notary:
    """An authority for one process: root and one tier each, in memory only."""

    def __init__(self, now_s: float) -> None:
        self._now_s = now_s
        self._root = ca.create_root(DOMAIN, ca.new_key(), now_s=now_s, serial=random_serial())
        self.bundle = ca.pem([self._root.certificate])
        self.bundles = TrustBundles.of_pem(1, {DOMAIN: self.bundle})

    def passport(self, identity: Identity) -> _Passport:
        """A leaf for ``identity``."""
        key, tier_key = ca.new_key(), ca.new_key()
        tier = ca.create_tier(
            self._root, identity.realm, tier_key, now_s=self._now_s, serial=random_serial()
        )
        leaf = ca.issue_leaf(
            tier, LeafRequest(identity), key.public_key(), now_s=self._now_s, serial=random_serial()
        )
        return _Passport(ca.key_pem(key), ca.pem([leaf, *tier.chain]))


class Mirror:
    """Runs both ends until cancelled."""

    def __init__(
        self,
        settings: MirrorSettings,
        clocks: Clocks,
        *,
        on_synced: Callable[[Synced], None] = lambda synced: None,
        on_trouble: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._settings = settings
        self._clocks = clocks
        self._on_synced = on_synced
        self._on_trouble = on_trouble
        self._told = False
        self._refused: StoreError | None = None
        self._exported = asyncio.Event()
        self._exported.set()
        self.link: Link | None = None

    async def run(self) -> None:
        """For ever; raises PermissionDenied or Unauthenticated when a store will not have us."""
        source = EtcdStore.connect(self._settings.source)
        destination = EtcdStore.connect(self._settings.destination)
        try:
            while True:
                try:
                    await self._live(source, destination)
                except (PermissionDenied, Unauthenticated):
                    raise
                except (FederationError, StoreError) as error:
                    self._trouble(error)
                await asyncio.sleep(RETRY_S)
        finally:
            await source.aclose()
            await destination.aclose()

    async def _live(self, source: EtcdStore, destination: EtcdStore) -> None:
        """One life of the link. Its certificates are made for it: they live a day, a mirror may run for years."""
        notary = _Notary(self._clocks.utc_s())
        server = grpc.aio.server(
            options=server_options(LIMITS, handshake_timeout_ms=2000, max_streams=2)
        )
        try:
            port = self._listen(server, source, notary)
            await server.start()
            await self._import(port, destination, notary)
        except FederationError:
            await self._verdict()
            raise
        finally:
            await server.stop(0)

    def _listen(self, server: Any, source: EtcdStore, notary: _Notary) -> int:
        passport = notary.passport(SOURCE)

        async def export(_: Any, context: Any) -> None:
            peer = verify_peer(
                presented_chain(context.auth_context()),
                notary.bundles,
                self._clocks.utc_s(),
                usage=Usage.CLIENT,
            )
            if peer != DESTINATION:
                await context.abort(grpc.StatusCode.PERMISSION_DENIED, "peer-unknown")
            await self._export(source, ServerChannel(context))

        handler = grpc.stream_stream_rpc_method_handler(export)
        handlers = grpc.method_handlers_generic_handler(SERVICE, {"Open": handler})
        server.add_generic_rpc_handlers((handlers,))
        credentials = grpc.ssl_server_credentials(
            [(passport.key, passport.chain)],
            root_certificates=notary.bundle,
            require_client_auth=True,
        )
        port: int = server.add_secure_port("127.0.0.1:0", credentials)
        return port

    async def _export(self, store: EtcdStore, channel: ServerChannel) -> None:
        denials = DenialLog()
        settings = self._settings
        source = RawSource(store, settings.prefix)
        check = RawCheck(settings.prefix, settings.exclude)
        export = ExportFilter(source.roots, check, denials, max_value_bytes=MAX_VALUE_BYTES)
        ends = Ends(
            name="source",
            peer="destination",
            source=source,
            export=export,
            destination=NoDestination(),
            accept=DenyAll(),
            quota=None,
            limits=LIMITS,
            denials=denials,
        )
        self._exported.clear()
        try:
            await Link(ends, channel, self._clocks).run()
        except (PermissionDenied, Unauthenticated) as error:
            self._refused = error
        except (FederationError, StoreError) as error:
            if not isinstance(error, LinkLost):
                self._trouble(error)
        finally:
            self._exported.set()

    async def _verdict(self) -> None:
        """Raises what the source's store refused. The exporter says goodbye before it tells us why it ended."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RETRY_S):
                await self._exported.wait()
        if self._refused is not None:
            raise self._refused from None

    def _trouble(self, error: Exception) -> None:
        """Of a goodbye nothing is told: the end that said it is in this process, and tells its own trouble."""
        if not isinstance(error, LinkEnded):
            self._on_trouble(f"{type(error).__name__}: {error}")

    async def _import(self, port: int, store: EtcdStore, notary: _Notary) -> None:
        passport = notary.passport(DESTINATION)
        credentials = grpc.ssl_channel_credentials(notary.bundle, passport.key, passport.chain)
        options = [
            *channel_options(LIMITS),
            ("grpc.ssl_target_name_override", SOURCE.server_name),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_http_proxy", 0),
        ]
        channel = ClientChannel(
            grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=options)
        )
        denials = DenialLog()
        settings = self._settings
        check = RawCheck(settings.prefix, settings.exclude)
        destination = RawDestination(store, settings.target, check, self._tell)
        ends = Ends(
            name="destination",
            peer="source",
            source=NoSource(),
            export=ExportFilter((), DenyAll(), denials),
            destination=destination,
            accept=check,
            quota=None,
            limits=LIMITS,
            denials=denials,
        )
        try:
            await channel.open(10.0)
            self.link = Link(ends, channel, self._clocks)
            await self.link.run()
        finally:
            destination.stop()
            await channel.close()

    def _tell(self, synced: Synced) -> None:
        if not self._told:
            self._told = True
            self._on_synced(synced)


async def run_mirror(
    settings: MirrorSettings,
    clocks: Clocks,
    *,
    on_synced: Callable[[Synced], None],
    on_trouble: Callable[[str], None] = lambda text: None,
) -> None:
    """Mirror until cancelled."""
    with contextlib.suppress(asyncio.CancelledError):
        await Mirror(settings, clocks, on_synced=on_synced, on_trouble=on_trouble).run()
