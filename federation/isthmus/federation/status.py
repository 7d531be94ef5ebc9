"""What an operator may know about a link at any moment (issue: federation status)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from isthmus.federation.filters import Denial


class LinkStatus(BaseModel):
    """One link, one moment. ``*_ms`` are milliseconds, counters start with the link's process."""

    model_config = ConfigDict(frozen=True)

    peer: str
    state: str = Field(
        description="dialling, greeting, open, closed; at a gateway also absent, refused, elsewhere"
    )
    gateway: str = Field("", description="elsewhere: the gateway of this tier that has the link")
    connected: bool = False
    version: int = 0
    since: float = Field(0.0, description="UTC seconds of the last change of state")
    as_of: float = Field(0.0, description="UTC seconds when this was true")
    silent_s: float = Field(0.0, description="seconds since the last frame was heard")
    lag_ms: float = Field(0.0, description="age of the newest thing stored, by the peer's clock")
    bytes_sent: int = 0
    bytes_received: int = 0
    frames_sent: int = 0
    frames_received: int = 0
    keys_exported: int = 0
    keys_imported: int = 0
    items_sent: int = 0
    items_received: int = 0
    pending_keys: int = 0
    in_flight_bytes: int = 0
    through_sent: int = 0
    through_received: int = 0
    synced: bool = False
    digests_equal: bool | None = Field(None, description="None: not compared since the last change")
    resyncs: int = 0
    repairs: int = 0
    reconnects: int = 0
    slowed_s: float = Field(0.0, description="how long the peer was made to wait for its rate")
    denied: dict[str, int] = Field(default_factory=dict, description="by direction and reason")
    newest_denials: tuple[Denial, ...] = ()
    last_error: str = ""
    quarantined: str = Field("", description="why what is held of the peer is marked, or will be")
    agreement: str = Field("", description="the export agreement in force; empty: none is needed")


class StatusFile(BaseModel):
    """All links of one process; a gateway also tells whom it ``refused``, by reason: a stranger has no link."""

    links: tuple[LinkStatus, ...] = ()
    refused: dict[str, int] = Field(default_factory=dict, description="at the gateway, by reason")


def write_status(
    path: Path, links: tuple[LinkStatus, ...], refused: Mapping[str, int] | None = None
) -> None:
    """Replace ``path`` in one step: a reader sees the old status or the new one."""
    publish(path, StatusFile(links=links, refused=dict(refused or {})).model_dump_json())


def publish(path: Path, text: str) -> None:
    """At once or not at all."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def read_status_file(path: Path) -> StatusFile:
    """What :func:`write_status` wrote."""
    return StatusFile.model_validate_json(path.read_bytes())


def read_status(path: Path) -> tuple[LinkStatus, ...]:
    """The links in it."""
    return read_status_file(path).links
