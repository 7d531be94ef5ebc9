"""The memory of refusals under any order of refusals, retries, restarts and waiting (issue 7): each site is left alone
for its own back-off, nothing is forgotten early, and nothing is kept for ever."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from isthmus.contract.chain import Segment, Terminal
from isthmus.contract.world import PlacedSegment, SiteRefusal
from isthmus.global_tier import refusals
from isthmus.global_tier.refusals import FIRST_S, KEPT, LONGEST_S, Said

SITES = tuple(f"s{number}" for number in range(4))
END = Terminal(kind="attachment", name="a")


def part(site: str, *functions: str) -> PlacedSegment:
    """A segment with these functions."""
    made = [{"name": name, "type": "nat"} for name in functions]
    segment = Segment.model_validate(
        {"tenant": "acme", "chain": "web", "functions": made, "left": END, "right": END}
    )
    return PlacedSegment(site=site, segment=segment)


@dataclass
class Tier:
    """A placer in small: it takes the first site that may be asked, and remembers as the store would."""

    refusing: frozenset[str]
    now: float = 1_000.0
    epoch: int = 0
    at: str = ""
    memory: tuple[SiteRefusal, ...] = ()
    asked: dict[str, list[float]] = field(default_factory=dict)
    said: dict[str, list[float]] = field(default_factory=dict)
    """When each site was asked, and when its answer to that was heard."""

    def place(self) -> None:
        """Ask somebody, as :meth:`Placer._made` does."""
        closed = refusals.excluded(self.memory, self.now)
        for site in SITES:
            if site in closed:
                continue
            if refusals.asked_too_early(self.memory, [part(site, "fw")], self.now) is None:
                self.epoch += 1
                self.at = site
                self.asked.setdefault(site, []).append(self.now)
                return

    def step(self) -> None:
        """One look at the chain."""
        if self.at in self.refusing or not self.at:
            said = [Said(self.at, "capacity", "full")] if self.at else []
            heard = self.said.setdefault(self.at, [])
            if len(heard) < len(self.asked.get(self.at, [])):
                heard.append(self.now)
            self.memory = refusals.noted(self.memory, said, self.epoch, self.now)
            self.place()

    def restart(self) -> None:
        """Another leader reads what was written."""
        self.memory = tuple(
            SiteRefusal.model_validate_json(one.model_dump_json()) for one in self.memory
        )


STEPS = st.lists(
    st.one_of(st.floats(0.0, 700.0), st.just(-1.0)), min_size=1, max_size=60
)  # fmt: skip
"""Seconds until the next look; -1: another leader."""


@given(st.frozensets(st.sampled_from(SITES)), STEPS)
def test_no_site_is_asked_again_before_its_own_back_off(
    refusing: frozenset[str], steps: list[float]
) -> None:
    """Why: two that refuse would be asked in turn for ever, each asking an instance started and stopped (ping-pong)."""
    tier = Tier(refusing)
    for seconds in steps:
        if seconds < 0:
            tier.restart()
        else:
            tier.step()
            tier.now += seconds
    for site, times in tier.asked.items():
        if site not in refusing:
            assert len(times) == 1, "who takes it keeps it"
            continue
        row, before = 0, -math.inf
        for said, asked in zip(tier.said.get(site, []), times[1:], strict=False):
            # A row of refusals ends when nothing was heard for long after its back-off.
            row = row + 1 if row and said < before + refusals.back_off_s(row) + LONGEST_S else 1
            assert asked >= said + refusals.back_off_s(row)
            before = said


@given(st.frozensets(st.sampled_from(SITES), min_size=1, max_size=len(SITES) - 1), STEPS)
def test_a_site_that_takes_it_is_found_and_kept(
    refusing: frozenset[str], steps: list[float]
) -> None:
    """Why: the whole point: the chain stayed for ever at who refused it. At most one look per refusing site."""
    tier = Tier(refusing)
    for _ in range(len(refusing) + 1):
        tier.step()
    assert tier.at not in refusing
    found = tier.epoch
    for seconds in steps:
        tier.now += max(seconds, 0.0)
        tier.step()
    assert tier.epoch == found, "nothing moves that is carried"


@given(st.integers(1, 40))
def test_back_offs_double_up_to_ten_minutes(times: int) -> None:
    """Why: a site that refuses for a day must not be asked every half minute, nor be forgotten for a day."""
    expected = min(LONGEST_S, FIRST_S * math.pow(2, times - 1))
    assert refusals.back_off_s(times) == expected


@given(st.integers(1, 60), st.integers(1, 60), st.floats(0.0, 5_000.0))
def test_the_memory_is_bounded_and_drops_nobody_in_his_back_off(
    sites: int, later: int, wait_s: float
) -> None:
    """Why: a thousand sites that refuse must not make a value that the store refuses; nor may a full memory forget."""
    memory: tuple[SiteRefusal, ...] = ()
    now = 0.0
    for number in range(sites):
        if refusals.asked_too_early(memory, [part(f"s{number}", "fw")], now) is None:
            memory = refusals.noted(
                memory, [Said(f"s{number}", "capacity", "x" * 9_999)], number, now
            )
    assert len(memory) <= KEPT
    assert all(len(one.reason) <= refusals.SAID_BYTES for one in memory)
    alone = refusals.excluded(memory, wait_s)
    memory = refusals.noted(memory, [Said("late", "capacity", "full")], later + 1_000, wait_s)
    assert alone <= {one.site for one in memory}
    assert len(memory) <= KEPT + 1


@given(st.floats(0.0, 1e6), st.integers(1, 12))
def test_a_clock_that_was_ahead_excludes_nobody_for_long(ahead_s: float, times: int) -> None:
    """Why: until when is written by one leader's clock and read by another's; an hour wrong is no hour lost."""
    one = SiteRefusal(site="s", epoch=1, times=times, until_s=5_000 + ahead_s)
    assert refusals.active(one, 5_000.0) <= (ahead_s <= LONGEST_S)
    assert refusals.wait_s([one], 5_000.0) <= LONGEST_S


@given(st.floats(0.0, 10_000.0))
def test_each_refusal_of_a_placement_counts_once(wait_s: float) -> None:
    """Why: the report comes every few seconds; counted each time, it would be ten minutes after one."""
    said = [Said("s", "capacity", "full")]
    once = refusals.noted((), said, 7, 100.0)
    assert refusals.noted(once, said, 7, 100.0 + wait_s) == once
    again = refusals.noted(once, said, 8, 130.0)
    assert [one.times for one in again] == [2]
    long_after = refusals.noted(once, said, 8, 130.0 + LONGEST_S + 1)
    assert [one.times for one in long_after] == [1]
