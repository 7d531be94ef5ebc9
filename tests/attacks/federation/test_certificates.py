"""Attacks 1 to 5 against a gateway: who gets a stream, and how long (G9)."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.attacks.federation.kit import Fort, Rogue, batch, fort, greeting, keys_below, of
from tests.federation_support import until
from tests.support_certificates import CARRIER, DAY_S, Operator, forge, uri

from isthmus.contract.scopes import import_root
from isthmus.federation import link_pb2 as pb
from isthmus.trust.revocation import RevocationList

GOOD = "spiffe://carrier.example/site/a/federation"
Status = grpc.StatusCode


def forged(world: Fort, kind: str) -> tuple[bytes | None, bytes | None]:
    """Credentials that must not get in."""
    now_s = time.time()
    us = world.us.tiers["site/a"]
    names: list[x509.GeneralName] = [uri(GOOD)]
    match kind:
        case "none":
            return None, None
        case "expired":
            return of(us, forge(us, names, now_s=now_s - 2 * DAY_S))
        case "not-yet-valid":
            return of(us, forge(us, names, now_s=now_s + DAY_S / 2))
        case "server-only":
            return of(us, forge(us, names, now_s=now_s, usages=[ExtendedKeyUsageOID.SERVER_AUTH]))
        case "no-uri-san":
            return of(us, forge(us, now_s=now_s, common_name="federation"))
        case "two-uri-sans":
            other = uri("spiffe://carrier.example/site/b/federation")
            return of(us, forge(us, [*names, other], now_s=now_s))
        case "dns-only":
            return of(us, forge(us, [x509.DNSName("a.site.carrier.example")], now_s=now_s))
        case "partner-signs-carrier":
            them = world.them.tiers["site/a"]
            return of(them, forge(them, names, now_s=now_s))
        case "site-b-signs-site-a":
            other_tier = world.us.tiers["site/b"]
            return of(other_tier, forge(other_tier, names, now_s=now_s))
        case "stranger":
            return Operator(CARRIER, now_s).issue("federation", "site/a")
    odd = {
        "upper-case": "spiffe://carrier.example/site/A/federation",
        "percent": "spiffe://carrier.example/site/a%2f/federation",
        "slash": "spiffe://carrier.example/site/a/federation/",
        "port": "spiffe://carrier.example:443/site/a/federation",
        "query": "spiffe://carrier.example/site/a/federation?x=1",
        "dots": "spiffe://carrier.example/site/../federation",
    }[kind]
    return of(us, forge(us, [uri(odd)], now_s=now_s))


@pytest.mark.parametrize(
    "kind",
    [
        "none",
        "expired",
        "not-yet-valid",
        "server-only",
        "no-uri-san",
        "two-uri-sans",
        "dns-only",
        "partner-signs-carrier",
        "site-b-signs-site-a",
        "stranger",
        "upper-case",
        "percent",
        "slash",
        "port",
        "query",
        "dots",
    ],
)
async def test_certificate_that_proves_nothing_gets_nothing(kind: str, tmp_path: Path) -> None:
    """Refused in the handshake (UNAVAILABLE at the client) or as UNAUTHENTICATED; nothing is written."""
    async with fort(tmp_path) as world:
        rogue = await world.dial(*forged(world, kind))
        code, _ = await rogue.refused()
        await rogue.close()
        assert code in (Status.UNAVAILABLE, Status.UNAUTHENTICATED), kind
        if code is Status.UNAUTHENTICATED:
            assert sum(world.gateway.refused.values()) == 1, "a refusal is counted by its reason"
        assert world.store.revision <= 1


async def test_identity_that_is_not_listed_is_denied(tmp_path: Path) -> None:
    """A good certificate of our own operator is not enough: deny by default."""
    async with fort(tmp_path) as world:
        rogue = await world.dial(*world.us.issue("launcher.h1", "site/a"))
        code, details = await rogue.refused()
        await rogue.close()
        assert (code, details) == (Status.PERMISSION_DENIED, "peer-unknown")
        assert world.gateway.refused == {"peer-unknown": 1}


async def test_site_b_whose_frames_name_site_a_is_denied(tmp_path: Path) -> None:
    """Attack 3: the site is read from the certificate only; nothing of a's is touched."""
    async with fort(tmp_path) as world:
        rogue = await world.dial(*world.us.issue("federation", "site/b"))
        code, details = await rogue.refused(claim="a")
        await rogue.close()
        assert (code, details) == (Status.PERMISSION_DENIED, "claim-refused")
        assert world.gateway.refused == {"claim-refused": 1}, "an operator must see who tries"
        for name in "ab":
            assert not await keys_below(world.store, import_root(name))


