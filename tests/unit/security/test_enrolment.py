"""Authorities and enrolment on disk: created once, renewed when due, never left half written."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from isthmus.identity import Identity, LeafRequest, Stage, TrustDomain
from isthmus.trust import AuthorityStore, Enrolment, FileRefused, IssueRefused, ca, enroll, workload
from isthmus.trust.store import NEXT, ROOT, random_serial

CARRIER = TrustDomain("carrier.example")
NOW_S = 1_800_000_000.0
DAY_S = 86_400.0
PLACER = LeafRequest(Identity.of_site(CARRIER, "a", "placer"))
GATEWAY = LeafRequest(Identity.of_global(CARRIER, "gateway"), ("localhost",), ("127.0.0.1",))


def authority(tmp_path: Path) -> AuthorityStore:
    """A store of authorities in a directory of its own."""
    return AuthorityStore(tmp_path / "authority", CARRIER)


def test_one_call_enrolls_the_lab(tmp_path: Path) -> None:
    """Two tiers, one root: both chains end in the same pinned certificate, the signers differ."""
    placer, gateway = enroll(
        tmp_path / "ca",
        CARRIER,
        [Enrolment(PLACER, tmp_path / "placer"), Enrolment(GATEWAY, tmp_path / "gateway")],
        now_s=NOW_S,
    )
    assert placer.ca_pem == gateway.ca_pem
    assert placer.authority_pem != gateway.authority_pem
    assert len(x509.load_pem_x509_certificates(placer.cert_pem)) == 2
    loaded = workload.load(tmp_path / "gateway")
    assert loaded == gateway
    assert loaded.identity == GATEWAY.identity


def test_the_leaf_says_what_the_profile_says(tmp_path: Path) -> None:
    """One URI, the server name, the common name for etcd, both usages, 24 hours, dated back a
    minute.
    """
    (held,) = authority(tmp_path).enroll([Enrolment(GATEWAY, tmp_path / "g")], now_s=NOW_S)
    names = held.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [str(GATEWAY.identity)]
    assert names.get_values_for_type(x509.DNSName) == [
        "gateway.global.carrier.example",
        "localhost",
    ]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    common = held.leaf.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    assert [name.value for name in common] == ["gateway"]
    assert held.validity.not_before_s == NOW_S - 60
    assert held.validity.not_after_s == NOW_S + DAY_S
    usage = held.leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert len(list(usage)) == 2


def test_enrolling_again_keeps_what_is_good(tmp_path: Path) -> None:
    """lab up twice must not change a certificate under a running process."""
    store = authority(tmp_path)
    first = store.enroll([Enrolment(PLACER, tmp_path / "p")], now_s=NOW_S)
    assert store.enroll([Enrolment(PLACER, tmp_path / "p")], now_s=NOW_S + 3_600) == first


@pytest.mark.parametrize("change", ["time", "names", "key", "root"])
def test_enrolling_again_replaces_what_is_not(tmp_path: Path, change: str) -> None:
    """Half of its life is over, other names are wanted, a file is damaged, or the roots changed."""
    store = authority(tmp_path)
    (first,) = store.enroll([Enrolment(PLACER, tmp_path / "p")], now_s=NOW_S)
    request, now_s = PLACER, NOW_S + 1
    if change == "time":
        now_s = NOW_S + DAY_S * 0.6
    elif change == "names":
        request = LeafRequest(PLACER.identity, dns_names=("localhost",))
    elif change == "key":
        (tmp_path / "p" / "current" / "key.pem").write_text("damaged")
    else:
        store.prepare_root(now_s=NOW_S)
    (second,) = store.enroll([Enrolment(request, tmp_path / "p")], now_s=now_s)
    assert second.serial != first.serial
    assert workload.load(tmp_path / "p") == second
    assert second.stage(now_s) is Stage.FRESH


def test_key_files_are_private_and_old_generations_go(tmp_path: Path) -> None:
    """0600 in 0700 whatever the umask; three renewals leave the current and the one before."""
    store = authority(tmp_path)
    old = os.umask(0)
    try:
        for day in range(4):
            store.enroll([Enrolment(PLACER, tmp_path / "p")], now_s=NOW_S + day * DAY_S)
    finally:
        os.umask(old)
    generations = list((tmp_path / "p").glob("current-*"))
    assert len(generations) == 2
    for key in tmp_path.rglob("key.pem"):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600, key
        assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700, key


def test_paths_lead_through_the_link_to_one_generation(tmp_path: Path) -> None:
    """etcd opens key and certificate by these names at each handshake: always one pair."""
    (held,) = authority(tmp_path).enroll([Enrolment(PLACER, tmp_path / "p")], now_s=NOW_S)
    paths = workload.Paths(tmp_path / "p")
    assert paths.key.read_bytes() == held.key_pem
    assert paths.cert.read_bytes() == held.cert_pem
    assert paths.ca.read_bytes() == held.ca_pem
    assert paths.authority.read_bytes() == held.authority_pem


def test_a_directory_made_by_hand_is_read_too(tmp_path: Path) -> None:
    """Operators copy files: plain ones, without links and without authority.pem."""
    (held,) = authority(tmp_path).enroll([Enrolment(PLACER, tmp_path / "p")], now_s=NOW_S)
    plain = tmp_path / "plain"
    plain.mkdir(mode=0o700)
    for name, data in (
        ("key.pem", held.key_pem),
        ("cert.pem", held.cert_pem),
        ("ca.pem", held.ca_pem),
    ):
        (plain / name).write_bytes(data)
        (plain / name).chmod(0o600)
    assert workload.load(plain).identity == held.identity


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    """The commonest mistake of copying by hand, told in a sentence instead of a TLS alert."""
    one, _ = authority(tmp_path).enroll(
        [Enrolment(PLACER, tmp_path / "p"), Enrolment(GATEWAY, tmp_path / "g")], now_s=NOW_S
    )
    assert one
    key = (tmp_path / "g" / "key.pem").read_bytes()
    (tmp_path / "p" / "current" / "key.pem").write_bytes(key)
    with pytest.raises(FileRefused, match=r"not the key of cert\.pem"):
        workload.load(tmp_path / "p")


def test_the_key_is_not_in_the_repr(tmp_path: Path) -> None:
    """A holder printed into a log by accident must not print its key (attack 22)."""
    (held,) = authority(tmp_path).enroll([Enrolment(PLACER, tmp_path / "p")], now_s=NOW_S)
    assert "PRIVATE" not in repr(held)
    assert "PRIVATE" not in str(held)
    assert b"PRIVATE KEY" in held.key_pem


def test_a_tier_is_renewed_under_its_key(tmp_path: Path) -> None:
    """Its etcd pins the old certificate until it restarts; leaves of the new one must match it."""
    store = authority(tmp_path)
    first = store.tier("site/a", now_s=NOW_S)
    later = store.tier("site/a", now_s=NOW_S + 89 * DAY_S)
    assert later.certificate != first.certificate
    assert later.key.public_key() == first.key.public_key()
    leaf = ca.issue_leaf(later, PLACER, ca.new_key().public_key(), now_s=NOW_S, serial=7)
    assert ca.signed_by(leaf, first.certificate)
    assert store.tier("site/a", now_s=NOW_S + 89 * DAY_S + 1).certificate == later.certificate


def test_a_root_is_rotated_in_two_steps(tmp_path: Path) -> None:
    """Known before it signs; the old one known until what it signed is gone."""
    store = authority(tmp_path)
    old = store.root(now_s=NOW_S)
    both = store.prepare_root(now_s=NOW_S)
    assert store.root(now_s=NOW_S).certificate == old.certificate
    store.activate_root()
    new = store.root(now_s=NOW_S)
    assert new.certificate != old.certificate
    assert store.tier("site/a", now_s=NOW_S).root == new.certificate
    pinned = x509.load_pem_x509_certificates(store.bundle_pem())
    assert (
        set(pinned)
        == set(x509.load_pem_x509_certificates(both))
        == {old.certificate, new.certificate}
    )
    store.retire_previous()
    assert x509.load_pem_x509_certificates(store.bundle_pem()) == [new.certificate]


def test_root_rotation_out_of_order_is_refused(tmp_path: Path) -> None:
    """Activating what nobody knows would cut every link; preparing twice would lose a known one."""
    store = authority(tmp_path)
    store.root(now_s=NOW_S)
    with pytest.raises(IssueRefused, match="prepare it first"):
        store.activate_root()
    store.prepare_root(now_s=NOW_S)
    with pytest.raises(IssueRefused, match="activate it first"):
        store.prepare_root(now_s=NOW_S)


def test_a_kill_in_the_middle_of_activation_is_finished(tmp_path: Path) -> None:
    """Between moving the key and moving its certificate there is an instant; it must not cost
    the root.
    """
    store = authority(tmp_path)
    store.root(now_s=NOW_S)
    store.prepare_root(now_s=NOW_S)
    place = tmp_path / "authority"
    wanted = x509.load_pem_x509_certificate((place / NEXT / "cert.pem").read_bytes())
    os.replace(place / NEXT / "key.pem", place / ROOT / "key.pem")
    assert store.root(now_s=NOW_S).certificate == wanted


def test_the_directory_of_another_trust_domain_is_refused(tmp_path: Path) -> None:
    """Two labs in one directory would otherwise share a root."""
    authority(tmp_path).root(now_s=NOW_S)
    other = AuthorityStore(tmp_path / "authority", TrustDomain("partner.example"))
    with pytest.raises(FileRefused, match="another trust domain"):
        other.root(now_s=NOW_S)


def test_issuing_refuses_what_lies_outside(tmp_path: Path) -> None:
    """Another operator, another tier, a signer that ends before its leaf, a root below a tier."""
    store = authority(tmp_path)
    tier = store.tier("site/a", now_s=NOW_S)
    key = ca.new_key().public_key()
    for identity, word in (
        (Identity.of_site("partner.example", "a", "placer"), "of carrier.example"),
        (Identity.of_site(CARRIER, "b", "placer"), '"site/a" only'),
        (Identity.of_global(CARRIER, "placer"), '"site/a" only'),
    ):
        with pytest.raises(IssueRefused, match=word):
            ca.issue_leaf(tier, LeafRequest(identity), key, now_s=NOW_S, serial=1)
    with pytest.raises(IssueRefused, match="renew the authority first"):
        ca.issue_leaf(tier, PLACER, key, now_s=NOW_S + 90 * DAY_S, serial=1)
    with pytest.raises(IssueRefused, match="only a root"):
        ca.create_tier(tier, "site/a", ca.new_key(), now_s=NOW_S, serial=1)


@pytest.mark.parametrize(
    "realm", ["", "site", "site/", "site/global", "site/a/b", "Global", "x/a", "../x"]
)
def test_realms_are_tiers(tmp_path: Path, realm: str) -> None:
    """A realm becomes a directory name: only what an identity can have."""
    with pytest.raises(IssueRefused):
        authority(tmp_path).tier(realm, now_s=NOW_S)


@pytest.mark.parametrize("serial", [0, -1, 2**159])
def test_serials_are_in_range(serial: int) -> None:
    """They are an argument, so both ends are checked; the maker of random ones stays inside."""
    with pytest.raises(IssueRefused, match="serial"):
        ca.create_root(CARRIER, ca.new_key(), now_s=NOW_S, serial=serial)
    assert all(0 < random_serial() <= ca.MAX_SERIAL for _ in range(100))


def test_a_signing_request_gives_its_key_and_nothing_else(tmp_path: Path) -> None:
    """The launcher of a host asks for an instance; the issuer says who it is."""
    tier = authority(tmp_path).tier("site/a", now_s=NOW_S)
    identity = Identity.of_site(CARRIER, "a", "instance.i-0123456789ab")
    key = ca.new_key()
    csr = ca.make_csr(identity, key)
    leaf = ca.issue_from_csr(tier, csr, LeafRequest(identity), now_s=NOW_S, serial=5)
    assert leaf.public_key() == key.public_key()
    held = workload.from_certificate(tier, leaf, key, ca_pem=ca.pem([tier.root]))
    assert held.identity == identity


def test_a_signing_request_for_somebody_else_is_refused(tmp_path: Path) -> None:
    """An instance that asks to be the placer gets an error, not a corrected certificate."""
    tier = authority(tmp_path).tier("site/a", now_s=NOW_S)
    csr = ca.make_csr(PLACER.identity, ca.new_key())
    wanted = LeafRequest(Identity.of_site(CARRIER, "a", "instance.i-0123456789ab"))
    with pytest.raises(IssueRefused, match="names of the signing request"):
        ca.issue_from_csr(tier, csr, wanted, now_s=NOW_S, serial=5)


def test_a_signing_request_with_a_bad_signature_or_shape_is_refused(tmp_path: Path) -> None:
    """Without proof of possession one could get a certificate for a key one does not hold."""
    tier = authority(tmp_path).tier("site/a", now_s=NOW_S)
    good = ca.make_csr(PLACER.identity, ca.new_key())
    der = bytearray(x509.load_pem_x509_csr(good).public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    broken = x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM)
    for csr in (broken, b"", b"junk", good[:100], b"x" * 10_000):
        with pytest.raises(IssueRefused):
            ca.issue_from_csr(tier, csr, PLACER, now_s=NOW_S, serial=5)
