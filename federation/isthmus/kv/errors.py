"""What can go wrong between us and a key-value store, and what the caller may do about it.

    StoreError                      every failure of a store; ``retryable`` says if the same call may be repeated
    |-- Unavailable                 no answer from any endpoint; nothing was applied
    |-- DeadlineExceeded            no answer in time; ``maybe_applied`` tells a read from a write
    |-- AmbiguousOutcome            a write was sent and the link broke: applied or not, nobody knows
    |-- PermissionDenied            this identity may not touch this range
    |-- Unauthenticated             the store does not know this identity, or the token ran out
    |-- Compacted                   the revision asked for is gone; ``revision`` is the oldest still there
    |-- FutureRevision              the store is older than what was asked: it was restored from a backup
    |-- Conflict                    a compare of a transaction did not hold
    |-- LeaseLost                   the lease ran out or was revoked
    |-- NoSpace                     the store is full and refuses writes
    |-- TooLarge                    value, key or message over a limit
    `-- InvalidRequest              the call itself is wrong; a bug of the caller

A refusal is never retried by the client; an ambiguous write never is either, unless the caller made it idempotent.
"""

from __future__ import annotations


class StoreError(Exception):
    """Base of all store failures. ``retryable``: the same call may succeed later unchanged."""

    retryable: bool = False


class Unavailable(StoreError):
    """No endpoint answered; nothing of the call was applied."""

    retryable = True


class DeadlineExceeded(StoreError):
    """The deadline passed. ``maybe_applied`` is True for writes: the outcome is unknown."""

    def __init__(self, message: str, *, maybe_applied: bool) -> None:
        super().__init__(message)
        self.maybe_applied = maybe_applied
        self.retryable = not maybe_applied


class AmbiguousOutcome(StoreError):
    """The connection broke after a write was sent: it may or may not have been applied."""


class PermissionDenied(StoreError):
    """The identity has no right on ``range_`` (a key or a half-open range, as text)."""

    def __init__(self, message: str, *, range_: str = "") -> None:
        super().__init__(message)
        self.range_ = range_


class Unauthenticated(StoreError):
    """The store does not accept this identity at all."""


class Compacted(StoreError):
    """The asked revision was compacted; ``revision`` is the compaction revision (0: unknown)."""

    def __init__(self, message: str, *, revision: int) -> None:
        super().__init__(message)
        self.revision = revision


class FutureRevision(StoreError):
    """The store is at ``revision``, below what was asked: it went back in time (restore)."""

    def __init__(self, message: str, *, revision: int) -> None:
        super().__init__(message)
        self.revision = revision


class Conflict(StoreError):
    """A transaction's compare failed; nothing was written. ``revision`` is the store's now."""

    def __init__(self, message: str, *, revision: int = 0) -> None:
        super().__init__(message)
        self.revision = revision


class LeaseLost(StoreError):
    """The lease is gone; everything attached to it too."""


class NoSpace(StoreError):
    """The store raised its space alarm and refuses writes until it is compacted and disarmed."""


class TooLarge(StoreError):
    """A key, value or message is over a limit; see the message for size, limit and the way out."""


class InvalidRequest(StoreError):
    """The call cannot be made like this (bad range, empty key, malformed transaction)."""
