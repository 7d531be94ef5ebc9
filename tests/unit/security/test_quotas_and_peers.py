"""Quotas as arithmetic, peers as a table: both pure, both with both sides of each boundary."""

from __future__ import annotations

import pytest

from isthmus.identity import Identity
from isthmus.policy import (
    Bucket,
    KeyRefused,
    Peer,
    PeerTable,
    PeerUnknown,
    Quota,
    RuleRefused,
    Scope,
    Usage,
    decide_put,
)

SITE_A = Identity.of_site("carrier.example", "a", "federation")
SITE_B = Identity.of_site("carrier.example", "b", "federation")
NOTHING = Scope("nothing")
UP = Scope.mirror("up", ["summary/"])


def test_a_value_may_be_exactly_as_large_as_allowed() -> None:
    """64 KiB passes, one byte more does not, and the refusal names both figures."""
    assert decide_put(Quota(), Usage(), 10, 65_536, None)
    denied = decide_put(Quota(), Usage(), 10, 65_537, None)
    assert denied.code == "quota-exceeded"
    assert "65537" in denied.reason
    assert "65536" in denied.reason


def test_the_number_of_keys_is_bounded_but_replacing_goes_on() -> None:
    """A full peer can still correct what it said: only growth is refused."""
    quota, full = Quota(max_keys=2), Usage(keys=2, total_bytes=20)
    assert decide_put(quota, full, 5, 5, 10)
    assert not decide_put(quota, full, 5, 5, None)
    assert decide_put(quota, full.after_delete(10), 5, 5, None)


def test_shrinking_is_allowed_even_over_the_limit() -> None:
    """After an operator lowers a quota the peer must be able to get below it."""
    quota, over = Quota(max_total_bytes=100), Usage(keys=3, total_bytes=150)
    assert decide_put(quota, over, 5, 5, 50)
    assert not decide_put(quota, over, 5, 60, 50)
    assert decide_put(Quota(max_keys=2), Usage(keys=3, total_bytes=30), 5, 5, 10)


def test_usage_follows_puts_and_deletes_back_to_zero() -> None:
    """Counters that drift would lock out an honest peer after a month."""
    usage = Usage().after_put(3, 7, None).after_put(3, 20, 10).after_put(2, 2, None)
    assert usage == Usage(2, 27)
    assert usage.after_delete(23).after_delete(4) == Usage()


def test_the_bucket_lets_a_burst_through_and_then_the_rate() -> None:
    """Deterministic: time is an argument."""
    quota = Quota(max_changes_per_s=10.0, burst_changes=5)
    bucket, wait_s = Bucket.full(quota, 100.0).take(quota, 100.0, 5)
    assert wait_s == 0.0
    bucket, wait_s = bucket.take(quota, 100.0)
    assert wait_s == pytest.approx(0.1)
    bucket, wait_s = bucket.take(quota, 100.2)
    assert wait_s == 0.0
    bucket, _ = bucket.take(quota, 1_000.0)
    assert bucket.tokens == 4.0  # never more than the burst


def test_a_clock_that_goes_back_gives_no_tokens() -> None:
    """A suspended machine or a bad clock must not be a way to a second burst."""
    quota = Quota(max_changes_per_s=10.0, burst_changes=5)
    bucket, _ = Bucket.full(quota, 100.0).take(quota, 100.0, 5)
    bucket, wait_s = bucket.take(quota, 50.0)
    assert wait_s == pytest.approx(0.1)
    assert bucket.at_s == 100.0


@pytest.mark.parametrize(
    "bad",
    [
        {"max_value_bytes": 65_537},
        {"max_value_bytes": 0},
        {"max_keys": 0},
        {"max_changes_per_s": 0.0},
    ],
)
def test_quotas_outside_the_house_are_refused(bad: dict[str, int]) -> None:
    """Zero is not a way to cut a peer, and nobody may allow more than the store takes."""
    with pytest.raises(RuleRefused):
        Quota(**bad)


def test_peers_are_found_by_identity_and_named_by_the_table() -> None:
    """remote/<name>/ comes from here."""
    table = PeerTable.of(7, [Peer("a", SITE_A, UP, NOTHING), Peer("b", SITE_B, UP, NOTHING)])
    assert table.find(SITE_A).import_root == "remote/a/"
    assert table.find(SITE_B).name == "b"


def test_unlisted_identities_are_unknown_however_valid() -> None:
    """Another component of a listed site is not the site's federation."""
    table = PeerTable.of(1, [Peer("a", SITE_A, UP, NOTHING)])
    for stranger in (
        SITE_B,
        Identity.of_site("carrier.example", "a", "placer"),
        Identity.of_site("partner.example", "a", "federation"),
    ):
        with pytest.raises(PeerUnknown, match="operator"):
            table.find(stranger)


def test_tables_with_doubles_or_bad_names_are_refused() -> None:
    """Two identities under one name would overwrite each other's mirror."""
    with pytest.raises(RuleRefused, match="name of its own"):
        PeerTable.of(1, [Peer("a", SITE_A, UP, NOTHING), Peer("a", SITE_B, UP, NOTHING)])
    with pytest.raises(RuleRefused, match="identity once"):
        PeerTable.of(1, [Peer("a", SITE_A, UP, NOTHING), Peer("b", SITE_A, UP, NOTHING)])
    with pytest.raises(KeyRefused):
        Peer("a/b", SITE_A, UP, NOTHING)
