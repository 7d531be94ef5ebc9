"""Trust, the edges of identity and policy: issuing, keeping, verifying, revoking, cutting,
auditing.
"""

from isthmus.trust.audit import AuditLog
from isthmus.trust.bundle import TrustBundles, VerifiedPeer, verify_chain, verify_peer
from isthmus.trust.errors import (
    REFUSALS,
    AuditBroken,
    BundleRefused,
    FileRefused,
    IssueRefused,
    PeerRefused,
    RevocationRefused,
    TrustError,
)
from isthmus.trust.names import presented_chain
from isthmus.trust.revocation import NONE_REVOKED, RevocationList
from isthmus.trust.store import AuthorityStore, Enrolment, enroll, random_serial
from isthmus.trust.watchdog import Cut, cut_reason
from isthmus.trust.workload import KeyAndCert, Paths

__all__ = [
    "NONE_REVOKED",
    "REFUSALS",
    "AuditBroken",
    "AuditLog",
    "AuthorityStore",
    "BundleRefused",
    "Cut",
    "Enrolment",
    "FileRefused",
    "IssueRefused",
    "KeyAndCert",
    "Paths",
    "PeerRefused",
    "RevocationList",
    "RevocationRefused",
    "TrustBundles",
    "TrustError",
    "VerifiedPeer",
    "cut_reason",
    "enroll",
    "presented_chain",
    "random_serial",
    "verify_chain",
    "verify_peer",
]
