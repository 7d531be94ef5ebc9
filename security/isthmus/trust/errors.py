"""What trust refuses: at the handshake, at load, at issue.

    TrustError                      base; never retryable unchanged
    |-- PeerRefused                 a peer's certificate chain; ``code`` is one of REFUSALS
    |-- IssueRefused                an authority will not sign this
    |-- FileRefused                 a key or list on disk is loose, missing or malformed; ``fix``
    |-- BundleRefused               a trust bundle cannot be used as given
    |-- RevocationRefused           a revocation list is malformed, unsigned or older than ours
    `-- AuditBroken                 the audit file's chain of hashes does not hold; names the line

``code`` is stable: it is counted, audited and sent; the text is for people and already escaped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from isthmus.identity import visible

REFUSALS: Final = frozenset(
    {
        "malformed",
        "no-uri-san",
        "many-uri-sans",
        "identity-refused",
        "unknown-trust-domain",
        "wrong-authority",
        "authority-scope",
        "not-yet-valid",
        "expired",
        "not-a-leaf",
        "wrong-usage",
        "weak-key",
        "critical-extension",
        "revoked",
    }
)
"""Every reason a chain can be refused for. Counters have exactly these labels, so no stranger
can add one.
"""


class TrustError(Exception):
    """Base of all refusals by trust."""

    code: str = "trust"
    retryable: bool = False


class PeerRefused(TrustError):
    """A chain was refused for ``code`` (one of :data:`REFUSALS`); ``detail`` is for people."""

    def __init__(self, code: str, detail: str) -> None:
        if code not in REFUSALS:
            raise AssertionError(f"no such refusal: {code}")
        self.code = code
        self.detail = visible(detail, 400)
        super().__init__(f"peer refused ({code}): {self.detail}")


class IssueRefused(TrustError):
    """An authority does not sign ``field``; ``fix`` says what it would sign."""

    code = "issue-refused"

    def __init__(self, field: str, value: object, fix: str) -> None:
        self.field = field
        self.fix = fix
        super().__init__(f'{field} "{visible(str(value))}" not signed: {fix}')


class FileRefused(TrustError):
    """``path`` is not used: ``reason``; ``fix`` is a command or a sentence."""

    code = "file-refused"

    def __init__(self, path: Path, reason: str, fix: str) -> None:
        self.path = path
        self.reason = reason
        self.fix = fix
        super().__init__(f"{visible(str(path), 400)}: {reason}; fix: {visible(fix, 400)}")


class BundleRefused(TrustError):
    """``field`` of a trust bundle cannot be ``value``."""

    code = "bundle-refused"

    def __init__(self, field: str, value: object, fix: str) -> None:
        self.field = field
        super().__init__(f'trust bundle: {field} "{visible(str(value))}" refused: {fix}')


class RevocationRefused(TrustError):
    """A revocation list is not taken over; the one we have stays in force."""

    code = "revocation-refused"


class AuditBroken(TrustError):
    """``line`` (from 1) of ``path`` does not continue the chain before it."""

    code = "audit-broken"

    def __init__(self, path: Path, line: int, reason: str) -> None:
        self.path = path
        self.line = line
        super().__init__(f"{visible(str(path), 400)}, line {line}: {reason}")
