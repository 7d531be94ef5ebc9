"""From what gRPC and etcd say to what it means for the caller (the tree in :mod:`isthmus.kv.errors`).

The delicate question is a write whose connection broke: did it happen? Only answers that prove the
request never reached the store, or was refused by it, are ``Unavailable`` (and tried again by us);
everything else is ``AmbiguousOutcome`` and the caller's to settle.
"""

from __future__ import annotations

from collections.abc import Callable

import grpc

from isthmus.kv.errors import (
    AmbiguousOutcome,
    Compacted,
    DeadlineExceeded,
    FutureRevision,
    InvalidRequest,
    LeaseLost,
    NoSpace,
    PermissionDenied,
    StoreError,
    TooLarge,
    Unauthenticated,
    Unavailable,
)

_NEVER_SENT = (
    "failed to connect to all addresses",
    "connections to all backends failing",
    "name resolution failure",
    "DNS resolution failed",
    "etcdserver: no leader",
    "etcdserver: too many requests",
    "etcdserver: not leader",
    "Channel is closed",
    "lame client channel",  # certificate and key do not belong together (yet)
)

AUTH_STORE_IS_OLD = "revision of auth store is old"


class AuthChanged(Unavailable):
    """Users or roles changed while the call was on its way; refused, nothing applied: ask again."""


def _unavailable(what: str, details: str, writes: bool) -> StoreError:
    if not writes or any(sign in details for sign in _NEVER_SENT):
        return Unavailable(f"{what}: no store answered ({details})")
    return AmbiguousOutcome(
        f"{what}: the connection broke after it was sent, so it may or may not have been applied "
        f"({details}); read the key again before you repeat it"
    )


def _exhausted(what: str, details: str, writes: bool) -> StoreError:
    if "space exceeded" in details:
        return NoSpace(
            f"{what}: the store is full; compact, defragment and disarm its NOSPACE alarm"
        )
    if "too many requests" in details:
        return Unavailable(f"{what}: the store is overloaded ({details})")
    return TooLarge(f"{what}: a message is over the limit ({details})")


def _invalid(what: str, details: str, writes: bool) -> StoreError:
    if AUTH_STORE_IS_OLD in details:
        return AuthChanged(f"{what}: users or roles of the store changed meanwhile")
    if "user name is empty" in details or "authentication failed" in details:
        return Unauthenticated(f"{what}: the store does not know this identity ({details})")
    if "too large" in details or "too many operations" in details:
        return TooLarge(f"{what}: {details}")
    return InvalidRequest(f"{what}: {details}")


def _out_of_range(what: str, details: str, writes: bool) -> StoreError:
    if "has been compacted" in details:
        return Compacted(f"{what}: the revision asked for was compacted", revision=0)
    if "future revision" in details:
        return FutureRevision(f"{what}: the store is older than the revision asked for", revision=0)
    return InvalidRequest(f"{what}: {details}")


def _not_found(what: str, details: str, writes: bool) -> StoreError:
    if "lease not found" in details:
        return LeaseLost(f"{what}: the lease is gone")
    return InvalidRequest(f"{what}: {details}")


def _precondition(what: str, details: str, writes: bool) -> StoreError:
    if "not leader" in details or "not capable" in details:
        return Unavailable(f"{what}: {details}")
    return InvalidRequest(f"{what}: {details}")


def _deadline(what: str, details: str, writes: bool) -> StoreError:
    end = "; it may have been applied all the same" if writes else ""
    return DeadlineExceeded(f"{what}: no answer in time{end}", maybe_applied=writes)


def _unauthenticated(what: str, details: str, writes: bool) -> StoreError:
    return Unauthenticated(f"{what}: the store does not accept this identity ({details})")


def _unimplemented(what: str, details: str, writes: bool) -> StoreError:
    return InvalidRequest(f"{what}: this server does not know the call ({details})")


_BY_CODE: dict[grpc.StatusCode, Callable[[str, str, bool], StoreError]] = {
    grpc.StatusCode.RESOURCE_EXHAUSTED: _exhausted,
    grpc.StatusCode.INVALID_ARGUMENT: _invalid,
    grpc.StatusCode.OUT_OF_RANGE: _out_of_range,
    grpc.StatusCode.NOT_FOUND: _not_found,
    grpc.StatusCode.FAILED_PRECONDITION: _precondition,
    grpc.StatusCode.DEADLINE_EXCEEDED: _deadline,
    grpc.StatusCode.UNAUTHENTICATED: _unauthenticated,
    grpc.StatusCode.UNIMPLEMENTED: _unimplemented,
}


def from_status(
    code: grpc.StatusCode, details: str, *, what: str, writes: bool, range_: str = ""
) -> StoreError:
    """Our error for a status. ``what`` names call and key for the message; ``writes`` says whether
    the call changes the store."""
    if code is grpc.StatusCode.PERMISSION_DENIED:
        return PermissionDenied(
            f"{what}: this identity may not touch {range_ or 'that'}", range_=range_
        )
    rule = _BY_CODE.get(code, _unavailable)  # INTERNAL, UNKNOWN, CANCELLED by the server, ...
    return rule(what, details, writes)


def from_cancel_reason(reason: str, *, what: str, range_: str) -> StoreError:
    """Our error for a watch that the store ended with a reason in words."""
    if "permission denied" in reason:
        code = grpc.StatusCode.PERMISSION_DENIED
    elif "invalid auth token" in reason:
        code = grpc.StatusCode.UNAUTHENTICATED
    elif AUTH_STORE_IS_OLD in reason or "user name is empty" in reason:
        code = grpc.StatusCode.INVALID_ARGUMENT
    elif "compacted" in reason or "future revision" in reason:
        code = grpc.StatusCode.OUT_OF_RANGE
    elif not reason or "watch canceled" in reason or "no leader" in reason:
        code = grpc.StatusCode.UNAVAILABLE
    else:
        code = grpc.StatusCode.FAILED_PRECONDITION
    return from_status(code, reason, what=what, writes=False, range_=range_)
