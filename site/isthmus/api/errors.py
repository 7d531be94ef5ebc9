"""What the API answers when it does not do what it was asked: one body, one sentence, the way out.

    ApiError                status, code, message, field, value, fix; ``others`` are further mistakes of the same body
    |-- NotKnown            404: there is no such thing, or not for this caller (attack 21: the two look the same)
    |-- NotAllowed          403: the caller is known and may not do this
    |-- WhoAreYou           401: no token, or one that is not ours
    |-- Refused             422: the request is understood and wrong; names field, value and fix
    |-- Clash               409: somebody else changed it, or it belongs to another tier
    |-- OverLimit           413, 415, 408: the body is too large, of another type, or too slow
    `-- StoreAway           503: the store cannot be asked now; ``Retry-After`` says when to come back

A stack trace never reaches a caller; it goes to the log under the request's trace id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from isthmus.contract.problems import Problem
from isthmus.identity.text import visible
from isthmus.kv import errors as kv


class ApiError(Exception):
    """An answer that is not a success; ``body`` is what the caller gets."""

    status: int = 500

    def __init__(
        self,
        code: str,
        message: str,
        *,
        fix: str = "",
        field: str = "",
        value: str = "",
        path: Sequence[str | int] = (),
        others: Sequence[Problem] = (),
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status if status is not None else type(self).status
        self.code = code
        self.message = message
        self.fix = fix
        self.field = field
        self.value = value
        self.path = tuple(path)
        self.others = tuple(others)
        self.headers = dict(headers or {})

    def body(self, trace_id: str = "") -> dict[str, Any]:
        """The JSON document of the answer."""
        error: dict[str, Any] = {
            "code": self.code,
            "message": self.message,
            "field": self.field,
            "value": self.value,
            "fix": self.fix,
            "path": list(self.path),
            "trace_id": trace_id,
        }
        if self.others:
            error["others"] = [problem_body(problem) for problem in self.others]
        return {"error": error}


class NotKnown(ApiError):
    """There is no such thing here, or not for this caller."""

    status = 404


class NotAllowed(ApiError):
    """The caller may not do this."""

    status = 403


class WhoAreYou(ApiError):
    """No token, or not one of ours."""

    status = 401

    def __init__(self, message: str, *, fix: str) -> None:
        super().__init__(
            "unauthenticated", message, fix=fix, headers={"WWW-Authenticate": "Bearer"}
        )


class Refused(ApiError):
    """Understood and wrong."""

    status = 422

    @classmethod
    def because(cls, problems: Sequence[Problem]) -> Refused:
        """The first of ``problems`` as the answer, the others with it."""
        first, *others = problems
        return cls(
            first.code,
            f"{first.field}: {first.message}" if first.field else first.message,
            field=first.field,
            value=first.value,
            fix=first.fix,
            path=first.path,
            others=others,
        )


class Clash(ApiError):
    """Somebody else has a say in it."""

    status = 409


class OverLimit(ApiError):
    """A limit of the API."""

    status = 413


class StoreAway(ApiError):
    """The store cannot be asked, or does not say what became of a write."""

    status = 503

    def __init__(self, code: str, message: str, *, fix: str, retry_after_s: int = 2) -> None:
        super().__init__(code, message, fix=fix, headers={"Retry-After": str(retry_after_s)})


def problem_body(problem: Problem) -> dict[str, Any]:
    """A further mistake as JSON."""
    return {
        "code": problem.code,
        "message": problem.message,
        "field": problem.field,
        "value": problem.value,
        "fix": problem.fix,
        "path": list(problem.path),
    }


def from_store(error: Exception) -> ApiError:
    """A failure of the store (or a deadline of ours) as an answer. Never shows addresses or key material."""
    if isinstance(error, kv.TooLarge):
        return OverLimit("too-large", visible(str(error)), fix="make the chain's config smaller")
    if isinstance(error, kv.AmbiguousOutcome) or getattr(error, "maybe_applied", False):
        return StoreAway(
            "outcome-unknown",
            "the store did not say whether the change was written",
            fix="repeat the same request: it is idempotent",
        )
    if isinstance(error, kv.PermissionDenied | kv.Unauthenticated):
        return StoreAway(
            "store-refuses-api",
            "the store refuses the API's own identity",
            fix="ask the operator to check the etcd user 'api' and its certificate",
            retry_after_s=30,
        )
    if isinstance(error, kv.NoSpace):
        return StoreAway(
            "store-full",
            "the store is full and takes no writes",
            fix="ask the operator to compact and defragment it",
            retry_after_s=30,
        )
    return StoreAway(
        "store-unreachable",
        "the store of this tier does not answer; what runs goes on running",
        fix="try again; 'isthmus doctor' at the site says what is wrong",
    )
