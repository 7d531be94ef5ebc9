"""Policy, pure: what a key may look like, who may write where, how much (DESIGN 3, 4 and 6)."""

from isthmus.policy.errors import (
    KeyRefused,
    PeerUnknown,
    PolicyError,
    QuotaExceeded,
    RuleRefused,
    ScopeDenied,
)
from isthmus.policy.peers import Peer, PeerTable
from isthmus.policy.quotas import Bucket, Quota, Usage, decide_put
from isthmus.policy.scopes import MIRROR, Decision, Rule, Scope, Verb, decide

__all__ = [
    "MIRROR",
    "Bucket",
    "Decision",
    "KeyRefused",
    "Peer",
    "PeerTable",
    "PeerUnknown",
    "PolicyError",
    "Quota",
    "QuotaExceeded",
    "Rule",
    "RuleRefused",
    "Scope",
    "ScopeDenied",
    "Usage",
    "Verb",
    "decide",
    "decide_put",
]
