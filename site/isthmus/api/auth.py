"""Who is asking: the operator through the Unix socket, or a bearer token over TCP (GUARANTEES attacks 21 and 22).

Which door a request came through is told by the server that accepted it (``scope["isthmus.door"]``), never by
anything in the request; a request whose door is not marked is treated as coming over TCP. Tokens are 256 random
bits, so a plain SHA-256 of them is safe to keep; the file must not be readable by others, and it is read again when
it changes, so that removing a line revokes a token at once.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from isthmus.api.errors import WhoAreYou
from isthmus.contract.chain import Name

log = logging.getLogger(__name__)

DOOR = "isthmus.door"
UNIX, TCP = "unix", "tcp"
TOKEN_PREFIX = "isthmus_"
MAX_TOKENS_BYTES = 1024 * 1024


class TokensRefused(Exception):
    """The tokens file cannot be used; the message says why and how to put it right."""


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller: ``tenant`` None is the operator, who sees everything."""

    name: str
    tenant: str | None = None

    @property
    def is_operator(self) -> bool:
        """May this caller see other tenants, sites and the tier itself?"""
        return self.tenant is None

    def may_see(self, tenant: str) -> bool:
        """Is ``tenant`` the caller's own business?"""
        return self.tenant is None or self.tenant == tenant


OPERATOR = Principal("operator")


class TokenEntry(BaseModel):
    """One token: its hash, and whom it stands for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    tenant: Name | None = None
    operator: bool = False
    name: str = Field(default="", max_length=63)

    @model_validator(mode="after")
    def _one_role(self) -> Self:
        if self.operator == (self.tenant is not None):
            raise ValueError("tenant: give either a tenant or operator: true")
        return self


class TokenFile(BaseModel):
    """The document in the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tokens: tuple[TokenEntry, ...] = ()


@dataclass(slots=True)
class Tokens:
    """The tokens of one file, read again when the file changes."""

    path: Path
    _seen: tuple[int, int, int] = (0, 0, 0)
    _entries: tuple[TokenEntry, ...] = field(default=())

    def load(self) -> None:
        """Read the file if it changed; raises TokensRefused, and then nobody gets in."""
        try:
            found = self.path.stat()
            seen = (found.st_mtime_ns, found.st_size, found.st_ino)
            if seen == self._seen:
                return
            self._entries, self._seen = (), (0, 0, 0)
            self._entries = _read(self.path, found)
            self._seen = seen
        except OSError as error:
            self._entries, self._seen = (), (0, 0, 0)
            raise TokensRefused(f"{self.path}: cannot be read ({error.strerror})") from None

    def principal(self, token: str) -> Principal | None:
        """Whom ``token`` stands for. Looks at every entry, so that its time tells nothing."""
        digest = token_hash(token)
        match: TokenEntry | None = None
        for entry in self._entries:
            if hmac.compare_digest(entry.sha256, digest):
                match = entry
        if match is None:
            return None
        if match.operator:
            return Principal(match.name or "operator")
        return Principal(match.name or f"tenant-{match.tenant}", match.tenant)


def token_hash(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _read(path: Path, found: os.stat_result) -> tuple[TokenEntry, ...]:
    if stat.S_IMODE(found.st_mode) & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise TokensRefused(f"{path}: mode {mode:04o} lets others in; chmod 600 {path}")
    if found.st_size > MAX_TOKENS_BYTES:
        raise TokensRefused(f"{path}: is larger than {MAX_TOKENS_BYTES} bytes")
    try:
        return TokenFile.model_validate_json(path.read_bytes()).tokens
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise TokensRefused(f"{path}: {where}: {first['msg']}") from None


def identify(scope: Any, authorization: str, tokens: Tokens | None) -> Principal:
    """The caller of a request; raises WhoAreYou."""
    if scope.get(DOOR) == UNIX:
        return OPERATOR
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise WhoAreYou("no token", fix="send 'Authorization: Bearer TOKEN'")
    if tokens is None:
        raise WhoAreYou("this API takes no tokens", fix="use the Unix socket on the machine")
    try:
        tokens.load()
    except TokensRefused as error:
        log.error("nobody gets in by token: %s", error)
    principal = tokens.principal(token.strip())
    if principal is None:
        raise WhoAreYou("this token is not known", fix="ask the operator for a new one")
    return principal


def issue(path: Path, *, tenant: str | None, name: str = "") -> str:
    """Make a token for ``tenant`` (None: the operator), keep its hash in ``path``, return it: it is shown only once."""
    entries: tuple[TokenEntry, ...] = ()
    if path.exists():
        entries = _read(path, path.stat())
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    entry = TokenEntry(sha256=token_hash(token), tenant=tenant, operator=tenant is None, name=name)
    document = {"tokens": [item.model_dump(exclude_defaults=True) for item in (*entries, entry)]}
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        json.dump(document, stream, indent=1)
        stream.write("\n")
    temporary.replace(path)
    return token
