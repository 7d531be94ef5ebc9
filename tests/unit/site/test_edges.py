"""Folders and keys of instances on a real disk, signed by an authority: what a death or a renewal leaves (R13, G3)."""

from __future__ import annotations

import itertools
import json
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from tests.support_certificates import CARRIER, DAY_S, NOW_S, Operator

from isthmus.contract.instance import InstanceRuntime
from isthmus.site.edges import AuthoritySigner, FileShares
from isthmus.site.ports import InstanceFolder, SignedCertificate
from isthmus.trust import ca, files
from isthmus.trust.errors import IssueRefused

ONE = "i-000000000001"


class Desk:
    """A site's authority and the shares of one host."""

    def __init__(self, folder: Path) -> None:
        self.us = Operator(CARRIER)
        tier = self.us.tiers["site/a"]
        authority = folder / "authority"
        files.write_secret(authority / "key.pem", ca.key_pem(tier.key))
        files.write_public(authority / "cert.pem", ca.pem([tier.certificate]))
        files.write_public(authority / "ca.pem", ca.pem([self.us.root.certificate]))
        self.now_s = NOW_S
        serials = itertools.count(1)
        self.signer = AuthoritySigner(
            "a", CARRIER.name, authority, lambda: self.now_s, lambda: next(serials)
        )
        self.base = folder / "host" / "instances"
        self.shares = FileShares("a", CARRIER.name, self.base)

    def signed(self, instance: str = ONE) -> SignedCertificate:
        request = self.shares.signing_request(instance)
        return self.signer.sign(request, f"instance.{instance}")

    def folder(self, signed: SignedCertificate, incarnation: int = 1) -> InstanceFolder:
        runtime = InstanceRuntime(
            instance=ONE, incarnation=incarnation, phase="running", netns="n", legs={"in": "a"}
        )
        return InstanceFolder(
            runtime=runtime,
            type="firewall",
            version="1",
            form="process",
            certificate_pem=signed.certificate_pem,
            ca_pem=signed.ca_pem,
        )


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def belong_together(place: Path) -> bool:
    """Is the key in the folder the one that its certificate speaks of?"""
    key = serialization.load_pem_private_key((place / "key.pem").read_bytes(), None)
    leaf = x509.load_pem_x509_certificates((place / "cert.pem").read_bytes())[0]
    return key.public_key() == leaf.public_key()


def test_a_folder_is_whole_private_and_says_who_it_is(desk: Desk) -> None:
    """Why: the agent trusts what it finds there; nobody else may read the key."""
    assert desk.shares.publish(ONE, desk.folder(desk.signed()))
    place = desk.base / ONE
    assert desk.shares.published() == {ONE}
    assert stat.S_IMODE((place / "key.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert belong_together(place)
    said = json.loads((place / "instance.json").read_text())
    assert (said["instance"], said["incarnation"], said["legs"]) == (ONE, 1, {"in": "a"})
    assert not desk.shares.publish(ONE, desk.folder(SignedCertificate(
        (place / "cert.pem").read_text(), (place / "ca.pem").read_text()
    ))), "the same again is no news"  # fmt: skip


def test_a_request_without_its_key_is_made_anew(desk: Desk) -> None:
    """Why: a launcher that died in the middle of forgetting left the request alone; the instance never came again."""
    first = desk.shares.signing_request(ONE)
    (desk.base.parent / "keys" / f"{ONE}.pem").unlink()
    signed = desk.signed()
    assert desk.shares.signing_request(ONE) != first
    desk.shares.publish(ONE, desk.folder(signed))
    assert belong_together(desk.base / ONE)


def test_the_request_stays_the_same_until_it_is_forgotten(desk: Desk) -> None:
    """Why: the next life keeps its key, so that it is signed once; a forgotten instance keeps nothing."""
    first = desk.shares.signing_request(ONE)
    desk.shares.withdraw(ONE)
    assert desk.shares.signing_request(ONE) == first
    desk.shares.forget(ONE)
    assert list((desk.base.parent / "keys").iterdir()) == []
    assert desk.shares.signing_request(ONE) != first


def test_a_renewed_certificate_goes_into_the_folder_as_it_stands(desk: Desk) -> None:
    """Why: a new folder is a new life to the agent: a renewal would stop every function once a day (G10)."""
    desk.shares.publish(ONE, desk.folder(desk.signed()))
    place = desk.base / ONE
    life, before = place.stat().st_ino, (place / "cert.pem").read_text()
    desk.now_s += DAY_S / 2
    assert desk.shares.publish(ONE, desk.folder(desk.signed()))
    assert place.stat().st_ino == life
    assert (place / "cert.pem").read_text() != before
    assert belong_together(place)


def test_other_roots_reach_the_folder_too(desk: Desk) -> None:
    """Why: whoever is believed no more must be believed no more by the functions that run."""
    signed = desk.signed()
    desk.shares.publish(ONE, desk.folder(signed))
    other = SignedCertificate(signed.certificate_pem, Operator(CARRIER).bundle_pem.decode())
    assert desk.shares.publish(ONE, desk.folder(other))
    assert (desk.base / ONE / "ca.pem").read_text() == other.ca_pem


def test_a_new_life_or_a_new_key_is_a_new_folder(desk: Desk) -> None:
    """Why: a sandbox that is new must not read what the old one was told, and key and certificate change together."""
    signed = desk.signed()
    desk.shares.publish(ONE, desk.folder(signed))
    place = desk.base / ONE
    (place / "mark").touch()
    assert desk.shares.publish(ONE, desk.folder(signed, incarnation=2))
    assert not (place / "mark").exists()
    (place / "mark").touch()
    for name in (f"{ONE}.pem", f"{ONE}.csr"):
        (desk.base.parent / "keys" / name).unlink()
    assert desk.shares.publish(ONE, desk.folder(desk.signed(), incarnation=2))
    assert not (place / "mark").exists()
    assert belong_together(place)


def test_what_a_death_left_half_made_is_no_instance_and_in_nobodys_way(desk: Desk) -> None:
    """Why: publish dies between making and renaming; the next one begins with what is there."""
    for left in (f".new-{ONE}", f".old-{ONE}"):
        files.make_directory(desk.base / left)
        (desk.base / left / "instance.json").write_text("{")
    assert desk.shares.published() == set()
    desk.shares.publish(ONE, desk.folder(desk.signed()))
    assert json.loads((desk.base / ONE / "instance.json").read_text())["instance"] == ONE
    assert [entry.name for entry in desk.base.iterdir()] == [ONE]


def test_nobody_is_signed_under_another_name(desk: Desk) -> None:
    """Why: the request comes from a host; who it is for is the site's decision (attack 8)."""
    request = desk.shares.signing_request(ONE)
    with pytest.raises(IssueRefused, match="signing request"):
        desk.signer.sign(request, "placer")
