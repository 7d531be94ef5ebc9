"""How long the healer waits: later and later for what dies at once, never for what lived, never for ever (R54, G14)."""

from __future__ import annotations

import itertools

from hypothesis import example, given, settings
from hypothesis import strategies as st

from isthmus.site.healer import CALM_S, FIRST_DELAY_S, FREE_HEALS, LONGEST_DELAY_S, Patience

SHORT = st.floats(0, CALM_S - 1)
START_S = 1_800_000_000.0


class Sick:
    """An instance whose lives are given; the healer is asked again when it said so, as its queue does."""

    def __init__(self) -> None:
        self.patience, self.life, self.now = Patience(), 0, START_S

    def dies(self, after_s: float) -> float:
        """One life; seconds from its end until the next was asked for."""
        self.life += 1
        self.now += after_s
        ended = self.now
        while (wait_s := self.patience.wait_s(self.life, self.now)) > 0:
            self.now += wait_s
        self.patience.asked(self.now)
        return self.now - ended


@settings(deadline=None, max_examples=60)
@given(st.lists(SHORT, min_size=20, max_size=40))
@example([0.0] * 30)
def test_who_keeps_dying_young_waits_longer_and_longer(lives: list[float]) -> None:
    """Why: the waits themselves once counted as calm: after a minute the record was clean and all began anew."""
    sick = Sick()
    waits = [sick.dies(lived_s) for lived_s in lives]
    assert waits[:FREE_HEALS] == [0.0] * FREE_HEALS
    assert abs(waits[FREE_HEALS] - FIRST_DELAY_S) < 1e-3
    assert all(later >= earlier - 1e-3 for earlier, later in itertools.pairwise(waits))
    assert abs(waits[-1] - LONGEST_DELAY_S) < 1e-3


@settings(deadline=None, max_examples=60)
@given(st.lists(SHORT, max_size=20), st.floats(CALM_S + 1, 1e6))
def test_a_life_that_lasted_clears_the_record(before: list[float], lasted_s: float) -> None:
    """Why: what ran for an hour and lost its host is an accident, whatever happened in the year before."""
    sick = Sick()
    for lived_s in before:
        sick.dies(lived_s)
    assert [sick.dies(lasted_s), *(sick.dies(0) for _ in range(FREE_HEALS - 1))] == [
        0.0
    ] * FREE_HEALS


@settings(deadline=None, max_examples=60)
@given(st.lists(SHORT, max_size=20), st.floats(-1e7, 1e7))
def test_no_clock_makes_anybody_wait_for_longer_than_the_longest(
    before: list[float], jump_s: float
) -> None:
    """Why: a clock that is set back by a day must not keep a chain down for a day (G12)."""
    sick = Sick()
    for lived_s in before:
        sick.dies(lived_s)
    sick.patience.wait_s(sick.life + 1, sick.now)
    assert 0 <= sick.patience.wait_s(sick.life + 1, sick.now + jump_s) <= LONGEST_DELAY_S


@settings(deadline=None)
@given(st.integers(1, 50))
def test_asking_twice_about_one_death_counts_it_once(times: int) -> None:
    """Why: a level-triggered controller looks again whenever anything changes."""
    patience = Patience()
    for _ in range(times):
        assert patience.wait_s(1, START_S) == 0.0
    assert patience.ends == 1
