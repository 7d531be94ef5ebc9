"""Trust, the edges of identity and policy: issuing, keeping, verifying, revoking, cutting,
auditing.
"""

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
from isthmus.trust.store import AuthorityStore, Enrolment, enroll, random_serial
from isthmus.trust.workload import KeyAndCert, Paths

__all__ = [
    "REFUSALS",
    "AuditBroken",
    "AuthorityStore",
    "BundleRefused",
    "Enrolment",
    "FileRefused",
    "IssueRefused",
    "KeyAndCert",
    "Paths",
    "PeerRefused",
    "RevocationRefused",
    "TrustError",
    "enroll",
    "presented_chain",
    "random_serial",
]
