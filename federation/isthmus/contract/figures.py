"""What one summarized number looks like in a value: its rule, and the telling with its bound (DESIGN section 6).

A rule says how members become one figure, how far the figure may drift before it is told again (dead band), and how old
it may get (maximal age). A telling carries its bound and the reason why it was made, so that a reader knows how wrong
the number may be by now without knowing the rule. The arithmetic is :mod:`isthmus.federation.summaries`; which
family has which rule is :mod:`isthmus.contract.summaries`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Why = Literal["first", "change", "age", "rule", "clock"]
"""Why a figure was told: never before; beyond its band; grown old; another rule came; our clock went back."""


class Kind(StrEnum):
    """How members become one figure."""

    LAST = "last"
    SUM = "sum"
    MAX = "max"
    HISTOGRAM = "histogram"
    TOP_K = "top-k"
    FREE_SLOT = "largest-free-slot"


class SummaryRule(BaseModel):
    """``dead_band`` is in the figure's own unit, ``dead_band_share`` of the told figure; the larger one holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    dead_band: float = Field(0.0, ge=0)
    dead_band_share: float = Field(0.0, ge=0, lt=1)
    max_age_s: float = Field(
        60.0, gt=0, description="told again after so long even if nothing moved"
    )
    edges: tuple[float, ...] = Field(
        (), description="histogram: upper edges of all bins but the last"
    )
    k: int = Field(0, ge=0, le=100, description="top-k: how many")
    unit: tuple[float, ...] = Field((), description="largest free slot: what one slot needs")

    @model_validator(mode="after")
    def _complete(self) -> SummaryRule:
        if self.kind is Kind.HISTOGRAM and (
            not self.edges or list(self.edges) != sorted(self.edges)
        ):
            raise ValueError("edges: a histogram has rising edges")
        if self.kind is Kind.TOP_K and not self.k:
            raise ValueError("k: how many? at least 1")
        if self.kind is Kind.FREE_SLOT and (not self.unit or min(self.unit) <= 0):
            raise ValueError("unit: what one slot needs of each resource, all above 0")
        return self

    @property
    def width(self) -> int:
        """How many numbers a figure of this rule has."""
        match self.kind:
            case Kind.HISTOGRAM:
                return len(self.edges) + 1
            case Kind.TOP_K:
                return self.k
            case Kind.FREE_SLOT:
                return len(self.unit)
            case _:
                return 1


class Told(BaseModel):
    """What crosses: the figure, its bound, when it was true and until when it may be believed."""

    model_config = ConfigDict(frozen=True, extra="allow")

    kind: Kind
    values: tuple[float, ...] = Field(description="one number, or one per bin or place")
    names: tuple[str, ...] = Field(default=(), description="top-k: whose numbers these are")
    bound: float = Field(ge=0, description="wrong by at most so much, at any moment at the teller")
    as_of: float = Field(description="when it was told, UTC seconds")
    max_age_s: float = Field(gt=0, description="told again after so long at the latest")
    members: int = Field(ge=0, description="how many single figures are in it")
    band: float = Field(default=0.0, ge=0, description="dead band in force; the rest is inherited")
    why: Why = "first"

    def stale(self, now_s: float) -> bool:
        """Past its age it says nothing (G12). Twice the age: one telling may be under way."""
        return now_s - self.as_of > 2 * self.max_age_s
