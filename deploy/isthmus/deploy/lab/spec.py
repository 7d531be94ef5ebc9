"""What a lab consists of: own sites, partners, the links between them. Pure data, checked once (DESIGN section 8)."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from isthmus.contract.chain import Name

CARRIER = "carrier.example"
GLOBAL = "global"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LabSite(_Strict):
    """One site. ``trust_domain`` differs from the carrier's for a partner: own authority, own store, own policy."""

    site: Name
    owner: Name = "carrier"
    trust_domain: str = CARRIER
    country: Name = "xx"
    region: Name = "europe"
    latitude: float = 0.0
    longitude: float = 0.0
    hosts: int = Field(default=1, ge=1, le=16)
    cpu_milli: int = Field(default=2000, ge=1)
    memory_mib: int = Field(default=2048, ge=1)
    price_milli: int = Field(default=1000, ge=0)
    attachments: tuple[Name, ...] = ()
    tenants: tuple[Name, ...] = ()

    @property
    def host_names(self) -> tuple[str, ...]:
        """``h1``, ``h2``, ..."""
        return tuple(f"h{index + 1}" for index in range(self.hosts))


class LabLink(_Strict):
    """A link between two sites, the same in both directions. Latency is one-way."""

    a: Name
    b: Name
    latency_us: int = Field(ge=0)
    capacity_kbps: int = Field(default=10_000_000, ge=1)
    price_milli: int = Field(default=10, ge=0)


class LabSpec(_Strict):
    """The world. Without ``tier`` the sites stand alone. ``runtime`` says what runs the global microcontrollers,
    ``delays`` whether data takes its time on the way, ``taps`` whether links record their frames (leak tests)."""

    name: Name = "lab"
    sites: tuple[LabSite, ...] = Field(min_length=1)
    links: tuple[LabLink, ...] = ()
    tier: bool = True
    runtime: Literal["ray", "in-process"] = "in-process"
    delays: bool = True
    taps: bool = False
    attribution: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> LabSpec:
        names = [site.site for site in self.sites]
        for name in names:
            if names.count(name) > 1 or name in (GLOBAL, "wan"):
                raise ValueError(f"sites: the name {name!r} is used twice or reserved")
        for link in self.links:
            for end in (link.a, link.b):
                if end not in names:
                    raise ValueError(f"links: {end!r} is no site (there are: {', '.join(names)})")
        circuits = [name for site in self.sites for name in site.attachments]
        doubled = sorted({name for name in circuits if circuits.count(name) > 1})
        if doubled:
            raise ValueError(f"attachments: {doubled[0]!r} is at two sites; give each its own name")
        return self

    def site(self, name: str) -> LabSite:
        """The site of that name; KeyError else."""
        for site in self.sites:
            if site.site == name:
                return site
        raise KeyError(name)
