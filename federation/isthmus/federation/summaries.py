"""Summaries are contracts: a value, when it was true, and how wrong it may be by now (DESIGN section 6; pure).

A rule says how members become one figure (last, sum, max, histogram, top-k, largest free slot), how far the figure may
drift before it is told again (dead band), and how old it may get (maximal age). What is told carries its bound:
``|truth - told| <= bound`` at every moment at the teller, whatever the members do, since each change is judged when it
happens. Bounds add up through levels: a region that sums its sites' sums declares their bounds plus its own dead
band, and tells again when theirs grow. Figures of different kinds differ only in their distance:

    last, sum, max      absolute difference
    histogram           half of the sum of differences: members that may be in another bin than told
    top-k               largest difference of two k-th places, or of one named member
    largest free slot   difference in slots; and the told slot always fits on a real host (no over-promise)
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, model_validator

ROUNDING: Final = 1e-9
"""Sums of floats are equal up to this share; below it nothing has moved."""


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


@dataclass(frozen=True, slots=True)
class Figure:
    """``values``: one number, or one per bin or place; ``names`` of the places; each wrong by at most ``bound``."""

    values: tuple[float, ...]
    bound: float = 0.0
    names: tuple[str, ...] = ()

    @property
    def value(self) -> float:
        """Of a figure that is one number."""
        return self.values[0]


def number(value: float, bound: float = 0.0) -> Figure:
    """A member that is one number."""
    return Figure((value,), bound)


class Told(BaseModel):
    """What crosses: the figure, its bound, when it was true and until when it may be believed."""

    model_config = ConfigDict(frozen=True)

    kind: Kind
    values: tuple[float, ...]
    names: tuple[str, ...] = ()
    bound: float
    as_of: float
    max_age_s: float
    members: int

    def figure(self) -> Figure:
        """As a member of the next level."""
        return Figure(self.values, self.bound, self.names)

    def stale(self, now_s: float) -> bool:
        """Past its age it says nothing (G12). Twice the age: one telling may be under way."""
        return now_s - self.as_of > 2 * self.max_age_s


def combine(rule: SummaryRule, members: Mapping[str, Figure]) -> Figure:
    """The figure of all ``members``, with the bound that theirs imply."""
    figures = list(members.values())
    match rule.kind:
        case Kind.SUM:
            return number(sum(one.value for one in figures), sum(one.bound for one in figures))
        case Kind.MAX:
            return number(
                max((one.value for one in figures), default=0.0),
                max((one.bound for one in figures), default=0.0),
            )
        case Kind.LAST:
            return figures[-1] if figures else number(0.0)
        case Kind.HISTOGRAM:
            return _histogram(rule, figures)
        case Kind.TOP_K:
            return _top(rule, members)
        case Kind.FREE_SLOT:
            return _slot(rule, members)


def distance(rule: SummaryRule, told: Figure, now: Figure, members: Mapping[str, Figure]) -> float:
    """How far ``told`` is from ``now``, in the sense of the rule's kind."""
    match rule.kind:
        case Kind.HISTOGRAM:
            return sum(abs(a - b) for a, b in zip(told.values, now.values, strict=True)) / 2 + (
                abs(sum(told.values) - sum(now.values)) / 2
            )
        case Kind.TOP_K:
            places = max(
                (abs(a - b) for a, b in zip(told.values, now.values, strict=True)), default=0.0
            )
            current = _named(members)
            named = max(
                (
                    abs(value - current.get(name, 0.0))
                    for name, value in zip(told.names, told.values, strict=False)
                ),
                default=0.0,
            )
            return max(places, named)
        case Kind.FREE_SLOT:
            fits = any(_covers(one.values, told.values) for one in members.values())
            if not fits and any(told.values):
                return float("inf")
            return abs(slots(rule, told.values) - slots(rule, now.values))
        case _:
            return abs(told.value - now.value)


