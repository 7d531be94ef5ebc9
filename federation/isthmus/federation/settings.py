"""What a gateway and a site's link have to be told; each default with its reason (DESIGN section 6).

Peers are listed by identity; nobody who is not listed gets past the handshake, and what a peer may send or be
sent is the contract's scope unless a narrower one is written here. Unknown fields are refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from isthmus.contract.scopes import SITE_TO_TIER, TIER_TO_SITE
from isthmus.federation.backoff import Pauses
from isthmus.federation.errors import SettingsRefused
from isthmus.federation.limits import LinkLimits
from isthmus.identity import Identity
from isthmus.kv.settings import EtcdSettings
from isthmus.policy.keys import check_segment
from isthmus.policy.peers import Peer, PeerTable
from isthmus.policy.quotas import Quota
from isthmus.policy.scopes import Scope


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class QuotaSettings(_Strict):
    """See :class:`isthmus.policy.quotas.Quota`."""

    max_keys: int = Field(20_000, ge=1)
    max_total_bytes: int = Field(64 * 1024 * 1024, ge=1)
    max_changes_per_s: float = Field(5_000.0, gt=0)
    burst_changes: int = Field(20_000, ge=1)

    def quota(self) -> Quota:
        """As policy wants it."""
        return Quota(
            max_keys=self.max_keys,
            max_total_bytes=self.max_total_bytes,
            max_changes_per_s=self.max_changes_per_s,
            burst_changes=self.burst_changes,
        )


class PeerSettings(_Strict):
    """``identity`` is the one URI in the peer's certificate; ``name`` is what it is called here."""

    name: str
    identity: str
    accepts: tuple[str, ...] = SITE_TO_TIER
    sends: tuple[str, ...] = TIER_TO_SITE
    quota: QuotaSettings = QuotaSettings()
    agreement: Path | None = Field(
        None, description="export agreement that both operators signed; it narrows the scopes"
    )
    region: str = Field("", description="where the peer keeps what it gets, for agreements")

    @field_validator("name")
    @classmethod
    def _segment(cls, value: str) -> str:
        return check_segment(value)

    def peer(self) -> Peer:
        """As policy wants it."""
        return Peer(
            name=self.name,
            identity=Identity.parse(self.identity),
            accepts=Scope.mirror(f"from-{self.name}", self.accepts),
            sends=Scope.mirror(f"to-{self.name}", self.sends),
            quota=self.quota.quota(),
        )


class _Process(_Strict):
    name: str = Field(description="what this tier calls itself: its site, or global")
    credentials: Path = Field(description="directory with key.pem, cert.pem (and ca.pem)")
    bundles: dict[str, Path] = Field(
        min_length=1, description="roots (PEM) by trust domain; a domain not listed is nobody"
    )
    revocations: Path | None = Field(
        None, description="list of what is revoked, read when it changes"
    )
    partners_need_agreement: bool = Field(
        False, description="refuse peers of other operators without a signed agreement"
    )
    region: str = Field("", description="where our own store is, for agreements")
    limits: LinkLimits = LinkLimits()
    store: EtcdSettings | None = Field(None, description="of our own store, for the main program")
    status_file: Path | None = None
    status_every_s: float = Field(1.0, gt=0)
    tap: Path | None = Field(None, description="append every frame in clear; for leak tests only")


