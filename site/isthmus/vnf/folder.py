"""Instance folders: what a launcher leaves on the host for the agent, one folder per instance (DESIGN section 5).

``<id>/{instance.json,key.pem,cert.pem,ca.pem}`` appears by one rename and is replaced the same way, so a folder
is whole or absent. What is read here was written by another process: names are checked before they become paths.
"""

from __future__ import annotations

import json
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from isthmus.identity.text import SEGMENT
from isthmus.vnf.errors import FolderRefused

SOCKET_NAME = "kv.sock"
_MAX_DOCUMENT_BYTES = 64 * 1024


class InstanceDocument(BaseModel):
    """``instance.json``. ``netns`` is the name below the folder of named network namespaces."""

    model_config = ConfigDict(frozen=True, extra="allow")

    instance: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")
    incarnation: int = Field(ge=1)
    type: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")
    version: str = Field(default="1", pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")
    form: Literal["kernel", "process", "container", "vm"] = "kernel"
    netns: str = Field(default="", pattern=r"^([A-Za-z0-9][A-Za-z0-9@._-]{0,200})?$")
    legs: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InstanceFolder:
    """One folder as read: ``life`` changes with every rename, ``credentials`` also when only they were renewed."""

    path: Path
    document: InstanceDocument
    life: tuple[int, ...]
    credentials: tuple[int, ...]

    @property
    def socket(self) -> Path:
        """Where the relay listens."""
        return self.path / SOCKET_NAME

    @property
    def cert_file(self) -> Path:
        """The instance's certificate."""
        return self.path / "cert.pem"

    @property
    def key_file(self) -> Path:
        """The instance's private key; made on this host, never leaves it."""
        return self.path / "key.pem"


def identity_in(certificate_pem: str) -> str:
    """The one URI among the names of the first certificate, "" when there is none (RFC 5280: a name of type 6).

    Read from its bytes: a whole X.509 library would cost the agent 8 MB for one line of text. Nothing is decided by it.
    """
    end = "-----END CERTIFICATE-----"
    try:
        der = ssl.PEM_cert_to_DER_cert(certificate_pem.partition(end)[0] + end)
    except ValueError:
        return ""
    found = re.search(rb"\x86([\x0a-\xff])(spiffe://[!-~]+)", der)
    if found is None:
        return ""
    return found.group(2)[: found.group(1)[0]].decode("ascii")


def read_folder(path: Path) -> InstanceFolder:
    """The instance in ``path``; raises FolderRefused naming the file and what is wrong with it."""
    try:
        place = path.stat()
        document_stat = (path / "instance.json").stat()
        files = [(path / name).stat() for name in ("cert.pem", "key.pem")]
        text = _read_limited(path / "instance.json")
    except OSError as error:
        raise FolderRefused(f"{path.name}: {error.filename}: {error.strerror}") from None
    document = _parse(path.name, text)
    if document.instance != path.name:
        raise FolderRefused(f"{path.name}: instance.json names {document.instance!r}")
    return InstanceFolder(
        path,
        document,
        life=(place.st_ino, document_stat.st_ino, document_stat.st_mtime_ns, document.incarnation),
        credentials=tuple(n for stat in files for n in (stat.st_ino, stat.st_mtime_ns)),
    )


def scan(folder: Path) -> tuple[dict[str, InstanceFolder], dict[str, FolderRefused]]:
    """Every instance below ``folder``, and what is wrong with the rest. Names outside the grammar (a launcher's
    temporary ones) are left alone; a missing ``folder`` is an empty one."""
    found: dict[str, InstanceFolder] = {}
    refused: dict[str, FolderRefused] = {}
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    except OSError:
        return found, refused
    for name in names:
        if SEGMENT.fullmatch(name) is None:
            continue
        try:
            found[name] = read_folder(folder / name)
        except FolderRefused as error:
            refused[name] = error
    return found, refused


def _read_limited(path: Path) -> str:
    with path.open("rb") as stream:
        return stream.read(_MAX_DOCUMENT_BYTES + 1)[:_MAX_DOCUMENT_BYTES].decode(errors="replace")


def _parse(name: str, text: str) -> InstanceDocument:
    try:
        return InstanceDocument.model_validate(json.loads(text))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise FolderRefused(f"{name}: instance.json: field {where}: {first['msg']}") from None
    except (ValueError, RecursionError) as error:
        raise FolderRefused(f"{name}: instance.json: not JSON: {error}") from None
