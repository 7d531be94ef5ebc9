"""An exhaustive explorer: all interleavings of a small world up to a depth, the shortest counter-example first.

Chance finds what happens often; a promise is broken by what happens once a year. In a world of two actors and three
keys all orders can be tried. Worlds are made of *real* cores, kept as pickles or, when a world cannot be one (it
holds coroutines), as the moves that lead to it. States that were seen are not entered again (their
:meth:`World.state` must say everything that decides about the future).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Protocol


class Broken(Exception):
    """The promise that does not hold in this state; the text says what was seen."""


class World(Protocol):
    """A small world. It must be deterministic: the same moves lead to the same state."""

    story: list[str]
    """What happened, one line a move, for a person."""

    def moves(self) -> Sequence[str]:
        """What may happen next."""
        ...

    def step(self, move: str) -> None:
        """Let it happen; raises Broken."""
        ...

    def state(self) -> Hashable:
        """Equal for two worlds with the same future."""
        ...

    def settle(self) -> None:
        """Let everything go on fairly, without faults, until nothing moves; raises Broken if it is not right then."""
        ...


@dataclass(slots=True)
class Exploration:
    """What was explored. ``whole``: there is nothing beyond the depth. ``story`` of the shortest counter-example."""

    depth: int
    states: int = 0
    steps: int = 0
    settled: int = 0
    whole: bool = True
    capped: bool = False
    broken: str = ""
    moves: tuple[str, ...] = ()
    story: tuple[str, ...] = ()
    hits: dict[str, int] = field(default_factory=dict)
    """How often each kind of move was done: one that never was, was not explored."""

    @property
    def ok(self) -> bool:
        """True when nothing broke."""
        return not self.broken

    @property
    def text(self) -> str:
        """For a person."""
        reach = "all of it" if self.whole else f"all orders of {self.depth} moves"
        if self.capped:
            reach = "not all: it was stopped there"
        head = f"{self.states} states, {self.steps} steps, {self.settled} settled: {reach}"
        if self.ok:
            return head
        lines = [f"{self.states} states, {self.steps} steps, until this broke:", f"  {self.broken}"]
        lines += [f"  {number:2}. {line}" for number, line in enumerate(self.story, start=1)]
        return "\n".join(lines)


Saved = Callable[[], World]
"""Makes the world of one state again."""
Save = Callable[[World, tuple[str, ...]], Saved]


def by_replay(make: Callable[[], World]) -> Save:
    """For worlds that cannot be pickled: their moves are done again."""

    def save(world: World, moves: tuple[str, ...]) -> Saved:
        def again() -> World:
            fresh = make()
            for move in moves:
                fresh.step(move)
            return fresh

        return again

    return save


def explore(
    make: Callable[[], World],
    depth: int,
    *,
    save: Save | None = None,
    settle: bool = True,
    max_states: int = 1_000_000,
) -> Exploration:
    """Breadth first, so that the first counter-example is a shortest one. ``settle``: each new state must also come
    to a good end by itself. Stops at ``max_states``, and says that it is not whole then."""
    keep = save or by_replay(make)
    found = Exploration(depth)
    world = make()
    seen = {world.state()}
    frontier: list[tuple[tuple[str, ...], Saved]] = [((), keep(world, ()))]
    for _ in range(depth):
        reached: list[tuple[tuple[str, ...], Saved]] = []
        for path, again in frontier:
            for move in again().moves():
                moves = (*path, move)
                world = again()
                if not _try(found, world, moves):
                    return found
                state = world.state()
                if state in seen:
                    continue
                seen.add(state)
                found.states = len(seen)
                reached.append((moves, keep(world, moves)))
                if settle and not _settles(found, world, moves):
                    return found
                if len(seen) >= max_states:
                    found.whole, found.capped = False, True
                    return found
        frontier = reached
    found.whole = not any(again().moves() for _, again in frontier)
    return found


def _try(found: Exploration, world: World, moves: tuple[str, ...]) -> bool:
    found.steps += 1
    name = moves[-1].partition(" ")[0]
    found.hits[name] = found.hits.get(name, 0) + 1
    try:
        world.step(moves[-1])
    except Broken as error:
        _tell(found, world, moves, error)
        return False
    return True


def _settles(found: Exploration, world: World, moves: tuple[str, ...]) -> bool:
    found.settled += 1
    try:
        world.settle()
    except Broken as error:
        _tell(found, world, moves, error)
        return False
    return True


def _tell(found: Exploration, world: World, moves: tuple[str, ...], error: Broken) -> None:
    story = list(world.story)
    if len(story) < len(moves):
        story.append(f"{moves[-1]}: it breaks")
    found.broken, found.moves, found.story = str(error), moves, tuple(story)
    found.whole = False
