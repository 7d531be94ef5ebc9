"""Attacks 1, 2 and 4 on a real gRPC server with mutual TLS: what TLS stops, what only we stop.

Each attacker connects for real. The server's handler asks who the peer is, exactly as a gateway
does; the outcome of a call is either "tls" (no handshake), the code our verification refused
with, or the identity.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import grpc
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.support_certificates import CARRIER, PARTNER, Operator, bundles, forge, uri

from isthmus.trust import AuditLog, PeerRefused, TrustBundles, ca, presented_chain, verify_peer

NOW_S = float(int(time.time()))  # TLS has a clock of its own, so certificates are made around now
US, THEM, STRANGER = Operator(CARRIER, NOW_S), Operator(PARTNER, NOW_S), Operator(CARRIER, NOW_S)
SITE_A = US.tiers["site/a"]
SERVER_NAME = "gateway.global.carrier.example"
GOOD = uri("spiffe://carrier.example/site/a/federation")
METHOD = "/isthmus.test/who"
Pair = tuple[bytes, bytes]
Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"


@dataclass
class Gateway:
    """A server that demands a client certificate from any of its bundles and then asks who it
    is.
    """

    bundles: TrustBundles
    port: int = 0
    refusals: list[str] = field(default_factory=list)

    async def who(self, request: bytes, context: Context) -> bytes:
        """The identity, or UNAUTHENTICATED with the code."""
        try:
            chain = presented_chain(context.auth_context())
            return str(verify_peer(chain, self.bundles, NOW_S)).encode()
        except PeerRefused as refused:
            self.refusals.append(refused.code)
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, refused.code)
            raise


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    """A running gateway that trusts both operators."""
    gateway = Gateway(bundles(US, THEM))
    handler = grpc.unary_unary_rpc_method_handler(gateway.who)
    server = grpc.aio.server()
    service = grpc.method_handlers_generic_handler("isthmus.test", {"who": handler})
    server.add_generic_rpc_handlers((service,))
    roots = US.bundle_pem + THEM.bundle_pem
    credentials = grpc.ssl_server_credentials(
        [US.issue("gateway", "global", "localhost")], roots, require_client_auth=True
    )
    gateway.port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield gateway
    finally:
        await server.stop(0)


async def call(gateway: Gateway, pair: Pair | None, server_name: str = SERVER_NAME) -> str:
    """What comes of a call with this key and chain."""
    key, chain = pair if pair else (None, None)
    credentials = grpc.ssl_channel_credentials(US.bundle_pem, key, chain)
    options = [("grpc.ssl_target_name_override", server_name)]
    target = f"127.0.0.1:{gateway.port}"
    async with grpc.aio.secure_channel(target, credentials, options=options) as channel:
        method = channel.unary_unary(METHOD, bytes, bytes)
        try:
            return str(await method(b"", timeout=10), "ascii")
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAUTHENTICATED:
                return str(error.details())
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                return "tls"
            raise


def attacker(
    signer: ca.Authority,
    *names: x509.GeneralName,
    common_name: str = "federation",
    **fields: object,
) -> Pair:
    """Key and chain of a certificate that no authority of ours would make."""
    key, leaf = forge(signer, names, common_name=common_name, **{"now_s": NOW_S, **fields})  # type: ignore[arg-type]
    return ca.key_pem(key), ca.pem([leaf, *signer.chain])


async def test_honest_peers_of_both_operators_come_in(gateway: Gateway) -> None:
    """Through real TLS, with the tier's authority sent along in the chain."""
    assert await call(gateway, US.issue()) == "spiffe://carrier.example/site/a/federation"
    assert await call(gateway, THEM.issue()) == "spiffe://partner.example/site/a/federation"
    assert gateway.refusals == []


ATTACK_1: dict[str, Callable[[], Pair | None]] = {
    "expired": lambda: attacker(SITE_A, GOOD, now_s=NOW_S - 7_200, life_s=3_600),
    "not yet valid": lambda: attacker(SITE_A, GOOD, now_s=NOW_S + 3_600),
    "wrong authority of the same name": lambda: STRANGER.issue(),
    "absent": lambda: None,
    "server-only usage": lambda: attacker(SITE_A, GOOD, usages=[ExtendedKeyUsageOID.SERVER_AUTH]),
}


