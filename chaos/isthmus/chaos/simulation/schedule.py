"""A fault schedule is data: what happens to whom, when, for how long. So it can be replayed, shrunk and kept.

A seed draws one (:func:`draw`); everything else of a run is the seed's, too, but from streams of their own: taking a
fault away leaves the customers' wishes and the latencies as they were. Each seed knows only some of the kinds (swarm
testing: a run with everything in it rarely gets far enough for anything subtle).
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

Detail = Mapping[str, float | int | str]


@dataclass(frozen=True, slots=True)
class Fault:
    """``kind`` hits ``target`` at ``at_s`` for ``for_s`` (0: a blow, not a state)."""

    at_s: float
    kind: str
    target: str
    for_s: float = 0.0
    detail: Detail = field(default_factory=dict)

    @property
    def ends_s(self) -> float:
        """When it is over."""
        return self.at_s + self.for_s

    def figures(self) -> str:
        """For people."""
        words = [f"{name}={value}" for name, value in self.detail.items()]
        return " ".join([*([f"for {self.for_s:g} s"] if self.for_s else []), *words])


@dataclass(frozen=True, slots=True)
class Schedule:
    """One run: the world of ``seed`` under ``faults``; ``lasts_s``: then all is healed and must settle."""

    world: str
    seed: int
    faults: tuple[Fault, ...]
    lasts_s: float

    def with_faults(self, faults: Sequence[Fault]) -> Schedule:
        """The same run under other faults."""
        return replace(self, faults=tuple(sorted(faults, key=lambda one: one.at_s)))

    def as_dict(self) -> dict[str, Any]:
        """For a file."""
        return {
            "world": self.world,
            "seed": self.seed,
            "lasts_s": self.lasts_s,
            "faults": [
                {
                    "at_s": fault.at_s,
                    "kind": fault.kind,
                    "target": fault.target,
                    "for_s": fault.for_s,
                    "detail": dict(fault.detail),
                }
                for fault in self.faults
            ],
        }

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Schedule:
        """From a file's content."""
        faults = tuple(Fault(**fault) for fault in document["faults"])
        return cls(document["world"], document["seed"], faults, document["lasts_s"])


def save_regression(schedule: Schedule, name: str, story: str, path: Path) -> None:
    """Keep a schedule that once broke something, with what it was."""
    document = {"name": name, "story": story, **schedule.as_dict()}
    path.write_text(json.dumps(document, indent=1) + "\n")


def load_regression(path: Path) -> Schedule:
    """What was kept."""
    return Schedule.of(json.loads(path.read_text()))


def stream(seed: int, name: str) -> random.Random:
    """The randomness of one part of the world of ``seed``."""
    return random.Random(f"{seed}/{name}")
