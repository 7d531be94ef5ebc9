"""The explorer itself: all orders, none twice, the shortest story first, and no silence about what was left out."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from isthmus.chaos.exploration.copying import by_pickle
from isthmus.chaos.exploration.explorer import Broken, explore


class Counter:
    """Two counters up to ``limit``; it breaks where both are ``bad``."""

    def __init__(self, limit: int = 3, bad: int = 99, *, stuck: bool = False) -> None:
        self.story: list[str] = []
        self.limit, self.bad, self.stuck = limit, bad, stuck
        self.at = {"a": 0, "b": 0}

    def moves(self) -> Sequence[str]:
        return [f"up {name}" for name, value in self.at.items() if value < self.limit]

    def step(self, move: str) -> None:
        self.at[move[-1]] += 1
        if set(self.at.values()) == {self.bad}:
            raise Broken("both are bad")
        self.story.append(move)

    def settle(self) -> None:
        if self.stuck and self.at["a"] == 2:
            raise Broken("a stays at 2")

    def state(self) -> Hashable:
        return tuple(self.at.items())


def test_all_orders_and_no_state_twice() -> None:
    """4 x 4 states; each of them is left by every move."""
    found = explore(Counter, 10)
    assert (found.ok, found.whole) == (True, True)
    assert (found.states, found.steps, found.settled) == (16, 24, 15)
    assert found.hits == {"up": 24}
    assert "all of it" in found.text


def test_a_depth_that_is_too_small_is_told() -> None:
    """What was not looked at must not look like an answer."""
    found = explore(Counter, 3)
    assert not found.whole
    assert "all orders of 3 moves" in found.text
    capped = explore(Counter, 10, max_states=5)
    assert (capped.whole, capped.states) == (False, 5)
    assert "not all" in capped.text


def test_the_shortest_counter_example() -> None:
    """Two moves each, in some order, and the last one is told, too."""
    found = explore(lambda: Counter(bad=2), 10)
    assert found.broken == "both are bad"
    assert len(found.moves) == len(found.story) == 4
    assert "it breaks" in found.story[-1]
    assert "1. up" in found.text


def test_a_state_without_a_good_end() -> None:
    """Nothing wrong on the way, and yet it never comes right."""
    found = explore(lambda: Counter(stuck=True), 10)
    assert found.broken == "a stays at 2"
    assert found.moves == ("up a", "up a")
    assert explore(lambda: Counter(stuck=True), 10, settle=False).ok


def test_pickles_and_replays_explore_the_same() -> None:
    """How a state is kept must not matter."""
    one, two = explore(Counter, 10), explore(Counter, 10, save=by_pickle)
    assert (one.states, one.steps, one.settled) == (two.states, two.steps, two.settled)