@pytest.mark.parametrize("name", ATTACK_1)
async def test_attack_1_no_handshake(gateway: Gateway, name: str) -> None:
    """TLS itself refuses these; our code is never asked."""
    assert await call(gateway, ATTACK_1[name]()) == "tls"
    assert gateway.refusals == []


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("expired", "expired"),
        ("not yet valid", "not-yet-valid"),
        ("wrong authority of the same name", "wrong-authority"),
        ("server-only usage", "wrong-usage"),
    ],
)
def test_attack_1_we_refuse_them_too(name: str, code: str) -> None:
    """Each layer is sufficient alone: the same chains given to our verification directly."""
    pair = ATTACK_1[name]()
    assert pair is not None
    with pytest.raises(PeerRefused) as caught:
        verify_peer(pair[1], bundles(US, THEM), NOW_S)
    assert caught.value.code == code


ATTACK_2: dict[str, tuple[Callable[[], Pair], str]] = {
    "no name at all": (lambda: attacker(SITE_A, common_name="site b"), "no-uri-san"),
    "only a common name, of another site": (
        lambda: attacker(SITE_A, common_name="spiffe://carrier.example/site/b/federation"),
        "no-uri-san",
    ),
    "only a DNS name": (
        lambda: attacker(SITE_A, x509.DNSName("federation.a.site.carrier.example")),
        "no-uri-san",
    ),
    "two identities": (
        lambda: attacker(SITE_A, GOOD, uri("spiffe://carrier.example/global/gateway")),
        "many-uri-sans",
    ),
    "the same identity twice": (lambda: attacker(SITE_A, GOOD, GOOD), "many-uri-sans"),
    "a second URI that is no identity": (
        lambda: attacker(SITE_A, GOOD, uri("https://carrier.example/")),
        "many-uri-sans",
    ),
    "percent-encoding": (
        lambda: attacker(SITE_A, uri("spiffe://carrier.example/site/%61/federation")),
        "identity-refused",
    ),
    "upper case": (
        lambda: attacker(SITE_A, uri("spiffe://carrier.example/site/A/federation")),
        "identity-refused",
    ),
    "trailing slash": (lambda: attacker(SITE_A, uri(GOOD.value + "/")), "identity-refused"),
    "port": (
        lambda: attacker(SITE_A, uri("spiffe://carrier.example:443/site/a/federation")),
        "identity-refused",
    ),
    "query": (lambda: attacker(SITE_A, uri(GOOD.value + "?as=global")), "identity-refused"),
    "identity of another tier": (
        lambda: attacker(SITE_A, uri("spiffe://carrier.example/global/gateway")),
        "authority-scope",
    ),
}


@pytest.mark.parametrize("name", ATTACK_2)
async def test_attack_2_tls_lets_through_what_we_refuse(gateway: Gateway, name: str) -> None:
    """The handshake succeeds (or TLS is stricter than measured: then this fails and tells us)."""
    make, code = ATTACK_2[name]
    assert await call(gateway, make()) == code
    assert gateway.refusals == [code]


async def test_attack_2_constraints_make_tls_stricter(gateway: Gateway) -> None:
    """A common name that reads as a DNS name, without alternative names: under a constrained
    authority the handshake itself fails. A second net, found by this test; under others TLS lets
    it through.
    """
    assert await call(gateway, attacker(SITE_A, common_name="site-b")) == "tls"


async def test_attack_2_a_spoofed_common_name_beside_an_identity_is_not_read(
    gateway: Gateway,
) -> None:
    """The URI says site a, the common name says gateway: the peer is site a."""
    assert await call(gateway, attacker(SITE_A, GOOD, common_name="gateway")) == GOOD.value


