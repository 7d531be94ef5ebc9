"""The watchdog of a live stream, pure: each reason to cut alone, and silence otherwise (attack
5, G9).
"""

from __future__ import annotations

import pytest
from tests.support_certificates import CARRIER, DAY_S, NOW_S, PARTNER, Operator, bundles

from isthmus.trust import VerifiedPeer, cut_reason, verify_chain, watchdog
from isthmus.trust.bundle import fingerprint
from isthmus.trust.revocation import NONE_REVOKED, RevocationList

US, THEM = Operator(CARRIER), Operator(PARTNER)
BUNDLES = bundles(US, THEM)


@pytest.fixture
def peer() -> VerifiedPeer:
    """A site that connected at NOW_S under policy 4."""
    return verify_chain(US.issue()[1], BUNDLES, NOW_S, policy_version=4)


def test_an_honest_stream_goes_on(peer: VerifiedPeer) -> None:
    """Until its very last second, with all the checks on."""
    for now_s in (NOW_S, NOW_S + 100, NOW_S + DAY_S):
        fresh = RevocationList(1, now_s)
        assert cut_reason(peer, now_s, fresh, 4, bundles=BUNDLES, max_list_age_s=60) is None


def test_expiry_cuts_without_tolerance(peer: VerifiedPeer) -> None:
    """The skew was given at the handshake; a live stream gets none, so five seconds can be kept."""
    reason = cut_reason(peer, NOW_S + DAY_S + 0.1, NONE_REVOKED, 4)
    assert reason is not None
    assert reason.startswith("expired")
    assert watchdog.last_good_s(peer) == NOW_S + DAY_S


def test_each_kind_of_revocation_cuts(peer: VerifiedPeer) -> None:
    """Serial, identity, its tier's authority, its root."""
    for revoked in (
        RevocationList(1, NOW_S, serials=frozenset({("carrier.example", peer.serial)})),
        RevocationList(1, NOW_S, identities=frozenset({str(peer.identity)})),
        RevocationList(1, NOW_S, authorities=frozenset({peer.authorities[0]})),
        RevocationList(1, NOW_S, authorities=frozenset({peer.authorities[1]})),
    ):
        assert str(cut_reason(peer, NOW_S, revoked, 4)).startswith("revoked")
    others = RevocationList(
        1,
        NOW_S,
        serials=frozenset({("partner.example", peer.serial)}),
        identities=frozenset({str(THEM.identity())}),
        authorities=frozenset({fingerprint(THEM.root.certificate)}),
    )
    assert cut_reason(peer, NOW_S, others, 4) is None


def test_a_changed_policy_cuts_both_ways(peer: VerifiedPeer) -> None:
    """Newer or older: the stream was admitted under another one; it may come again and be judged
    anew.
    """
    for version in (3, 5):
        assert str(cut_reason(peer, NOW_S, NONE_REVOKED, version)).startswith("policy-changed")


def test_a_root_taken_out_of_the_bundle_cuts(peer: VerifiedPeer) -> None:
    """Retiring a root too early is told as that; rotating beside it cuts nobody (G10)."""
    renewed = Operator(CARRIER)
    both = BUNDLES.with_roots(CARRIER, [US.root.certificate, renewed.root.certificate])
    assert cut_reason(peer, NOW_S, NONE_REVOKED, 4, bundles=both) is None
    without = BUNDLES.with_roots(CARRIER, [renewed.root.certificate])
    assert str(cut_reason(peer, NOW_S, NONE_REVOKED, 4, bundles=without)).startswith(
        "bundle-changed"
    )
    gone = BUNDLES.with_roots(CARRIER, [])
    assert str(cut_reason(peer, NOW_S, NONE_REVOKED, 4, bundles=gone)).startswith("bundle-changed")


def test_stale_knowledge_cuts_only_where_it_was_asked_for(peer: VerifiedPeer) -> None:
    """Partners fail closed after a minute; our own sites go on for ever (autonomy)."""
    old = RevocationList(1, NOW_S - 61)
    assert cut_reason(peer, NOW_S, old, 4) is None
    reason = cut_reason(peer, NOW_S, old, 4, max_list_age_s=watchdog.PARTNER_LIST_MAX_AGE_S)
    assert str(reason).startswith("revocations-stale")
    fresh = RevocationList(1, NOW_S - 60)
    assert cut_reason(peer, NOW_S, fresh, 4, max_list_age_s=60.0) is None


def test_the_look_is_often_enough_for_the_promise() -> None:
    """Cut within 5 s of the policy being known: five looks fit."""
    assert watchdog.LOOK_EVERY_S * 5 <= 5.0
