"""Bounds are promises: whatever the members do, what was told is wrong by at most what it says (issue 7, point 3)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from isthmus.federation.summaries import (
    Figure,
    Kind,
    SummaryRule,
    Teller,
    Told,
    combine,
    figure_of,
    histogram_of,
    number,
    slots,
)

SLACK = 1e-6
SITES, HOSTS = ("a", "b"), ("h1", "h2", "h3")
STEP = st.tuples(
    st.sampled_from(SITES), st.sampled_from(HOSTS), st.floats(0, 1000), st.floats(0, 1000),
    st.floats(0, 20),
)  # fmt: skip
STEPS = st.lists(STEP, min_size=1, max_size=40)
BANDS = st.tuples(st.floats(0, 50), st.sampled_from([0.0, 0.01, 0.2]))


class Levels:
    """Hosts told by sites, sites told by a region: one rule at both levels."""

    def __init__(self, rule: SummaryRule) -> None:
        self.rule = rule
        self.truth: dict[str, dict[str, Figure]] = {site: {} for site in SITES}
        self.sites = {site: Teller(rule) for site in SITES}
        self.region = Teller(rule)
        self.now_s = 0.0

    def step(self, site: str, host: str, member: Figure, after_s: float) -> tuple[Told, Figure]:
        """One change; what the region has told, and the truth."""
        self.now_s += after_s
        self.truth[site][host] = member
        self.sites[site].update(self.truth[site], self.now_s)
        told = {
            name: figure_of(teller.told)
            for name, teller in self.sites.items()
            if teller.told is not None
        }
        self.region.update(told, self.now_s)
        assert self.region.told is not None
        return self.region.told, combine(self.rule, self.flat())

    def flat(self) -> dict[str, Figure]:
        """All hosts of all sites."""
        return {f"{s}/{h}": one for s, hosts in self.truth.items() for h, one in hosts.items()}


def rule_of(kind: Kind, bands: tuple[float, float], **more: object) -> SummaryRule:
    return SummaryRule.model_validate(
        {"kind": kind, "dead_band": bands[0], "dead_band_share": bands[1], **more}
    )


@given(st.sampled_from([Kind.SUM, Kind.MAX]), BANDS, STEPS)
def test_sum_and_max_keep_their_bound_through_two_levels(
    kind: Kind, bands: tuple[float, float], steps: list[tuple[str, str, float, float, float]]
) -> None:
    """At every moment, not only when something is told."""
    levels = Levels(rule_of(kind, bands))
    for site, host, value, _, after_s in steps:
        told, truth = levels.step(site, host, number(value), after_s)
        assert abs(told.values[0] - truth.value) <= told.bound + SLACK


@given(BANDS, STEPS)
def test_histogram_misplaces_at_most_its_bound(
    bands: tuple[float, float], steps: list[tuple[str, str, float, float, float]]
) -> None:
    """No bin is wrong by more."""
    rule = rule_of(Kind.HISTOGRAM, (bands[0] / 25, bands[1]), edges=(10.0, 100.0, 500.0))
    levels = Levels(rule)
    for site, host, value, _, after_s in steps:
        told, truth = levels.step(site, host, histogram_of(rule, value), after_s)
        apart = [abs(a - b) for a, b in zip(told.values, truth.values, strict=True)]
        assert max(apart) <= told.bound + SLACK


@given(BANDS, STEPS)
def test_top_k_places_and_names_keep_their_bound(
    bands: tuple[float, float], steps: list[tuple[str, str, float, float, float]]
) -> None:
    """The n-th largest is as told up to the bound, and so is each one named."""
    levels = Levels(rule_of(Kind.TOP_K, bands, k=2))
    for site, host, value, _, after_s in steps:
        told, truth = levels.step(site, host, number(value), after_s)
        for mine, theirs in zip(told.values, truth.values, strict=True):
            assert abs(mine - theirs) <= told.bound + SLACK
        flat = {name: one.value for name, one in levels.flat().items()}
        for name, value_told in zip(told.names, told.values, strict=False):
            assert abs(flat[name] - value_told) <= told.bound + SLACK


@given(BANDS, STEPS)
def test_told_slot_always_fits_and_is_near_the_best(
    bands: tuple[float, float], steps: list[tuple[str, str, float, float, float]]
) -> None:
    """No over-promise: a host of the site really has it; and the best is not larger by more than the bound."""
    rule = rule_of(Kind.FREE_SLOT, (bands[0] / 10, bands[1]), unit=(2.0, 4.0))
    teller = Teller(rule)
    hosts: dict[str, Figure] = {}
    for step, (_, host, cpu, memory, after_s) in enumerate(steps):
        hosts[host] = Figure((cpu, memory))
        teller.update(hosts, step * after_s)
        assert teller.told is not None
        told = teller.told.values
        assert any(
            all(have >= need for have, need in zip(one.values, told, strict=True))
            for one in hosts.values()
        )
        best = max(slots(rule, one.values) for one in hosts.values())
        assert best - slots(rule, told) <= teller.told.bound + SLACK


@given(STEPS)
def test_without_a_dead_band_everything_is_told_exactly(
    steps: list[tuple[str, str, float, float, float]],
) -> None:
    """The bound is zero, and true."""
    levels = Levels(rule_of(Kind.SUM, (0.0, 0.0)))
    for site, host, value, _, after_s in steps:
        told, truth = levels.step(site, host, number(value), after_s)
        assert told.bound == 0
        assert told.values[0] == pytest.approx(truth.value, abs=SLACK)


def test_dead_band_saves_tellings_and_age_forces_them() -> None:
    """A thousand small moves are one telling; a quiet figure is told again when it gets old."""
    teller = Teller(rule_of(Kind.SUM, (10.0, 0.0), max_age_s=60.0))
    for step in range(1000):
        teller.update({"h": number(100 + step % 10)}, step * 0.01)
    assert teller.tellings == 1
    assert teller.update({"h": number(100)}, 60.0) is not None
    assert teller.told is not None
    assert not teller.told.stale(180.0)
    assert teller.told.stale(180.1)
    assert "wrong by at most 10" in teller.explain()


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "histogram"},
        {"kind": "histogram", "edges": [3, 1]},
        {"kind": "top-k"},
        {"kind": "largest-free-slot", "unit": [0.0]},
        {"kind": "sum", "dead_band": -1},
        {"kind": "sum", "dead_band_share": 1.0},
        {"kind": "average"},
    ],
)
def test_rule_that_says_nothing_is_refused(wrong: dict[str, object]) -> None:
    """A rule is a contract: incomplete ones do not load."""
    with pytest.raises(ValidationError):
        SummaryRule.model_validate(wrong)
