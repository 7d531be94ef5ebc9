"""Whether a live stream may go on, pure (DESIGN section 6, GUARANTEES attack 5, G9).

A gRPC stream outlives its certificate, and new calls on its connection do, too (measured: still
answered 5.6 s after the end of a 4 s certificate). An etcd watch outlives the permission it was
opened with. So whoever holds a link or a relay asks here every :data:`LOOK_EVERY_S` and cuts on
any answer. No tolerance for clocks is given: it was given once, at the handshake, and a peer
that renews in time never meets this line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from isthmus.trust.bundle import TrustBundles, VerifiedPeer, fingerprint
from isthmus.trust.revocation import RevocationList

LOOK_EVERY_S: Final = 1.0
"""Five seconds are promised; one look a second leaves room for a busy event loop."""
PARTNER_LIST_MAX_AGE_S: Final = 60.0
"""For peers of another operator: knowledge older than this fails closed. Our own sites never do:
autonomy first.
"""


@dataclass(frozen=True, slots=True)
class Cut:
    """Why a stream ends: ``code`` for counters and the audit, ``detail`` for people."""

    code: str
    detail: str

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


def cut_reason(
    peer: VerifiedPeer,
    now_s: float,
    revocations: RevocationList,
    policy_version: int,
    *,
    bundles: TrustBundles | None = None,
    max_list_age_s: float | None = None,
) -> str | None:
    """Why the stream of ``peer`` has to be cut now, as one line; None while it may go on."""
    cut = judge(
        peer,
        now_s,
        revocations,
        policy_version,
        bundles=bundles,
        max_list_age_s=max_list_age_s,
    )
    return None if cut is None else str(cut)


def judge(
    peer: VerifiedPeer,
    now_s: float,
    revocations: RevocationList,
    policy_version: int,
    *,
    bundles: TrustBundles | None = None,
    max_list_age_s: float | None = None,
) -> Cut | None:
    """The same with code and detail apart."""
    if now_s > peer.validity.not_after_s:
        return Cut("expired", f"the certificate of {peer.identity} has ended; it must renew")
    revoked = revocations.reason(peer.identity, peer.serial, peer.authorities)
    if revoked is not None:
        return Cut("revoked", revoked)
    if bundles is not None and not _still_rooted(peer, bundles):
        return Cut("bundle-changed", f"the root of {peer.identity} is trusted no more")
    if policy_version != peer.policy_version:
        was = peer.policy_version
        return Cut(
            "policy-changed", f"admitted under {was}, now {policy_version}; it may reconnect"
        )
    if max_list_age_s is not None and revocations.age_s(now_s) > max_list_age_s:
        age_s = revocations.age_s(now_s)
        return Cut(
            "revocations-stale", f"list is {age_s:.0f} s old, at most {max_list_age_s:.0f} s"
        )
    return None


def last_good_s(peer: VerifiedPeer) -> float:
    """The moment after which the stream ends by itself, when nothing else happens."""
    return peer.validity.not_after_s


def _still_rooted(peer: VerifiedPeer, bundles: TrustBundles) -> bool:
    roots = bundles.roots.get(peer.identity.trust_domain, ())
    return peer.authorities[-1] in {fingerprint(root) for root in roots}