UNCONSTRAINED_CASES = {
    "our identity by the partner's root": "spiffe://carrier.example/global/gateway",
    "our site by the partner's root": "spiffe://carrier.example/site/a/federation",
}


@pytest.mark.parametrize("name", UNCONSTRAINED_CASES)
async def test_attack_4_name_constraints_stop_a_partner_in_tls(gateway: Gateway, name: str) -> None:
    """The partner's root is in the pile and signs our name: its own constraints stop the
    handshake.
    """
    assert await call(gateway, attacker(THEM.root, uri(UNCONSTRAINED_CASES[name]))) == "tls"


async def test_attack_4_without_constraints_the_bundle_stops_it() -> None:
    """A partner whose root carries no constraints: TLS would let it through, the binding does
    not.
    """
    key = ca.new_key()
    root_key, root = forge(
        ca.Authority(PARTNER, "", _self_named(key), key),
        may_sign=True,
        usages=[],
        common_name="free root",
        now_s=NOW_S,
        key=key,
    )
    free = ca.Authority(PARTNER, "", root, root_key)
    trusted = bundles(US).with_roots(PARTNER, [root])
    theirs = attacker(free, uri("spiffe://partner.example/site/a/federation"))
    assert (
        str(verify_peer(theirs[1], trusted, NOW_S)) == "spiffe://partner.example/site/a/federation"
    )
    ours = attacker(free, uri("spiffe://carrier.example/site/a/federation"))
    with pytest.raises(PeerRefused) as caught:
        verify_peer(ours[1], trusted, NOW_S)
    assert caught.value.code == "wrong-authority"


def _self_named(key: ca.PrivateKey) -> x509.Certificate:
    """A certificate whose subject is 'free root', to be named as issuer."""
    name = ca.Authority(PARTNER, "", THEM.root.certificate, key)
    return forge(name, common_name="free root", key=key, may_sign=True, usages=[], now_s=NOW_S)[1]


async def test_attack_4_an_unknown_operator_is_told_so(gateway: Gateway) -> None:
    """An honest chain of a domain that left the table: after TLS, by name."""
    gateway.bundles = bundles(US)
    assert await call(gateway, THEM.issue()) == "unknown-trust-domain"


async def test_a_site_cannot_answer_as_the_tier_above() -> None:
    """Site b's authority signs the gateway's DNS name: site a, dialling by name, gets no
    handshake.
    """
    site_b = US.tiers["site/b"]
    impostor = attacker(
        site_b, uri("spiffe://carrier.example/site/b/federation"), x509.DNSName(SERVER_NAME)
    )
    for pair, expected in ((impostor, "tls"), (US.issue("gateway", "global"), "ok")):
        fake = Gateway(bundles(US))
        server = grpc.aio.server()

        async def answer(request: bytes, context: object) -> bytes:
            return b"ok"

        handler = grpc.unary_unary_rpc_method_handler(answer)
        service = grpc.method_handlers_generic_handler("isthmus.test", {"who": handler})
        server.add_generic_rpc_handlers((service,))
        fake.port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
        await server.start()
        try:
            assert await call(fake, US.issue()) == expected
        finally:
            await server.stop(0)


async def test_a_server_is_not_found_under_another_name(gateway: Gateway) -> None:
    """Dialling by name checks the name: another tier's name does not match the gateway's
    certificate.
    """
    assert await call(gateway, US.issue(), "federation.a.site.carrier.example") == "tls"


async def test_refusals_are_counted_by_reason(
    gateway: Gateway, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What a gateway does with a refusal: one audit record and one count under the stable code."""
    path = tmp_path_factory.mktemp("audit") / "audit.jsonl"
    for name in ("no name at all", "two identities", "only a DNS name"):
        await call(gateway, ATTACK_2[name][0]())
    with AuditLog.open(path, now_s=NOW_S) as log:
        for code in gateway.refusals:
            log.record("peer-refused", code, now_s=NOW_S)
        assert log.counts == {
            ("peer-refused", "no-uri-san"): 2,
            ("peer-refused", "many-uri-sans"): 1,
        }
