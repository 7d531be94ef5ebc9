"""The envelope: what every value in every store looks like, from the first value on (DESIGN section 4, R10, R11).

A reader must be able to tell, from one value alone, which schema it has, who wrote it in which life of which
process, under which leadership epoch, for which request, when, and until when it may be believed. Readers of schema
``n`` accept ``n-1``; fields a reader does not know survive a round trip, both in the envelope and in the body.

Versions are additive: version ``n`` of a model is ``n-1`` plus fields that have defaults, so a reader of ``n-1`` can
carry a value of ``n``, too. That makes upgrades rolling in both orders. Two versions apart is refused: nobody tests it.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import cache
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from isthmus.contract.errors import ValueRefused

VALUE_LIMIT_BYTES = 64 * 1024
"""Larger data lives elsewhere, content-addressed, and the key holds a pointer (R41)."""


class Body(BaseModel):
    """Base of every body: immutable, and what it does not know it carries along unchanged (R11)."""

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)

    SCHEMA_VERSION: ClassVar[int] = 1
    """Rises when fields are added; readers take one more and one less."""


B = TypeVar("B", bound=Body)


class Envelope(BaseModel, Generic[B]):
    """One value. ``as_of`` is UTC seconds since the epoch, ``ttl_s`` 0 means that the fact does not age."""

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)

    schema_: str = Field(alias="schema", description="name/version of the body, e.g. ChainPlan/1")
    generation: int = Field(default=1, ge=0, description="rises when the writer's intent changes")
    origin: str = Field(default="", description="identity of the writer, as in its certificate")
    incarnation: str = Field(default="", description="life of the writing process")
    epoch: int = Field(default=0, ge=0, description="fencing token: leadership of the writer")
    trace_id: str = Field(default="", description="follows one request through all components")
    idempotency_key: str = Field(default="", description="the same key is never applied twice")
    as_of: float = Field(default=0.0, description="when it was true, UTC seconds")
    ttl_s: float = Field(
        default=0.0, ge=0, description="believe it for so long; 0: it does not age"
    )
    body: B

    def age_s(self, now: float) -> float:
        """Seconds since ``as_of`` at ``now`` (UTC seconds); never negative."""
        return max(0.0, now - self.as_of)

    def expired(self, now: float) -> bool:
        """True when the fact is older than its time to live: its reader must say "unknown" (G12). So is one from
        further in the future than clocks may differ: it has no known age, and would be believed until its writer's
        clock is put right (found by simulation, docs/bugs-found.md)."""
        ahead_s = self.as_of - now
        return self.ttl_s > 0 and (self.age_s(now) > self.ttl_s or ahead_s > SKEW_S)


SKEW_S = 60.0
"""Two clocks may differ by so much (attack 17), no more: as for certificates."""


class Stamp(BaseModel):
    """Who writes: the envelope fields that stay the same for one life of one writer."""

    model_config = ConfigDict(frozen=True)

    origin: str
    incarnation: str
    epoch: int = 0


def utc_seconds() -> float:
    """The wall clock at an edge; pure code gets the time as an argument."""
    return datetime.now(UTC).timestamp()


def seal(
    body: Body,
    stamp: Stamp,
    *,
    as_of: float,
    generation: int = 1,
    ttl_s: float = 0.0,
    trace_id: str = "",
    idempotency_key: str = "",
    version: int | None = None,
) -> bytes:
    """The stored bytes of ``body``: canonical JSON (sorted keys, no spaces), so that equal facts are equal bytes.

    Raises ValueRefused when the result is over VALUE_LIMIT_BYTES.
    """
    document = {
        "schema": f"{type(body).__name__}/{version or body.SCHEMA_VERSION}",
        "generation": generation,
        "origin": stamp.origin,
        "incarnation": stamp.incarnation,
        "epoch": stamp.epoch,
        "trace_id": trace_id,
        "idempotency_key": idempotency_key,
        "as_of": as_of,
        "ttl_s": ttl_s,
        "body": body.model_dump(mode="json"),
    }
    data = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    if len(data) > VALUE_LIMIT_BYTES:
        raise ValueRefused(
            f"value of {type(body).__name__} is {len(data)} bytes, the limit is {VALUE_LIMIT_BYTES}: "
            "store the data in an object store and write a pointer (R41; isthmus.contract.pointer)"
        )
    return data


def unseal(data: bytes, model: type[B]) -> Envelope[B]:
    """The envelope in ``data`` with a body of ``model``.

    Raises ValueRefused naming the schema and the first field that is wrong; a foreign value never crashes its reader.
    """
    if len(data) > VALUE_LIMIT_BYTES:
        raise ValueRefused(f"value of {len(data)} bytes is over the limit of {VALUE_LIMIT_BYTES}")
    raw = _parse(data)
    name = str(raw.get("schema", ""))
    _check_schema(name, model)
    try:
        return _envelope_of(model).model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueRefused(f"{name}: field {where}: {first['msg']}") from None


@cache
def _envelope_of(model: type[B]) -> type[Envelope[B]]:
    """Pydantic builds the class anew whenever nobody holds it (2 ms, measured in simulation)."""
    return Envelope[model]  # type: ignore[valid-type]


def schema_name(schema: str) -> tuple[str, int]:
    """``ChainPlan/1`` as name and version; raises ValueRefused."""
    name, slash, version = schema.partition("/")
    if not name or not slash or not version.isascii() or not version.isdigit() or version[0] == "0":
        raise ValueRefused(f"schema {schema[:80]!r} is not name/version, such as ChainPlan/1")
    return name, int(version[:9])


def _check_schema(schema: str, model: type[Body]) -> None:
    name, version = schema_name(schema)
    if name != model.__name__:
        raise ValueRefused(f"schema {schema[:80]!r} where {model.__name__} is expected")
    if abs(version - model.SCHEMA_VERSION) > 1:
        raise ValueRefused(
            f"schema {schema[:80]!r}: this reader knows version {model.SCHEMA_VERSION} and takes one "
            "more or one less; upgrade one version at a time"
        )


def _parse(data: bytes) -> dict[str, Any]:
    try:
        raw = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ValueRefused(f"not JSON: {str(error)[:120]}") from None
    if not isinstance(raw, dict):
        raise ValueRefused(f"a JSON object is expected, not {type(raw).__name__}")
    return raw


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number in this contract")
