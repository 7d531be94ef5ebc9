"""Identity, pure: names of processes and operators, certificate profiles, when to renew."""

from isthmus.identity.errors import (
    IdentityError,
    IdentityRefused,
    ProfileRefused,
    TrustDomainRefused,
)
from isthmus.identity.profiles import (
    LEAF,
    PROFILES,
    ROOT_AUTHORITY,
    SHORT_LEAF,
    SKEW_S,
    TIER_AUTHORITY,
    CertificateProfile,
    LeafRequest,
    Usage,
)
from isthmus.identity.rotation import (
    AUTHORITY_ROTATION,
    LEAF_ROTATION,
    RotationPolicy,
    Stage,
    Validity,
    next_look_s,
    stage,
)
from isthmus.identity.spiffe import GLOBAL, Identity, TrustDomain
from isthmus.identity.text import visible

__all__ = [
    "AUTHORITY_ROTATION",
    "GLOBAL",
    "LEAF",
    "LEAF_ROTATION",
    "PROFILES",
    "ROOT_AUTHORITY",
    "SHORT_LEAF",
    "SKEW_S",
    "TIER_AUTHORITY",
    "CertificateProfile",
    "Identity",
    "IdentityError",
    "IdentityRefused",
    "LeafRequest",
    "ProfileRefused",
    "RotationPolicy",
    "Stage",
    "TrustDomain",
    "TrustDomainRefused",
    "Usage",
    "Validity",
    "next_look_s",
    "stage",
    "visible",
]
