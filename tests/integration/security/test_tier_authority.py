"""A tier's etcd trusts its own authority only: names are equal at every site, certificates are
not.

etcd knows users by common name alone, and every site has a 'placer'. With the operator's root as
its trusted CA the placer of site b would be the placer of site a. Here is the proof that with
authority.pem it is nobody.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support_certificates import CARRIER, PARTNER

from isthmus.deploy.etcd_process import EtcdMember, EtcdTls, free_port, run_etcd
from isthmus.identity import Identity, LeafRequest
from isthmus.kv.errors import StoreError
from isthmus.kv.etcd import EtcdStore
from isthmus.kv.settings import EtcdSettings
from isthmus.trust import AuthorityStore, Enrolment, Paths, ca, workload

pytestmark = pytest.mark.etcd
NOW_S = float(int(time.time()))


def enroll(base: Path, authority: AuthorityStore, site: str, component: str) -> Paths:
    """One process of a site."""
    identity = Identity.of_site(authority.trust_domain, site, component)
    into = base / site / component
    authority.enroll([Enrolment(LeafRequest(identity), into)], now_s=NOW_S)
    return Paths(into)


@pytest.fixture
def authority(tmp_path: Path) -> AuthorityStore:
    """The operator's root and tiers."""
    return AuthorityStore(tmp_path / "authority", CARRIER)


@pytest.fixture
async def member(tmp_path: Path, authority: AuthorityStore) -> AsyncIterator[EtcdMember]:
    """The etcd of site a, with its own authority as the only trusted CA."""
    own = enroll(tmp_path, authority, "a", "etcd")
    member = EtcdMember(
        data_dir=tmp_path / "data",
        client_port=free_port(),
        tls=EtcdTls(ca_file=own.authority, cert_file=own.cert, key_file=own.key),
        unsafe_no_fsync=True,
    )
    async with run_etcd(member):
        yield member


def settings(member: EtcdMember, paths: Paths) -> EtcdSettings:
    """A client with these files that checks the store's name."""
    return EtcdSettings(
        endpoints=(member.endpoint,),
        ca_file=paths.ca,
        cert_file=paths.cert,
        key_file=paths.key,
        server_name="etcd.a.site.carrier.example",
        backoff_max_s=0.1,
    )


async def put(member: EtcdMember, paths: Paths, timeout_s: float = 10.0) -> bool:
    """True when the store took a write of this process."""
    store = EtcdStore.connect(settings(member, paths))
    try:
        return await store.put("/isthmus/v1/x", b"1", timeout_s=timeout_s) > 0
    except StoreError:
        return False
    finally:
        await store.aclose()


async def test_the_sites_own_placer_is_let_in(
    tmp_path: Path, authority: AuthorityStore, member: EtcdMember
) -> None:
    """The positive side: leaf, tier authority, links through 'current', all as etcd reads them."""
    assert await put(member, enroll(tmp_path, authority, "a", "placer"))


async def test_another_sites_placer_is_nobody_here(
    tmp_path: Path, authority: AuthorityStore, member: EtcdMember
) -> None:
    """Same operator, same root, same common name."""
    assert not await put(member, enroll(tmp_path, authority, "b", "placer"), timeout_s=2.0)


async def test_with_the_root_as_trusted_ca_it_would_be_somebody(
    tmp_path: Path, authority: AuthorityStore
) -> None:
    """The mistake this guards against, made on purpose: so the refusal above is the authority's
    doing.
    """
    own = enroll(tmp_path, authority, "a", "etcd")
    careless = EtcdMember(
        data_dir=tmp_path / "careless",
        client_port=free_port(),
        tls=EtcdTls(ca_file=own.ca, cert_file=own.cert, key_file=own.key),
        unsafe_no_fsync=True,
    )
    async with run_etcd(careless):
        assert await put(careless, enroll(tmp_path, authority, "b", "placer"))


async def test_a_partners_placer_is_nobody_here(tmp_path: Path, member: EtcdMember) -> None:
    """Even with our roots to trust the server by, its own chain opens nothing."""
    theirs = enroll(
        tmp_path / "partner", AuthorityStore(tmp_path / "their", PARTNER), "a", "placer"
    )
    held = workload.load(theirs.directory)
    ours = workload.load(tmp_path / "a" / "etcd")
    mixed = workload.KeyAndCert(
        held.identity,
        held.validity,
        held.serial,
        held.cert_pem,
        ours.ca_pem,
        held.authority_pem,
        held.key_pem,
    )
    assert not await put(member, workload.save(mixed, tmp_path / "mixed"), timeout_s=2.0)


async def test_renewing_needs_no_restart_of_the_store(
    tmp_path: Path, authority: AuthorityStore, member: EtcdMember
) -> None:
    """Another leaf for etcd and client in mid-flight (G10): the next handshake uses the new
    files.
    """
    placer = enroll(tmp_path, authority, "a", "placer")
    assert await put(member, placer)
    before = [workload.load(tmp_path / "a" / name).serial for name in ("etcd", "placer")]
    tier = authority.tier("site/a", now_s=NOW_S)
    for name in ("etcd", "placer"):
        held = workload.load(tmp_path / "a" / name)
        renewed = workload.issue(
            tier,
            LeafRequest(held.identity),
            ca.new_key(),
            ca_pem=held.ca_pem,
            now_s=NOW_S,
            serial=held.serial + 1,
        )
        workload.save(renewed, tmp_path / "a" / name)
    after = [workload.load(tmp_path / "a" / name).serial for name in ("etcd", "placer")]
    assert after == [serial + 1 for serial in before]
    assert await put(member, placer)