class Teller:
    """One summary: :meth:`update` with every change, tell what it returns."""

    def __init__(self, rule: SummaryRule) -> None:
        self._rule = rule
        self.told: Told | None = None
        self.updates = 0
        self.tellings = 0

    def update(self, members: Mapping[str, Figure], now_s: float) -> Told | None:
        """What has to be told now; None while the last telling still holds."""
        self.updates += 1
        now = combine(self._rule, members)
        told = self.told
        if told is not None and self._holds(told, now, members, now_s):
            return None
        self.tellings += 1
        band = max(self._rule.dead_band, self._rule.dead_band_share * _size(self._rule, now))
        self.told = Told(
            kind=self._rule.kind, values=now.values, names=now.names, bound=now.bound + band,
            as_of=now_s, max_age_s=self._rule.max_age_s, members=len(members),
        )  # fmt: skip
        return self.told

    def _holds(self, told: Told, now: Figure, members: Mapping[str, Figure], now_s: float) -> bool:
        if now_s - told.as_of >= self._rule.max_age_s:
            return False
        drift = distance(self._rule, told.figure(), now, members) + now.bound
        return drift <= told.bound + ROUNDING * max(1.0, told.bound)

    def explain(self) -> str:
        """One sentence for an operator."""
        if self.told is None:
            return f"{self._rule.kind.value}: nothing was told yet"
        told = self.told
        shown = ", ".join(f"{value:g}" for value in told.values[:8])
        return (
            f"{told.kind.value} of {told.members} members is {shown}, wrong by at most {told.bound:g}; "
            f"told {self.tellings} times for {self.updates} changes (dead band "
            f"{self._rule.dead_band:g} or {self._rule.dead_band_share:.0%}, at least every "
            f"{self._rule.max_age_s:g} s)"
        )


def slots(rule: SummaryRule, free: Sequence[float]) -> float:
    """How many slots of the rule's unit fit into ``free`` at once."""
    return min((have / need for have, need in zip(free, rule.unit, strict=True)), default=0.0)


def histogram_of(rule: SummaryRule, value: float) -> Figure:
    """A member that is one observation."""
    bins = [0.0] * (len(rule.edges) + 1)
    bins[bisect.bisect_left(rule.edges, value)] = 1.0
    return Figure(tuple(bins))


def _histogram(rule: SummaryRule, figures: Sequence[Figure]) -> Figure:
    width = len(rule.edges) + 1
    bins = tuple(sum(one.values[index] for one in figures) for index in range(width))
    return Figure(bins, sum(one.bound for one in figures))


def _named(members: Mapping[str, Figure]) -> dict[str, float]:
    """Every named value; a member of its own name when it is one number."""
    found: dict[str, float] = {}
    for name, one in members.items():
        if one.names:
            found.update(
                {f"{name}/{inner}": v for inner, v in zip(one.names, one.values, strict=False)}
            )
        elif len(one.values) == 1:
            found[name] = one.value
    return found


def _top(rule: SummaryRule, members: Mapping[str, Figure]) -> Figure:
    ranked = sorted(_named(members).items(), key=lambda pair: (-pair[1], pair[0]))[: rule.k]
    values = [value for _, value in ranked] + [0.0] * (rule.k - len(ranked))
    bound = max((one.bound for one in members.values()), default=0.0)
    return Figure(tuple(values), bound, tuple(name for name, _ in ranked))


def _slot(rule: SummaryRule, members: Mapping[str, Figure]) -> Figure:
    best = max(
        (one.values for one in members.values()),
        key=lambda free: slots(rule, free),
        default=(0.0,) * len(rule.unit),
    )
    return Figure(best, max((one.bound for one in members.values()), default=0.0))


def _covers(free: Sequence[float], told: Sequence[float]) -> bool:
    return all(have >= need for have, need in zip(free, told, strict=True))


def _size(rule: SummaryRule, figure: Figure) -> float:
    match rule.kind:
        case Kind.FREE_SLOT:
            return slots(rule, figure.values)
        case Kind.HISTOGRAM:
            return sum(figure.values)
        case _:
            return max((abs(value) for value in figure.values), default=0.0)
