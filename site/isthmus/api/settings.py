"""What one API process has to know; every limit has a default with its reason (TigerBeetle: a limit on everything)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from isthmus.contract import Tier
from isthmus.contract.chain import Name
from isthmus.contract.problems import refusals
from isthmus.kv.settings import EtcdSettings

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class SettingsRefused(Exception):
    """The settings file cannot be used; the message names file, field, value and the fix."""


class ApiSettings(BaseModel):
    """Behaviour of the application itself, whatever serves it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    identity: str = ""
    """Written as ``origin`` of every value, as in the API's certificate."""

    tokens_file: Path | None = None
    """Hashes of bearer tokens; without it nobody gets in but through the Unix socket."""

    store_timeout_s: float = Field(3.0, gt=0)
    """For each question to the store. Longer than an etcd election (about 1.5 s), short for a person."""

    body_limit_bytes: int = Field(256 * 1024, ge=1024)
    """Four times the largest value that a key may hold: what is larger can never be stored."""

    body_timeout_s: float = Field(10.0, gt=0)
    """A body that comes more slowly than this is a slow-loris."""

    stream_limit: int = Field(64, ge=1)
    """Open event streams: each costs one watch in the store and some 100 kB."""

    beat_s: float = Field(10.0, gt=0)
    """A silent event stream says a comment so often, so that a dead listener is noticed."""


class TcpDoor(BaseModel):
    """A TCP port, for callers with a token. Beyond loopback it must be TLS: a token in clear is a token lost."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(ge=0, le=65535)
    cert_file: Path | None = None
    key_file: Path | None = None

    @model_validator(mode="after")
    def _safe(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file: stands alone; give cert_file and key_file or none")
        if self.host not in LOOPBACK and self.cert_file is None:
            raise ValueError(
                f"host: {self.host!r} is not loopback and there is no TLS; "
                "give cert_file and key_file, or use 127.0.0.1"
            )
        return self


class ServeSettings(BaseModel):
    """The settings file of ``python -m isthmus.api.main``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tier: Tier
    name: Name
    socket_path: Path
    store: EtcdSettings
    tcp: TcpDoor | None = None
    api: ApiSettings = ApiSettings()

    @field_validator("socket_path")
    @classmethod
    def _fits(cls, path: Path) -> Path:
        if len(str(path).encode()) > 107:
            raise ValueError("socket_path: is longer than 107 bytes; use a shorter folder")
        return path

    @model_validator(mode="after")
    def _tcp_needs_tokens(self) -> Self:
        if self.tcp is not None and self.api.tokens_file is None:
            raise ValueError("api.tokens_file: is missing, and tcp needs it; add one")
        return self


def load(path: Path) -> ServeSettings:
    """The settings in ``path``; raises SettingsRefused with one sentence."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsRefused(f"{path}: cannot be read ({error})") from None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SettingsRefused(f"{path}: is not JSON ({error})") from None
    try:
        return ServeSettings.model_validate_json(json.dumps(document))
    except ValidationError as error:
        problem = refusals(error, ServeSettings)[0]
        found = f" (found: {problem.value})" if problem.value else ""
        raise SettingsRefused(
            f"{path}: {problem.field}: {problem.message}{found}; {problem.fix}"
        ) from None
