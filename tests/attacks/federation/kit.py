"""Attackers at both ends of a link: certificates nobody honest signs, frames nobody honest sends.

The end under attack is always the shipped one, with real TLS and real HTTP/2; only its store is the in-memory twin.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from cryptography import x509
from tests.support_certificates import CARRIER, PARTNER, Operator

from isthmus.federation import GatewaySettings, LinkLimits, PeerSettings, SiteLinkSettings
from isthmus.federation import link_pb2 as pb
from isthmus.federation.dialer import SiteLink
from isthmus.federation.gateway import Gateway
from isthmus.federation.link import Clocks
from isthmus.federation.run import real_clocks
from isthmus.federation.transport import METHOD, SERVICE
from isthmus.kv.memory import MemoryStore
from isthmus.kv.port import KeyValueStore
from isthmus.trust import ca

QUICK = LinkLimits(
    beat_s=0.2, lost_after_s=2.0, proof_every_s=0.2, cursor_every_s=0.1, max_denials=20
)
DIALLED = "gateway.global.carrier.example"


def operators() -> tuple[Operator, Operator]:
    """The carrier and a partner, now."""
    now_s = time.time()
    return Operator(CARRIER, now_s), Operator(PARTNER, now_s)


def save(folder: Path, key_pem: bytes, chain_pem: bytes, bundle: bytes) -> Path:
    """Credentials as a process finds them."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, data, mode in (
        ("key.pem", key_pem, 0o600),
        ("cert.pem", chain_pem, 0o644),
        ("ca.pem", bundle, 0o644),
    ):
        path = folder / name
        path.write_bytes(data)
        path.chmod(mode)
    return folder


def of(signer: ca.Authority, made: tuple[ca.PrivateKey, x509.Certificate]) -> tuple[bytes, bytes]:
    """Key and chain of a forged certificate, as PEM."""
    key, certificate = made
    return ca.key_pem(key), ca.pem([certificate, *signer.chain])


class Fort:
    """A gateway with two sites of the carrier (a, b) and one of the partner (p)."""

    def __init__(self, folder: Path, **more: Any) -> None:
        self.us, self.them = operators()
        self.folder = folder
        self.store = MemoryStore()
        key, chain = self.us.issue("gateway", "global")
        credentials = save(folder / "gateway", key, chain, self.us.bundle_pem)
        self.bundles = {}
        for operator in (self.us, self.them):
            path = folder / f"{operator.domain.name}.pem"
            path.write_bytes(operator.bundle_pem)
            path.chmod(0o644)
            self.bundles[operator.domain.name] = path
        names = (("a", self.us, "site/a"), ("b", self.us, "site/b"), ("p", self.them, "site/a"))
        base: dict[str, Any] = {
            "name": "global",
            "credentials": credentials,
            "bundles": self.bundles,
            "listen": "127.0.0.1:0",
            "peers": tuple(
                PeerSettings(name=name, identity=str(operator.identity("federation", realm)))
                for name, operator, realm in names
            ),
            "limits": QUICK,
            "revocations": folder / "revoked.json",
        }
        self.settings = GatewaySettings(**{**base, **more})
        self.gateway = Gateway(self.settings, self.store, real_clocks(), tap_of=self._tap_of)
        self.taps: list[str] = []

    def _tap_of(self, peer: str) -> Callable[[str, pb.Frame], None]:
        return lambda direction, frame: self.taps.append(f"{peer} {direction} {frame}")

    async def dial(self, key: bytes | None, chain: bytes | None) -> Rogue:
        """A client with these credentials and no manners."""
        credentials = grpc.ssl_channel_credentials(self.us.bundle_pem, key, chain)
        options = [
            ("grpc.ssl_target_name_override", DIALLED),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_retries", 0),
        ]
        channel = grpc.aio.secure_channel(
            f"127.0.0.1:{self.gateway.port}", credentials, options=options
        )
        return Rogue(channel)

    async def honest(self, name: str = "a") -> Rogue:
        """A client with a good certificate of site ``name``, past the greeting."""
        operator, realm = (self.them, "site/a") if name == "p" else (self.us, f"site/{name}")
        rogue = await self.dial(*operator.issue("federation", realm))
        rogue.start()
        await rogue.send(greeting(name))
        assert (await rogue.expect("hello")).hello.name == "global"
        return rogue


@contextlib.asynccontextmanager
async def fort(folder: Path, **more: Any) -> AsyncIterator[Fort]:
    """A standing gateway."""
    made = Fort(folder, **more)
    await made.gateway.start()
    try:
        yield made
    finally:
        await made.gateway.stop(0.1)


