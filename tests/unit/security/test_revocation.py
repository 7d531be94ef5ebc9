"""Revocation lists: typed, bounded, only ever newer, and signed by whom they speak for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support_certificates import CARRIER, NOW_S, PARTNER, Operator

from isthmus.trust import FileRefused, RevocationRefused, revocation
from isthmus.trust.revocation import NONE_REVOKED, RevocationList

US, THEM = Operator(CARRIER), Operator(PARTNER)
LIST = RevocationList(
    3,
    NOW_S,
    serials=frozenset({("carrier.example", 0xABC)}),
    identities=frozenset({"spiffe://carrier.example/site/b/federation"}),
    authorities=frozenset({"ab" * 32}),
)


def test_file_round_trip(tmp_path: Path) -> None:
    """What an operator edits is what is read; equal lists are equal bytes."""
    path = tmp_path / "revoked.json"
    path.write_bytes(LIST.to_json())
    path.chmod(0o644)
    assert revocation.load(path) == LIST
    assert revocation.parse(LIST.to_json()).to_json() == LIST.to_json()


def test_a_list_others_can_write_is_refused(tmp_path: Path) -> None:
    """Whoever empties it un-revokes everybody."""
    path = tmp_path / "revoked.json"
    path.write_bytes(LIST.to_json())
    path.chmod(0o666)
    with pytest.raises(FileRefused, match="go-w"):
        revocation.load(path)


def test_reasons_name_what_was_revoked_and_by_which_list() -> None:
    """Serial, identity, authority; silence for everybody else."""
    one = US.identity()
    other = US.identity(realm="site/b")
    assert "abc" in str(LIST.reason(one, 0xABC))
    assert "identity" in str(LIST.reason(other, 1))
    assert "authority" in str(LIST.reason(one, 1, ["ab" * 32]))
    assert LIST.reason(one, 1, ["cd" * 32]) is None
    assert LIST.reason(THEM.identity(), 0xABC) is None
    assert NONE_REVOKED.reason(one, 0xABC) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b"[" * 100_000,
        b'{"version": 0, "as_of_s": 1}',
        b'{"version": true, "as_of_s": 1}',
        b'{"version": "1", "as_of_s": 1}',
        b'{"version": 1}',
        b'{"version": 1, "as_of_s": NaN}',
        b'{"version": 1, "as_of_s": -1}',
        b'{"version": 1, "as_of_s": 1, "extra": 1}',
        b'{"version": 1, "as_of_s": 1, "serials": {}}',
        b'{"version": 1, "as_of_s": 1, "serials": [["carrier.example"]]}',
        b'{"version": 1, "as_of_s": 1, "serials": [["Carrier", "1"]]}',
        b'{"version": 1, "as_of_s": 1, "serials": [["carrier.example", "XY"]]}',
        b'{"version": 1, "as_of_s": 1, "serials": [["carrier.example", 5]]}',
        b'{"version": 1, "as_of_s": 1, "identities": ["spiffe://carrier.example"]}',
        b'{"version": 1, "as_of_s": 1, "identities": [null]}',
        b'{"version": 1, "as_of_s": 1, "authorities": ["ab"]}',
        b"x" * (2 * 1024 * 1024),
    ],
    ids=range(21),
)
def test_malformed_lists_are_refused_whole(body: bytes) -> None:
    """A typo must not revoke half: nothing of the list is taken, the old one stays."""
    with pytest.raises(RevocationRefused):
        revocation.parse(body)


def test_the_number_of_entries_is_bounded() -> None:
    """Both sides of ten thousand."""

    def body(count: int) -> bytes:
        names = [f"spiffe://carrier.example/site/a/c{number}" for number in range(count)]
        return json.dumps({"version": 1, "as_of_s": 1, "identities": names}).encode()

    assert len(revocation.parse(body(10_000)).identities) == 10_000
    with pytest.raises(RevocationRefused, match="at most 10000"):
        revocation.parse(body(10_001))


def test_versions_only_rise() -> None:
    """A replayed old list would un-revoke; two lists of one version mean nobody knows which."""
    later = RevocationList(4, NOW_S)
    assert revocation.newer(LIST, later) is later
    with pytest.raises(RevocationRefused, match="older than 4"):
        revocation.newer(later, LIST)
    with pytest.raises(RevocationRefused, match="two different"):
        revocation.newer(LIST, RevocationList(3, NOW_S))
    fresher = RevocationList(3, NOW_S + 60, LIST.serials, LIST.identities, LIST.authorities)
    assert revocation.newer(LIST, fresher) is fresher


def test_a_signed_list_is_taken_from_its_own_root_only() -> None:
    """Another operator's root, another context, a changed byte: not signed."""
    data = revocation.sign(LIST, US.root.key)
    roots = [US.root.certificate]
    assert revocation.parse_signed(data, CARRIER, roots) == LIST
    with pytest.raises(RevocationRefused, match="no root"):
        revocation.parse_signed(data, CARRIER, [THEM.root.certificate])
    with pytest.raises(RevocationRefused, match="no root"):
        revocation.parse_signed(data.replace(b"abc", b"abd"), CARRIER, roots)
    for junk in (
        b"",
        b"{}",
        b"[]",
        b'{"list": 1, "signature": ""}',
        b'{"list": "", "signature": "%"}',
    ):
        with pytest.raises(RevocationRefused):
            revocation.parse_signed(junk, CARRIER, roots)


def test_a_signed_list_revokes_nobody_elses() -> None:
    """A partner must not be able to cut our own sites from each other."""
    for foreign in (
        RevocationList(1, NOW_S, serials=frozenset({("carrier.example", 1)})),
        RevocationList(1, NOW_S, identities=frozenset({str(US.identity())})),
    ):
        data = revocation.sign(foreign, THEM.root.key)
        with pytest.raises(RevocationRefused, match="revokes others"):
            revocation.parse_signed(data, PARTNER, [THEM.root.certificate])


def test_lists_in_force_are_merged() -> None:
    """Everything any says; the age of the stalest, a version that rises when any rises."""
    theirs = RevocationList(2, NOW_S - 100, serials=frozenset({("partner.example", 9)}))
    merged = revocation.merge([LIST, theirs])
    assert merged.version == 5
    assert merged.serials == LIST.serials | theirs.serials
    assert merged.age_s(NOW_S) == 100
    assert merged.age_s(NOW_S - 500) == 0
    assert revocation.merge([]) is NONE_REVOKED


def test_revoking_makes_the_next_list_which_is_taken_over(tmp_path: Path) -> None:
    """What an operator's command does: add, write, and whoever reads it agrees that it is newer."""
    path = tmp_path / "revoked.json"
    first = revocation.revoke(NONE_REVOKED, NOW_S, identities=[US.identity()])
    second = revocation.revoke(
        first, NOW_S + 1, serials=[("carrier.example", 7)], authorities=["ef" * 32]
    )
    current = NONE_REVOKED
    for written in (first, second):
        revocation.save(path, written)
        current = revocation.newer(current, revocation.load(path))
    assert current == second
    assert current.identities == first.identities
    assert current.reason(US.identity(), 7) is not None
