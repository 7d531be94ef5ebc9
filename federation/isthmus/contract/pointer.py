"""Large data elsewhere: a pointer in the key, the data in an object store (R41, white paper section 4).

A key-value store replicates each value to every member and sends it to every watcher, so telemetry, series, images and
bundles do not belong in it. A :class:`Pointer` names the data by its content: whoever follows it checks size and hash,
so the place it lies need not be trusted, and the same data is stored once. Pure; the local store is
:mod:`isthmus.contract.blobs`, fetching from anywhere else is a port.

URLs: ``ni:///sha-256;<base64url>`` (RFC 6920: named by its hash alone, found in the local store) and
``s3://<bucket>/<key>``. Nothing else: a pointer comes from another component, and following ``file:`` or ``http:``
would let it make its reader open what it likes.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from typing import Annotated, Protocol, Self, TypeVar

from pydantic import Field, StringConstraints, field_validator, model_validator

from isthmus.contract.envelope import VALUE_LIMIT_BYTES, Body, Envelope, Stamp, seal, unseal
from isthmus.contract.errors import PointerRefused, ValueRefused

LIMIT_BYTES = 1024**3
"""Of what a pointer may point to: 1 GiB; a series that is longer is several."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_MEDIA_TYPE = r"^[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}$"
_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9.-]{1,61})[a-z0-9]")
_ADDRESS = re.compile(r"[0-9]+(?:\.[0-9]+){3}")
_OBJECT = re.compile(r"[A-Za-z0-9!_.*'()/-]{1,1024}")
_NAMED = re.compile(r"ni:///sha-256;([A-Za-z0-9_-]{43})")

B = TypeVar("B", bound=Body)


@dataclass(frozen=True, slots=True)
class ObjectUrl:
    """``s3://bucket/key`` taken apart; only the characters that every such store takes without escapes."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, url: str) -> Self:
        """Raises PointerRefused naming what is wrong; nothing is normalised."""
        scheme, separator, rest = url.partition("://")
        bucket, slash, key = rest.partition("/")
        if scheme != "s3" or not separator or not slash:
            raise PointerRefused(f"url {url[:120]!r} is not s3://bucket/key")
        if not _BUCKET.fullmatch(bucket) or ".." in bucket or _ADDRESS.fullmatch(bucket):
            raise PointerRefused(
                f"url {url[:120]!r}: a bucket is 3 to 63 of a-z 0-9 . - and no address"
            )
        parts = key.split("/")
        if not _OBJECT.fullmatch(key) or any(part in ("", ".", "..") for part in parts):
            raise PointerRefused(
                f"url {url[:120]!r}: a key is 1 to 1024 of A-Z a-z 0-9 ! _ . * ' ( ) / -, "
                "without empty, '.' or '..' segments"
            )
        return cls(bucket, key)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


def content_url(sha256: str) -> str:
    """The RFC 6920 name of content with this hash."""
    digest = base64.urlsafe_b64encode(bytes.fromhex(sha256)).rstrip(b"=").decode()
    return f"ni:///sha-256;{digest}"


def content_hash(url: str) -> str | None:
    """The hash in an RFC 6920 name, None for any other URL."""
    match = _NAMED.fullmatch(url)
    if match is None:
        return None
    digest = base64.urlsafe_b64decode(match.group(1) + "=").hex()
    return digest if content_url(digest) == url else None  # one spelling per hash


class Pointer(Body):
    """Where the data lies, and what it must be. ``of`` is the schema of a body that lies there (empty: no body)."""

    sha256: Sha256
    size_bytes: int = Field(ge=0, le=LIMIT_BYTES)
    media_type: str = Field(default="application/octet-stream", pattern=_MEDIA_TYPE)
    url: str = Field(max_length=2048)
    of: str = Field(default="", max_length=100)

    @field_validator("url")
    @classmethod
    def _known(cls, url: str) -> str:
        if content_hash(url) is None:
            try:
                ObjectUrl.parse(url)
            except PointerRefused as refused:
                raise ValueError(f"{refused}; or ni:///sha-256;... of the content") from None
        return url

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        named = content_hash(self.url)
        if named is not None and named != self.sha256:
            raise ValueError("url: it names another hash than sha256; make it of the same content")
        return self

    @classmethod
    def to(cls, data: bytes, *, url: str = "", media_type: str = "", of: str = "") -> Self:
        """A pointer to ``data``, at ``url`` or by its content's name."""
        digest = hashlib.sha256(data).hexdigest()
        return cls(
            sha256=digest,
            size_bytes=len(data),
            media_type=media_type or "application/octet-stream",
            url=url or content_url(digest),
            of=of,
        )

    def verify(self, data: bytes) -> bytes:
        """``data`` when it is what this points to; raises PointerRefused."""
        if len(data) != self.size_bytes:
            raise PointerRefused(
                f"{self.url}: {len(data)} bytes where {self.size_bytes} are expected"
            )
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise PointerRefused(f"{self.url}: the content has another hash than the pointer says")
        return data


