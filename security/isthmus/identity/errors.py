"""What is refused about names and certificate data, before any network or file is involved.

    IdentityError                   base; never retryable: somebody has to issue another name
    |-- IdentityRefused             a URI is not exactly one identity of ours; says where and why
    |-- TrustDomainRefused          a trust domain is not a plain lower-case DNS name
    `-- ProfileRefused              a certificate was asked for that its profile does not allow

``code`` is stable: counters and audit records carry it, the text is for people.
"""

from __future__ import annotations

from isthmus.identity.text import visible


class IdentityError(Exception):
    """Base of all refusals of names."""

    code: str = "identity"
    retryable: bool = False


class IdentityRefused(IdentityError, ValueError):
    """``uri`` (escaped) is not an identity: at ``position``, for ``reason``."""

    code = "identity-refused"

    def __init__(self, uri: str, position: int, reason: str) -> None:
        self.uri = visible(uri)
        self.position = position
        self.reason = reason
        super().__init__(f'identity "{self.uri}" refused at position {position}: {reason}')


class TrustDomainRefused(IdentityError, ValueError):
    """``name`` (escaped) is no trust domain, for ``reason``."""

    code = "trust-domain-refused"

    def __init__(self, name: str, reason: str) -> None:
        self.name = visible(name)
        self.reason = reason
        super().__init__(f'trust domain "{self.name}" refused: {reason}')


class ProfileRefused(IdentityError, ValueError):
    """``field`` of a certificate request is outside the profile; ``fix`` says what is inside."""

    code = "profile-refused"

    def __init__(self, field: str, value: object, fix: str) -> None:
        self.field = field
        self.fix = fix
        super().__init__(f'{field} "{visible(str(value))}" refused: {fix}')
