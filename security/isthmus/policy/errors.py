"""What policy refuses, and why.

    PolicyError                     base: a rule was broken; never retryable as it is
    |-- KeyRefused                  a key, segment, prefix or range is not in the grammar
    |-- RuleRefused                 a scope or quota is itself malformed: found at load
    |-- PeerUnknown                 a proven identity that no operator listed
    `-- ScopeDenied                 a well-formed key is outside what the peer may touch
        `-- QuotaExceeded           it is inside, but the peer has used up what it was given

``code`` is stable and is what counters and gRPC details carry; the text is for people.
"""

from __future__ import annotations

from isthmus.identity.spiffe import Identity
from isthmus.identity.text import visible


class PolicyError(Exception):
    """Base of all refusals by policy."""

    code: str = "policy"
    retryable: bool = False


class KeyRefused(PolicyError, ValueError):
    """``key`` (already escaped for showing) breaks the grammar at ``position`` for ``reason``.

    Also a ValueError, so that a pydantic validator may call the checks directly.
    """

    code = "key-refused"

    def __init__(self, key: str | bytes, position: int, reason: str) -> None:
        self.key = visible(key)
        self.position = position
        self.reason = reason
        super().__init__(f'key "{self.key}" refused at position {position}: {reason}')


class RuleRefused(PolicyError, ValueError):
    """``field`` of a scope or quota cannot be what it is; the message says what it may be."""

    code = "rule-refused"

    def __init__(self, field: str, value: object, fix: str) -> None:
        self.field = field
        self.fix = fix
        super().__init__(f'{field} "{visible(str(value))}" refused: {fix}')


class PeerUnknown(PolicyError):
    """A verified identity that no operator listed as a peer."""

    code = "peer-unknown"

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        super().__init__(f"{identity} is not a listed peer; an operator adds it to the peer table")


class ScopeDenied(PolicyError):
    """The key is well formed, but the scope has no rule for it."""

    code = "scope-denied"

    def __init__(self, scope: str, verb: str, key: str | bytes, reason: str) -> None:
        self.scope = scope
        self.verb = verb
        self.key = visible(key)
        self.reason = reason
        super().__init__(f'{verb} of "{self.key}" denied by scope "{scope}": {reason}')


class QuotaExceeded(ScopeDenied):
    """The key is in scope, but a limit given to the peer is reached."""

    code = "quota-exceeded"
