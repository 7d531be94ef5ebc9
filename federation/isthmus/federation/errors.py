"""How a link can end, and who may do what about it.

    FederationError                 every end of a link that is not wished for
    |-- PeerRefused                 the other side is not who it must be; no retry will change that soon
    |   |-- ClaimRefused            its frames say another name than its certificate (attack 3)
    |   |-- VersionRefused          no version of the protocol is common
    |   `-- AgreementRefused        no agreement in force between the operators; ``code`` says why
    |-- ProtocolViolation           a frame that the state does not allow, or over a limit; ``code`` says which
    |-- LinkEnded                   the other side said good-bye, with its code
    |-- LinkLost                    nothing heard for too long, or the transport broke; dial again
    |-- CutOff                      our own watchdog: certificate expired, revoked, or no longer in the policy (G9)
    |-- AgreementChanged            the operators agreed anew: dial again under the new terms
    |-- Superseded                  a newer link of the same peer took over
    |-- Stopping                    this gateway is told to stop: dial another one, now
    `-- SettingsRefused             a settings file is wrong; the message names the field

``code`` is stable, is counted in the status of the link and is what a Bye frame carries.
"""

from __future__ import annotations


class FederationError(Exception):
    """Base. ``retryable``: dialling again with the same settings may work soon."""

    code: str = "federation"
    retryable: bool = True


class PeerRefused(FederationError):
    """The other side may not have this link."""

    code = "peer-refused"
    retryable = False


class ClaimRefused(PeerRefused):
    """A frame says a name that the certificate does not."""

    code = "claim-refused"


class VersionRefused(PeerRefused):
    """Both sides name a range of versions, and they do not overlap."""

    code = "version-refused"


AGREEMENT_CODES = frozenset(
    {
        "agreement-missing",
        "agreement-malformed",
        "agreement-party",
        "agreement-unsigned",
        "agreement-signature",
        "agreement-early",
        "agreement-expired",
        "agreement-region",
        "agreement-older",
    }
)
"""Every reason an export agreement is not in force; counters have exactly these labels."""


class AgreementRefused(PeerRefused):
    """Nothing may cross to this partner: ``code`` is one of AGREEMENT_CODES, the message names field, value and fix."""

    def __init__(self, code: str, message: str) -> None:
        if code not in AGREEMENT_CODES:
            raise AssertionError(f"no such refusal: {code}")
        super().__init__(message)
        self.code = code


class ProtocolViolation(FederationError):
    """A frame that must not be; ``code`` tells the rule that was broken."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class LinkEnded(FederationError):
    """The other side ended it and said why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class LinkLost(FederationError):
    """Silence, or a broken transport."""

    code = "lost"


class CutOff(FederationError):
    """We ended it: the peer's right to the link is over. ``code``: expired, revoked, ..."""

    retryable = False

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class AgreementChanged(FederationError):
    """Another version of the agreement is in force: this link ends, the next one has the new terms."""

    code = "agreement-changed"


class Superseded(FederationError):
    """Another link of the same peer is newer than this one."""

    code = "superseded"


class Stopping(FederationError):
    """We stop; nothing is wrong with the peer, which had better dial again at once."""

    code = "stopping"


def stopping(error: Exception) -> bool:
    """True when the other side said that it stops."""
    return isinstance(error, LinkEnded) and error.code == Stopping.code


class StillLinked(FederationError):
    """What is held of a peer cannot be forgotten while a link with it is there."""

    code = "still-linked"
    retryable = False


class SettingsRefused(FederationError):
    """A settings file cannot be used as it is."""

    code = "settings"
    retryable = False