class ContentStore(Protocol):
    """Content by its hash; :class:`isthmus.contract.blobs.FileStore` is one."""

    def put(self, data: bytes) -> str:
        """Keep ``data``; its sha256."""
        ...

    def get(self, sha256: str, *, limit_bytes: int) -> bytes:
        """What was kept under this hash; raises PointerRefused."""
        ...


class ObjectPort(Protocol):
    """Fetches from an object store; injected, so that no cloud SDK is needed here."""

    async def fetch(self, url: ObjectUrl, *, limit_bytes: int, timeout_s: float) -> bytes:
        """At most ``limit_bytes`` (more is a failure, not a cut)."""
        ...


async def follow(
    pointer: Pointer,
    contents: ContentStore,
    objects: ObjectPort | None = None,
    *,
    limit_bytes: int = LIMIT_BYTES,
    timeout_s: float = 30.0,
) -> bytes:
    """The data behind ``pointer``, checked; refused before anything is fetched when it is over ``limit_bytes``."""
    if pointer.size_bytes > limit_bytes:
        raise PointerRefused(
            f"{pointer.url}: {pointer.size_bytes} bytes, this reader takes {limit_bytes}"
        )
    if content_hash(pointer.url) is not None:
        return pointer.verify(contents.get(pointer.sha256, limit_bytes=pointer.size_bytes))
    if objects is None:
        raise PointerRefused(
            f"{pointer.url}: this reader has no object store; give it an ObjectPort"
        )
    url = ObjectUrl.parse(pointer.url)
    data = await objects.fetch(url, limit_bytes=pointer.size_bytes, timeout_s=timeout_s)
    return pointer.verify(data)


def seal_or_point(
    body: Body, stamp: Stamp, contents: ContentStore, *, as_of: float, ttl_s: float = 0.0
) -> bytes:
    """``body`` sealed, or, when that is over the cap, its JSON put into ``contents`` and a pointer to it sealed."""
    try:
        return seal(body, stamp, as_of=as_of, ttl_s=ttl_s)
    except ValueRefused:
        data = body.model_dump_json().encode()
        of = f"{type(body).__name__}/{body.SCHEMA_VERSION}"
        contents.put(data)
        pointer = Pointer.to(data, media_type="application/json", of=of)
        return seal(pointer, stamp, as_of=as_of, ttl_s=ttl_s)


async def unseal_or_follow(
    value: bytes,
    model: type[B],
    contents: ContentStore,
    objects: ObjectPort | None = None,
    *,
    limit_bytes: int = 64 * VALUE_LIMIT_BYTES,
) -> Envelope[B]:
    """The envelope in ``value`` with a body of ``model``, wherever the body lies."""
    try:
        return unseal(value, model)
    except ValueRefused as refused:
        try:
            held = unseal(value, Pointer)
        except ValueRefused:
            raise refused from None
    if held.body.of.partition("/")[0] != model.__name__:
        raise ValueRefused(f"a pointer to {held.body.of[:80]!r} where {model.__name__} is expected")
    data = await follow(held.body, contents, objects, limit_bytes=limit_bytes)
    try:
        body = model.model_validate_json(data)
    except ValueError as error:
        raise ValueRefused(f"{held.body.url}: no {model.__name__}: {str(error)[:200]}") from None
    whole = held.model_dump(by_alias=True) | {"schema": held.body.of, "body": body}
    return Envelope[model].model_validate(whole)  # type: ignore[valid-type]
