"""What the operator tells the processes of one site, as one JSON file; unknown fields are refused.

Secrets are not in it: it names folders that hold keys with mode 0600.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StoreSettings(_Strict):
    """The site's own etcd."""

    endpoints: tuple[str, ...] = Field(min_length=1)
    server_name: str


class AttachmentSettings(_Strict):
    """A customer's circuit: the namespace of the premises and the address given there."""

    netns: str
    address: str
    interface: str = "eth0"


class HostSettings(_Strict):
    """One NFV node. ``netns`` None: the namespace this process runs in."""

    host: str
    netns: str | None = None
    cpu_milli: int = Field(default=4000, ge=1)
    memory_mib: int = Field(default=8192, ge=1)
    underlay_address: str
    attachments: dict[str, AttachmentSettings] = Field(default_factory=dict)


class PeerSettings(_Strict):
    """What a peer may ask of this site; see :class:`isthmus.contract.peering.Delegation`. ``revoked``: carry nothing
    for it, what stands ends at once."""

    peer: str
    tenants: tuple[str, ...] = ()
    brake_share: float = Field(default=0.5, ge=0, le=1)
    brake_floor: int = Field(default=3, ge=0)
    revoked: bool = False


class SiteSettings(_Strict):
    """One site. ``certificates`` holds one folder per component, ``authority`` the signer's (credentials only)."""

    site: str
    trust_domain: str
    store: StoreSettings
    certificates: Path
    authority: Path
    state: Path
    hosts: tuple[HostSettings, ...]
    peers: tuple[PeerSettings, ...] = ()
    price_milli: int = Field(default=1000, ge=0)
    mtu: int = Field(default=1450, ge=576, le=9000)
    plugin: Literal["linux", "hollow"] = "linux"
    record_calls: Path | None = None

    def instances_dir(self, host: str) -> Path:
        """Where the folders of this host's instances are."""
        return self.state / host / "instances"


class SettingsRefused(Exception):
    """The settings file cannot be used; names file, field and reason."""


def load(path: Path) -> SiteSettings:
    """Settings from ``path``; raises SettingsRefused."""
    try:
        return SiteSettings.model_validate(json.loads(path.read_text()))
    except OSError as error:
        raise SettingsRefused(f"{path}: {error.strerror}; give a readable file") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingsRefused(f"{path}: field {where}: {first['msg']}") from None
    except ValueError as error:
        raise SettingsRefused(f"{path}: not JSON: {error}") from None
