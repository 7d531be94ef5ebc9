"""Attack 5 on a real gRPC stream: it outlives its certificate, until the watchdog is asked.

Without the watchdog the first test shows what the TLS layer allows; should it ever stop allowing
it, the test fails and the watchdog may go. With it, the stream ends for each reason, and a new
call on the old connection finds the door closed, too, because every call is verified by the
clock and not by the connection.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

import grpc
import pytest
from tests.support import eventually
from tests.support_certificates import CARRIER, Operator, bundles, forge, uri

from isthmus.trust import (
    NONE_REVOKED,
    PeerRefused,
    RevocationList,
    VerifiedPeer,
    ca,
    cut_reason,
    presented_chain,
    verify_chain,
)
from isthmus.trust.revocation import revoke

STARTED_S = float(int(time.time()))
US = Operator(CARRIER, STARTED_S - 3_600)
BUNDLES = bundles(US)
GOOD = uri("spiffe://carrier.example/site/a/federation")
SERVER_NAME = "gateway.global.carrier.example"
WHO, FOLLOW = "/isthmus.test/who", "/isthmus.test/follow"
Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"


@dataclass
class Gateway:
    """Sends a beat each 20 ms; asks the watchdog before each when ``watching``. ``ahead_s``
    moves its clock.
    """

    watching: bool = True
    revocations: RevocationList = NONE_REVOKED
    policy_version: int = 1
    ahead_s: float = 0.0
    admitted: list[VerifiedPeer] = field(default_factory=list)

    def now_s(self) -> float:
        """The wall clock, as far ahead as the test says."""
        return time.time() + self.ahead_s

    async def who(self, request: bytes, context: Context) -> bytes:
        """One call: verified on its own."""
        return str((await self._verified(context)).identity).encode()

    async def follow(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        """One stream: verified at its start, watched while it lives."""
        peer = await self._verified(context)
        self.admitted.append(peer)
        while True:
            cut = cut_reason(peer, self.now_s(), self.revocations, self.policy_version)
            if cut is not None and self.watching:
                await context.abort(grpc.StatusCode.UNAUTHENTICATED, cut)
            yield repr(time.time()).encode()
            await asyncio.sleep(0.02)

    async def _verified(self, context: Context) -> VerifiedPeer:
        try:
            chain = presented_chain(context.auth_context())
            return verify_chain(
                chain,
                BUNDLES,
                self.now_s(),
                revocations=self.revocations,
                policy_version=self.policy_version,
            )
        except PeerRefused as refused:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, refused.code)
            raise


@asynccontextmanager
async def connected(gateway: Gateway, life_s: float) -> AsyncIterator[grpc.aio.Channel]:
    """A site with a certificate that ends ``life_s`` from now, connected to the gateway."""
    server = grpc.aio.server()
    handlers = {
        "who": grpc.unary_unary_rpc_method_handler(gateway.who),
        "follow": grpc.unary_stream_rpc_method_handler(gateway.follow),
    }
    service = grpc.method_handlers_generic_handler("isthmus.test", handlers)
    server.add_generic_rpc_handlers((service,))
    credentials = grpc.ssl_server_credentials(
        [US.issue("gateway", "global")], US.bundle_pem, require_client_auth=True
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    tier = US.tiers["site/a"]
    key, leaf = forge(
        tier, [GOOD], now_s=STARTED_S - 60, life_s=time.time() - STARTED_S + 60 + life_s
    )
    chain = ca.pem([leaf, *tier.chain])
    client = grpc.ssl_channel_credentials(US.bundle_pem, ca.key_pem(key), chain)
    options = [("grpc.ssl_target_name_override", SERVER_NAME)]
    try:
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", client, options=options) as channel:
            yield channel
    finally:
        await server.stop(0)


async def beat_after(stream: AsyncIterator[bytes], moment_s: float) -> None:
    """Read on until a beat that the gateway *sent* after ``moment_s``; not one that waited in a
    buffer.
    """
    async with asyncio.timeout(20):
        while float(await anext(stream)) <= moment_s:
            pass


async def end_of(stream: AsyncIterator[bytes]) -> str:
    """Read until the stream is cut; what the peer is told."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await beat_after(stream, float("inf"))
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    return str(caught.value.details())


async def test_attack_5_tls_lets_a_stream_outlive_its_certificate() -> None:
    """Measured again at each release: after its end, beats and new calls on the connection still
    pass TLS.
    """
    gateway = Gateway(watching=False)
    async with connected(gateway, life_s=5.0) as channel:
        stream = aiter(channel.unary_stream(FOLLOW, bytes, bytes)(b""))
        await beat_after(stream, 0.0)
        ends_s = gateway.admitted[0].validity.not_after_s
        await eventually(lambda: time.time() > ends_s + 0.5, "the certificate has ended")
        await beat_after(stream, ends_s + 0.5)
        call = channel.unary_unary(WHO, bytes, bytes)
        assert await call(b"", timeout=10) == GOOD.value.encode()  # within the skew: ours to refuse
        gateway.ahead_s = 61.0
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"", timeout=10)
        assert caught.value.details() == "expired"


async def test_attack_5_the_watchdog_cuts_at_the_end_of_the_certificate() -> None:
    """The same life, watched: the stream ends by itself, and says why."""
    async with connected(Gateway(), life_s=5.0) as channel:
        stream = aiter(channel.unary_stream(FOLLOW, bytes, bytes)(b""))
        await beat_after(stream, 0.0)
        assert (await end_of(stream)).startswith("expired")


Change: TypeAlias = Callable[[Gateway, VerifiedPeer], None]


def _revoke_serial(gateway: Gateway, peer: VerifiedPeer) -> None:
    gateway.revocations = revoke(
        NONE_REVOKED, time.time(), serials=[(peer.identity.trust_domain.name, peer.serial)]
    )


def _revoke_identity(gateway: Gateway, peer: VerifiedPeer) -> None:
    gateway.revocations = revoke(NONE_REVOKED, time.time(), identities=[peer.identity])


def _revoke_authority(gateway: Gateway, peer: VerifiedPeer) -> None:
    gateway.revocations = revoke(NONE_REVOKED, time.time(), authorities=peer.authorities[:1])


def _change_policy(gateway: Gateway, peer: VerifiedPeer) -> None:
    gateway.policy_version += 1


@pytest.mark.parametrize(
    ("change", "code", "again"),
    [
        (_revoke_serial, "revoked", "revoked"),
        (_revoke_identity, "revoked", "revoked"),
        (_revoke_authority, "revoked", "revoked"),
        (_change_policy, "policy-changed", GOOD.value),
    ],
)
async def test_attack_5_what_is_decided_in_mid_stream_cuts_it(
    change: Change, code: str, again: str
) -> None:
    """Then the door: a revoked peer is refused on the old connection, one under a new policy is
    judged anew.
    """
    gateway = Gateway()
    async with connected(gateway, life_s=600.0) as channel:
        stream = aiter(channel.unary_stream(FOLLOW, bytes, bytes)(b""))
        await beat_after(stream, 0.0)
        change(gateway, gateway.admitted[0])
        assert (await end_of(stream)).startswith(code)
        try:
            answer = str(await channel.unary_unary(WHO, bytes, bytes)(b"", timeout=10), "ascii")
        except grpc.aio.AioRpcError as error:
            answer = str(error.details())
        assert answer == again
