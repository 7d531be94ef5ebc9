"""What the operator tells the processes of the global tier, as one JSON file; unknown fields are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StoreSettings(_Strict):
    """The tier's own etcd."""

    endpoints: tuple[str, ...] = Field(min_length=1)
    server_name: str


class GlobalSettings(_Strict):
    """The global tier. ``regions`` have one component each."""

    trust_domain: str
    store: StoreSettings
    certificates: Path
    state: Path
    regions: tuple[str, ...] = ()
    runtime: Literal["in-process", "ray"] = "in-process"

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """What runs together: the placement group, and one group per region."""
        groups: dict[str, tuple[str, ...]] = {}
        groups["placement"] = ("intake", "placer", "wiring", "reporter", "janitor", "maintenance")
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
