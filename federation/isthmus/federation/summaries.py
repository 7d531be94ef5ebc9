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
from typing import Any, Final

from isthmus.contract.figures import Kind, SummaryRule, Told, Why

__all__ = [
    "Figure",
    "Kind",
    "SummaryRule",
    "Teller",
    "Told",
    "combine",
    "distance",
    "figure_of",
    "histogram_of",
    "number",
    "plain",
    "sentence",
    "slots",
    "tell",
]

ROUNDING: Final = 1e-9
"""Sums of floats are equal up to this share; below it nothing has moved."""


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


def figure_of(told: Told) -> Figure:
    """What was told, as a member of the next level."""
    return Figure(told.values, told.bound, told.names)


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


def tell(rule: SummaryRule, told: Told | None, members: Mapping[str, Figure], now_s: float) -> Told:
    """What holds now: ``told`` itself while it is true within its bound and young enough, else a new telling."""
    now = combine(rule, members)
    why = _why(rule, told, now, members, now_s)
    if told is not None and why is None:
        return told
    band = max(rule.dead_band, rule.dead_band_share * _size(rule, now))
    return Told(
        kind=rule.kind, values=now.values, names=now.names, bound=now.bound + band, as_of=now_s,
        max_age_s=rule.max_age_s, members=len(members), band=band, why=why or "first",
    )  # fmt: skip


def _why(
    rule: SummaryRule,
    told: Told | None,
    now: Figure,
    members: Mapping[str, Figure],
    now_s: float,
) -> Why | None:
    """Why it has to be told again; None while it holds."""
    if told is None:
        return "first"
    if told.kind is not rule.kind or len(told.values) != rule.width:
        return "rule"
    if now_s < told.as_of:
        return "clock"
    drift = distance(rule, figure_of(told), now, members) + now.bound
    if drift > told.bound + ROUNDING * max(1.0, told.bound):
        return "change"
    return "age" if now_s - told.as_of >= rule.max_age_s else None


class Teller:
    """One summary: :meth:`update` with every change, tell what it returns."""

    def __init__(self, rule: SummaryRule, told: Told | None = None) -> None:
        self._rule = rule
        self.told = told
        self.updates = 0
        self.tellings = 0

    def update(self, members: Mapping[str, Figure], now_s: float) -> Told | None:
        """What has to be told now; None while the last telling still holds."""
        self.updates += 1
        told = tell(self._rule, self.told, members, now_s)
        if told is self.told:
            return None
        self.tellings += 1
        self.told = told
        return told

    def explain(self) -> str:
        """One sentence for an operator."""
        if self.told is None:
            return f"{self._rule.kind.value}: nothing was told yet"
        return f"{sentence(self._rule, self.told)}; told {self.tellings} times for {self.updates} changes"


def sentence(rule: SummaryRule, told: Told) -> str:
    """What was told and by which rule, for an operator."""
    shown = ", ".join(f"{value:g}" for value in told.values[:8])
    return (
        f"{told.kind.value} of {told.members} members is {shown}, wrong by at most {told.bound:g} "
        f"(dead band {rule.dead_band:g} or {rule.dead_band_share:.0%}, at least every "
        f"{rule.max_age_s:g} s)"
    )


def plain(told: Mapping[str, Told]) -> dict[str, Any]:
    """The fields themselves, for readers that know of no bound; places of a top-k are told by what they name."""
    found: dict[str, Any] = {}
    for field, one in told.items():
        if one.kind is Kind.HISTOGRAM:
            found[field] = tuple(round(value) for value in one.values)
        elif one.kind is not Kind.TOP_K:
            found[field] = round(one.values[0])
    return found


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