class Rogue:
    """A raw stream to a gateway."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self.call: Any = None

    def start(self) -> None:
        self.call = self.channel.stream_stream(METHOD)()

    async def send(self, frame: pb.Frame | bytes) -> None:
        data = frame if isinstance(frame, bytes) else frame.SerializeToString()
        async with asyncio.timeout(10):
            await self.call.write(data)

    async def receive(self) -> pb.Frame:
        async with asyncio.timeout(10):
            data = await self.call.read()
        assert isinstance(data, bytes), "the gateway ended the stream"
        return pb.Frame.FromString(data)

    async def expect(self, kind: str) -> pb.Frame:
        """The next frame of ``kind``; others are let pass."""
        while True:
            frame = await self.receive()
            if frame.WhichOneof("kind") == kind:
                return frame

    async def begin(self, *, stream: int = 7, mode: pb.Mode = pb.MODE_SNAPSHOT) -> None:
        """What an exporter says after being asked."""
        await self.expect("resume")
        at = pb.Token(incarnation="x", revision=1, nonce_revision=1, nonce="n")
        await self.send(
            pb.Frame(begin=pb.Begin(stream=stream, seq=1, mode=mode, at=at, buckets=range(256)))
        )

    async def ended(self) -> tuple[grpc.StatusCode, str]:
        """How the gateway ended it."""
        async with asyncio.timeout(15):
            with contextlib.suppress(grpc.aio.AioRpcError):
                while isinstance(await self.call.read(), bytes):
                    pass
            return await self.call.code(), await self.call.details()

    async def refused(self, claim: str = "") -> tuple[grpc.StatusCode, str]:
        """Dial, greet as ``claim`` if any, and how that ended. (Writing into a call that is being refused makes
        the client library say INTERNAL once in a hundred times: so greet only who waits for it.)
        """
        self.start()
        if claim:
            await self.send(greeting(claim))
        return await self.ended()

    async def close(self) -> None:
        if self.call is not None:
            self.call.cancel()
        await self.channel.close()


def greeting(name: str) -> pb.Frame:
    """The first frame of a peer that calls itself ``name``."""
    return pb.Frame(hello=pb.Hello(min_version=1, max_version=1, name=name))


def batch(
    *items: tuple[bytes, bytes | None], seq: int = 2, stream: int = 7, through: int = 0
) -> pb.Frame:
    """Puts and (None) deletes."""
    return pb.Frame(
        batch=pb.Batch(
            stream=stream,
            seq=seq,
            through=through,
            items=[
                pb.Item(
                    verb=pb.VERB_DELETE if value is None else pb.VERB_PUT,
                    key=key,
                    value=value or b"",
                    revision=1,
                )
                for key, value in items
            ],
        )
    )


def end(seq: int, stream: int = 7) -> pb.Frame:
    """The snapshot is complete."""
    return pb.Frame(end=pb.End(stream=stream, seq=seq, through=1))


Script = Callable[[Any], Awaitable[None]]


@contextlib.asynccontextmanager
async def rogue_gateway(
    us: Operator, script: Script, listen: str = "127.0.0.1:0"
) -> AsyncIterator[int]:
    """A server with the gateway's honest certificate that follows ``script``; its port."""
    server = grpc.aio.server()

    async def handle(_: Any, context: Any) -> None:
        await script(context)

    handler = grpc.stream_stream_rpc_method_handler(handle)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE, {"Open": handler}),)
    )
    key, chain = us.issue("gateway", "global")
    credentials = grpc.ssl_server_credentials(
        [(key, chain)], root_certificates=us.bundle_pem, require_client_auth=True
    )
    port = server.add_secure_port(listen, credentials)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0.1)


@contextlib.asynccontextmanager
async def site_link(
    folder: Path,
    us: Operator,
    port: int,
    store: KeyValueStore,
    *,
    clocks: Clocks | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    **more: Any,
) -> AsyncIterator[SiteLink]:
    """Site a, dialling ``port``."""
    credentials = save(folder / "site", *us.issue("federation", "site/a"), us.bundle_pem)
    bundle = folder / "carrier.pem"
    bundle.write_bytes(us.bundle_pem)
    os.chmod(bundle, 0o644)
    base: dict[str, Any] = {
        "name": "a",
        "credentials": credentials,
        "bundles": {us.domain.name: bundle},
        "dial": (f"127.0.0.1:{port}",),
        "peer": {"name": "global", "identity": str(us.identity("gateway", "global"))},
        "limits": QUICK,
        "backoff_max_s": 0.2,
        "refused_backoff_s": 0.2,
    }
    settings = SiteLinkSettings(**{**base, **more})
    link = SiteLink(settings, store, clocks or real_clocks(), jitter=lambda: 0.5, sleep=sleep)
    task = asyncio.create_task(link.run())
    try:
        yield link
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def keys_below(store: KeyValueStore, prefix: str) -> Sequence[str]:
    """Relative keys without book-keeping."""
    snapshot = await store.snapshot(prefix)
    relative = [entry.key[len(prefix) :] for entry in snapshot.entries]
    return [key for key in relative if not key.startswith("meta.")]
