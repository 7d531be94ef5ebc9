"""Policy, pure: what a key may look like, who may write where, how much (DESIGN sections 3, 4
and 6).
"""

from isthmus.policy.errors import KeyRefused, PolicyError, QuotaExceeded, RuleRefused, ScopeDenied

__all__ = ["KeyRefused", "PolicyError", "QuotaExceeded", "RuleRefused", "ScopeDenied"]