async def test_partner_site_with_our_sites_name_writes_below_its_own_name(tmp_path: Path) -> None:
    """``site/a`` of the partner is ``p`` here: the table names it, neither it nor its certificate's site does."""
    async with fort(tmp_path) as world:
        rogue = await world.honest("p")
        await rogue.begin()
        await rogue.send(batch((b"summary/site", b"of the partner")))
        await rogue.expect("ack")
        assert await keys_below(world.store, import_root("p")) == ["summary/site"]
        assert not await keys_below(world.store, import_root("a"))
        await rogue.close()


async def test_revoked_in_mid_stream_is_cut_and_its_data_quarantined(tmp_path: Path) -> None:
    """G9: within five seconds of the list being there; what is held of the peer is marked."""
    async with fort(tmp_path) as world:
        rogue = await world.honest("a")
        await rogue.begin()
        await rogue.send(batch((b"summary/site", b"before")))
        await rogue.expect("ack")
        revoked = RevocationList(2, time.time(), identities=frozenset({GOOD}))
        (tmp_path / "revoked.json").write_bytes(revoked.to_json())
        (tmp_path / "revoked.json").chmod(0o644)
        began_s = time.monotonic()
        code, details = await rogue.ended()
        assert (code, details) == (Status.UNAUTHENTICATED, "revoked")
        assert time.monotonic() - began_s < 5
        await until(
            lambda: world.store.get(import_root("a") + "meta.quarantine"), "quarantine marked"
        )
        again = await world.dial(*world.us.issue("federation", "site/a"))
        assert (await again.refused())[0] is Status.UNAUTHENTICATED
        await again.close()
        await rogue.close()


async def test_certificate_that_ends_in_mid_stream_is_cut(tmp_path: Path) -> None:
    """Attack 5: gRPC itself goes on answering (measured); the watchdog does not."""
    async with fort(tmp_path) as world:
        signer = world.us.tiers["site/a"]
        rogue = await world.dial(
            *of(signer, forge(signer, [uri(GOOD)], now_s=time.time() - 10, life_s=13))
        )
        rogue.start()
        await rogue.send(greeting("a"))
        await rogue.expect("hello")
        beating = asyncio.create_task(_beat(rogue))
        code, details = await rogue.ended()
        beating.cancel()
        assert (code, details) == (Status.UNAUTHENTICATED, "expired")
        await rogue.close()


async def test_peer_taken_off_the_list_is_cut(tmp_path: Path) -> None:
    """A change of policy reaches open streams: whoever is still listed may come back."""
    async with fort(tmp_path) as world:
        rogue = await world.honest("a")
        narrower = world.settings.model_copy(
            update={"version": 2, "peers": world.settings.peers[1:]}
        )
        world.gateway.replace_peers(narrower.table())
        assert (await rogue.ended())[1] == "policy-changed"
        again = await world.dial(*world.us.issue("federation", "site/a"))
        assert (await again.refused())[0] is Status.PERMISSION_DENIED
        await again.close()
        await rogue.close()


async def _beat(rogue: Rogue) -> None:
    while True:
        await rogue.send(pb.Frame(beat=pb.Beat()))
        await asyncio.sleep(0.2)


async def test_renewed_files_are_taken_without_a_restart_and_only_then(tmp_path: Path) -> None:
    """G10: new credentials at every handshake crashed the TLS layer under many; a changed file must still count."""
    async with fort(tmp_path) as world:
        stranger = Operator(CARRIER, time.time())
        early = await world.dial(*stranger.issue("federation", "site/a"))
        assert (await early.refused())[0] in (Status.UNAVAILABLE, Status.UNAUTHENTICATED)
        await early.close()
        assert world.gateway.tls.fresh_or_keep() is None
        path = world.bundles[CARRIER.name]
        path.write_bytes(world.us.bundle_pem + stranger.bundle_pem)
        late = await world.dial(*stranger.issue("federation", "site/a"))
        assert (await late.refused(claim="b"))[1] == "claim-refused", "let in, then judged"
        assert world.gateway.tls.fresh_or_keep() is None
        await late.close()
