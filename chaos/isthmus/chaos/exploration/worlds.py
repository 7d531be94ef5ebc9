"""The worlds that are explored, each small enough for a few seconds, and deeper on demand (``isthmus explore
--depth``)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from isthmus.chaos.exploration.copying import by_pickle
from isthmus.chaos.exploration.epoch_world import EpochScene, EpochWorld
from isthmus.chaos.exploration.explorer import Exploration, Save, World, explore
from isthmus.chaos.exploration.lease_world import LeaseScene, LeaseWorld
from isthmus.chaos.exploration.link_world import LinkWorld, Scene


@dataclass(frozen=True, slots=True)
class Explored:
    """One world: how it is made, to which depth all of it is tried in a few seconds, and ``must``: the kinds of moves
    without which it has not been tried."""

    tells: str
    make: Callable[[], World]
    depth: int
    must: tuple[str, ...]
    save: Save | None = None
    settle: bool = True

    def run(self, depth: int = 0, max_states: int = 1_000_000) -> Exploration:
        """Explore it; ``depth`` 0 is its own."""
        return explore(
            self.make,
            depth or self.depth,
            save=self.save,
            settle=self.settle,
            max_states=max_states,
        )


def _link(tells: str, scene: Scene, depth: int, *must: str) -> Explored:
    return Explored(tells, lambda: LinkWorld(scene), depth, must, save=by_pickle)


def _lease(tells: str, scene: LeaseScene, depth: int, *must: str) -> Explored:
    return Explored(tells, lambda: LeaseWorld(scene), depth, must, settle=False)


FETCH = Scene(puts=3, deletes=1, value_budget=7, lazy=False)
CUT = Scene(puts=2, deletes=1, cuts=1, marks=True)
RESTORE = Scene(puts=2, restores=1, beats=1, marks=True, lazy=False)
COMPACT = Scene(puts=2, deletes=1, cuts=1, compactions=1, lazy=False)
DISORDER = Scene(puts=2, deletes=1, disorders=2)

WORLDS: dict[str, Explored] = {
    "link-fetch": _link(
        "values are read late, the watch is behind", FETCH, 11, "put", "delete", "watch", "export"
    ),
    "link-cut": _link(
        "the link is cut and resumes", CUT, 7, "cut", "mark", "arrive", "answer", "prove"
    ),
    "link-restore": _link(
        "the source comes back from a backup", RESTORE, 8, "backup", "restore", "mark", "beat"
    ),
    "link-compact": _link(
        "the source forgets its history while cut off", COMPACT, 8, "cut", "compact", "watch"
    ),
    "link-disorder": _link(
        "frames are doubled, dropped, swapped", DISORDER, 8, "double", "drop", "swap"
    ),
    "lease": _lease(
        "a leader is paused, another leads, the old one writes",
        LeaseScene(writes=2, expiries=2),
        14,
        "step",
        "expire",
    ),
    "lease-restart": _lease(
        "a leader is killed and lives again", LeaseScene(writes=1, restarts=1), 12, "restart"
    ),
    "lease-restore": _lease(
        "the store is restored under a leader",
        LeaseScene(writes=1, restores=1),
        10,
        "backup",
        "restore",
        "expire",
    ),
    "epoch": Explored(
        "an older wish of the tier is shown again",
        lambda: EpochWorld(EpochScene()),
        12,
        ("decide", "show", "replay", "reconcile"),
    ),
}
