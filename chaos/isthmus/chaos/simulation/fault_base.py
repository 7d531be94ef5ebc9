"""What a kind of fault is, and how a seed draws from all of them. The kinds: :mod:`isthmus.chaos.simulation.faults`."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from isthmus.chaos.simulation.schedule import Detail, Fault, Schedule, stream

if TYPE_CHECKING:
    from isthmus.chaos.simulation.world import World

Begin = Callable[["World", Fault], bool]
End = Callable[["World", Fault], None]
Draw = Callable[[random.Random], Detail]


def _nothing(world: World, fault: Fault) -> None:
    """A blow has no end."""


def _no_detail(chance: random.Random) -> Detail:
    return {}


@dataclass(frozen=True, slots=True)
class FaultKind:
    """``hits``: the kind of target (line, store, process, site). ``lasts_s``: shortest and longest; (0, 0) for a
    blow. ``weight``: how often it is drawn. ``worlds``: where it means something (empty: everywhere)."""

    name: str
    hits: str
    begin: Begin
    end: End = _nothing
    lasts_s: tuple[float, float] = (0.0, 0.0)
    draw: Draw = _no_detail
    weight: int = 4
    worlds: tuple[str, ...] = field(default=())


KINDS: dict[str, FaultKind] = {}


def fault_kind(kind: FaultKind) -> FaultKind:
    """Make ``kind`` known."""
    KINDS[kind.name] = kind
    return kind


def draw(
    seed: int,
    world: str,
    targets: dict[str, Sequence[str]],
    lasts_s: float,
    *,
    kinds: Sequence[str] | None = None,
    faults: tuple[int, int] = (2, 9),
) -> Schedule:
    """The schedule of ``seed``: some kinds, some faults, none of one kind twice at once on one target."""
    chance = stream(seed, "schedule")
    usable = [
        kind
        for kind in KINDS.values()
        if (not kind.worlds or world in kind.worlds)
        and targets.get(kind.hits)
        and (kinds is None or kind.name in kinds)
    ]
    swarm = chance.sample(usable, min(len(usable), chance.randint(3, 8)))
    drawn: list[Fault] = []
    for _ in range(chance.randint(*faults)):
        kind = chance.choices(swarm, [one.weight for one in swarm])[0]
        fault = _one(kind, chance, targets[kind.hits], lasts_s)
        if not any(_meet(fault, other) for other in drawn):
            drawn.append(fault)
    return Schedule(world, seed, (), lasts_s).with_faults(drawn)


def _one(kind: FaultKind, chance: random.Random, targets: Sequence[str], lasts_s: float) -> Fault:
    for_s = round(chance.uniform(*kind.lasts_s), 2)
    at_s = round(chance.uniform(0.5, max(0.5, lasts_s - for_s - 0.1)), 3)
    return Fault(at_s, kind.name, chance.choice(targets), for_s, kind.draw(chance))


def _meet(one: Fault, other: Fault) -> bool:
    return (
        (one.kind, one.target) == (other.kind, other.target)
        and one.at_s <= other.ends_s
        and other.at_s <= one.ends_s
    )


def either_way(chance: random.Random) -> Detail:
    """One direction of a line."""
    return {"way": chance.choice(("up", "down"))}


def by(*values: float) -> Draw:
    """One of ``values``."""
    return lambda chance: {"by": chance.choice(values)}
