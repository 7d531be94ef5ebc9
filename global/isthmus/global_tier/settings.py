"""What the operator tells the processes of the global tier, as one JSON file; unknown fields are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from isthmus.contract.chain import Name as Segment
from isthmus.contract.peering import Delegation
from isthmus.global_tier.carrying import Policy
from isthmus.global_tier.numbers import FIRST_VNI, LAST_VNI, Numbers


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StoreSettings(_Strict):
    """The tier's own etcd."""

    endpoints: tuple[str, ...] = Field(min_length=1)
    server_name: str


class PeerSettings(_Strict):
    """What a peer above or beside may ask of this tier; see :class:`isthmus.contract.peering.Delegation`. ``peer`` is
    its name on the upward link, and must not be the name of a registered site. ``revoked``: carry nothing for it."""

    peer: Segment
    tenants: tuple[str, ...] = ()
    brake_share: float = Field(default=0.5, ge=0, le=1)
    brake_floor: int = Field(default=3, ge=0)
    revoked: bool = False


class NumberSettings(_Strict):
    """VXLAN network identifiers of the tier's own wires, both ends included."""

    first: int = Field(default=FIRST_VNI, ge=1, le=LAST_VNI)
    last: int = Field(default=LAST_VNI, ge=1, le=LAST_VNI)

    @model_validator(mode="after")
    def _in_order(self) -> NumberSettings:
        if self.first > self.last:
            raise ValueError(f"first {self.first} is above last {self.last}; turn them round")
        return self


class GlobalSettings(_Strict):
    """The global tier. ``regions`` have one component each. A tier with ``peers`` stands for its sites towards them:
    ``name`` is what they call it, and ``numbers`` must be given, since its wires and theirs end on the same hosts."""

    name: Segment = "global"
    peers: tuple[PeerSettings, ...] = ()
    numbers: NumberSettings = NumberSettings()
    trust_domain: str
    store: StoreSettings
    certificates: Path
    state: Path
    regions: tuple[str, ...] = ()
    runtime: Literal["in-process", "ray"] = "in-process"

    @model_validator(mode="after")
    def _peers_and_numbers(self) -> GlobalSettings:
        names = [peer.peer for peer in self.peers]
        doubled = next((name for name in names if names.count(name) > 1), None)
        if doubled is not None:
            raise ValueError(f"peers: {doubled!r} is listed twice")
        if self.peers and "numbers" not in self.model_fields_set:
            raise ValueError(
                "numbers: a tier with peers gives its wires numbers from a range that no peer uses; "
                'name it, such as {"first": 100000, "last": 199999}'
            )
        return self

    @property
    def policy(self) -> Policy:
        """What peers may ask; empty where there are none."""
        return Policy(
            tier=f"{self.trust_domain}/{self.name}" if self.peers else "",
            delegations=tuple(Delegation(**peer.model_dump()) for peer in self.peers),
            numbers=Numbers(self.numbers.first, self.numbers.last),
        )

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """What runs together: the placement group, and one group per region."""
        groups: dict[str, tuple[str, ...]] = {}
        groups["placement"] = (
            *("intake", "placer", "wiring", "reporter", "representative", "janitor", "maintenance"),
        )
        groups.update({f"region.{name}": (f"region.{name}",) for name in self.regions})
        return groups


class SettingsRefused(Exception):
    """The settings file cannot be used; names file, field and reason."""


def load(path: Path) -> GlobalSettings:
    """Settings from ``path``; raises SettingsRefused."""
    try:
        return GlobalSettings.model_validate(json.loads(path.read_text()))
    except OSError as error:
        raise SettingsRefused(f"{path}: {error.strerror}; give a readable file") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingsRefused(f"{path}: field {where}: {first['msg']}") from None
    except ValueError as error:
        raise SettingsRefused(f"{path}: not JSON: {error}") from None