class GatewaySettings(_Process):
    """Of the tier's end."""

    listen: str = Field(description="host:port; port 0 takes any")
    label: str = Field(
        "", max_length=64, description="what operators call this gateway; empty: host:port"
    )
    peers: tuple[PeerSettings, ...] = ()
    partner_list_max_age_s: float | None = Field(
        None, gt=0, description="cut peers of other operators when the list is older; None: never"
    )
    version: int = Field(1, ge=1, description="of the list of peers; links of an older one are cut")
    handshake_timeout_ms: int = Field(2_000, ge=100)
    """200 silent connections were still open after 12 s without it (measured, attack 11)."""

    max_streams: int = Field(4, ge=1)
    """Per connection: one link, and room for one that takes over (attack 11)."""

    uplinks: tuple[SiteLinkSettings, ...] = ()
    """Towards whom this tier stands for its sites, as a site does: a tier above, or another carrier's beside it.
    They use this tier's store and this process; each says by itself what the tier is called there."""

    @model_validator(mode="after")
    def _one_importer_each(self) -> GatewaySettings:
        """What a peer sends lands below ``remote/<its name>/``: two links of one name would sweep each other away."""
        names = [peer.name for peer in self.peers] + [link.peer.name for link in self.uplinks]
        doubled = next((name for name in names if names.count(name) > 1), None)
        if doubled is not None:
            raise ValueError(
                f"peers and uplinks: {doubled!r} is named twice; a carrier that is both above and "
                "below has a name for each"
            )
        return self

    def table(self) -> PeerTable:
        """The peers as policy wants them."""
        return PeerTable.of(self.version, (peer.peer() for peer in self.peers))


class SiteLinkSettings(_Process):
    """Of the site's end."""

    dial: tuple[str, ...] = Field(min_length=1, description="host:port of gateways, tried in turn")
    peer: PeerSettings
    proxy: str = Field("", description="host:port of an HTTP CONNECT proxy on the way; empty: none")
    """TLS runs through it from end to end: it learns whom we call and how much, nothing else. The environment's proxy
    variables are never obeyed: a link goes where its settings say."""

    connect_timeout_s: float = Field(4.0, gt=0)
    """Through a cut link a handshake hangs; do not sit it out."""

    backoff_min_s: float = Field(0.2, gt=0)
    backoff_max_s: float = Field(2.0, gt=0)
    """Jittered by a half. Short, because G4 promises convergence 5 s after a heal."""

    refused_backoff_s: float = Field(15.0, gt=0)
    """After a refusal that dialling again will not change: a misconfigured site must not be a flood. At least
    ``backoff_max_s``, whatever stands here."""

    def pauses(self) -> Pauses:
        """As :mod:`isthmus.federation.backoff` wants them."""
        return Pauses(self.backoff_min_s, self.backoff_max_s, self.refused_backoff_s)

    @field_validator("proxy")
    @classmethod
    def _address(cls, value: str) -> str:
        """``host:port``; no scheme, and no password in a settings file."""
        host, _, port = value.rpartition(":")
        if value and not (host and port.isdigit() and 0 < int(port) < 65536 and "@" not in host):
            raise ValueError(f"{value!r} is not host:port, such as proxy.example:3128")
        if "/" in value:
            raise ValueError(f"{value!r}: host:port only, without a scheme")
        return value

    @field_validator("peer", mode="before")
    @classmethod
    def _upwards(cls, value: object) -> object:
        """At a site the defaults are the other way round."""
        if isinstance(value, dict):
            return {"accepts": TIER_TO_SITE, "sends": SITE_TO_TIER, **value}
        return value


GatewaySettings.model_rebuild()


def load_gateway(path: Path) -> GatewaySettings:
    """Settings of a gateway from a JSON file; raises SettingsRefused naming the field."""
    try:
        return GatewaySettings.model_validate_json(path.read_bytes())
    except (ValidationError, OSError) as error:
        raise _refused(path, error) from None


def load_site(path: Path) -> SiteLinkSettings:
    """Settings of a site's link from a JSON file; raises SettingsRefused naming the field."""
    try:
        return SiteLinkSettings.model_validate_json(path.read_bytes())
    except (ValidationError, OSError) as error:
        raise _refused(path, error) from None


def _refused(path: Path, error: Exception) -> SettingsRefused:
    if not isinstance(error, ValidationError):
        return SettingsRefused(f"{path}: {error}")
    wrong = sorted(error.errors(), key=lambda one: one["type"] == "missing")
    told: Iterable[str] = (
        f"{'.'.join(str(part) for part in one['loc']) or 'file'}: {one['msg']}" for one in wrong[:5]
    )
    return SettingsRefused(f"{path}: {'; '.join(told)}")
