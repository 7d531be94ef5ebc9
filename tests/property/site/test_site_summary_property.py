"""The site's own summary, by the rules that ship: at every moment of any history each field is as right as it says."""

from __future__ import annotations

import itertools
import json

from hypothesis import given
from hypothesis import strategies as st

from isthmus.contract.alarms import DELETIONS_HELD, HOSTS_DOWN, raised
from isthmus.contract.envelope import Body, Stamp, seal, unseal
from isthmus.contract.figures import Kind, Told
from isthmus.contract.instance import HostInventory, SiteSummary
from isthmus.contract.summaries import SUMMARIES
from isthmus.federation.summaries import plain
from isthmus.site.figures import RULES, SiteFacts, members, tell_all

SLACK = 1e-6
HOSTS = ("h1", "h2", "h3")
STEP = st.tuples(
    st.sampled_from(HOSTS),
    st.sampled_from(["resize", "use", "gone", "chain", "held", "price", "wait"]),
    st.integers(0, 5000),
    st.floats(0, 90),
)
STEPS = st.lists(STEP, min_size=1, max_size=60)


class Site:
    """A site whose facts change step by step."""

    def __init__(self) -> None:
        self.hosts: dict[str, HostInventory] = {}
        self.used: dict[str, tuple[int, int]] = {}
        self.chains: set[str] = set()
        self.held: set[str] = set()
        self.price = 1000
        self.now_s = 1_800_000_000.0

    def step(self, host: str, what: str, amount: int, after_s: float) -> None:
        self.now_s += after_s
        match what:
            case "resize":
                self.hosts[host] = HostInventory(host=host, cpu_milli=amount, memory_mib=amount * 2)
            case "use":
                self.used[host] = (amount // 50, amount // 40)
            case "gone":
                self.hosts.pop(host, None)
            case "chain":
                self.chains ^= {f"c{amount}"}
            case "held":
                self.held ^= {f"c{amount % 3}"}
            case "price":
                self.price = amount

    def facts(self) -> SiteFacts:
        return SiteFacts(
            list(self.hosts.values()),
            self.used,
            sorted(self.chains),
            sorted(self.held),
            self.price,
            {host: cpu for host, (cpu, _) in self.used.items()},
            raised(
                {
                    DELETIONS_HELD: (len(self.held), 3),
                    HOSTS_DOWN: (len(HOSTS) - len(self.hosts), len(HOSTS)),
                }
            ),
        )

    def truth(self) -> dict[str, tuple[float, ...]]:
        """By arithmetic of its own: not the code under test."""
        free = [
            max(0, one.cpu_milli - self.used.get(name, (0, 0))[0])
            for name, one in self.hosts.items()
        ]
        memory = [
            max(0, one.memory_mib - self.used.get(name, (0, 0))[1])
            for name, one in self.hosts.items()
        ]
        hot = [
            1000 * self.used.get(name, (0, 0))[0] / one.cpu_milli
            for name, one in self.hosts.items()
            if one.cpu_milli
        ]
        numbers = {
            "cpu_milli_total": sum(one.cpu_milli for one in self.hosts.values()),
            "memory_mib_total": sum(one.memory_mib for one in self.hosts.values()),
            "cpu_milli_free": sum(free),
            "memory_mib_free": sum(memory),
            "largest_free_cpu_milli": max(free, default=0),
            "hosts_up": len(self.hosts),
            "chains": len(self.chains),
            "chains_held": len(self.held),
            "price_milli": self.price,
            "hottest_host_permille": max(hot, default=0),
        }
        ends = (0, 250, 500, 1000, 2000, 4000, 8000, 16000, 10**9)
        bins = [sum(low <= one < high for one in free) for low, high in itertools.pairwise(ends)]
        down = len(HOSTS) - len(self.hosts)
        bad = [3000 + 1000 * down / len(HOSTS)] if down else []
        bad += [1000 + 1000 * len(self.held) / 3] if self.held else []
        return {name: (float(one),) for name, one in numbers.items()} | {
            "free_cpu_slots": tuple(map(float, bins)),
            "alarms": tuple(bad + [0.0] * (5 - len(bad))),
        }


@given(STEPS)
def test_every_field_is_within_its_declared_bound_and_age_at_every_moment(
    steps: list[tuple[str, str, int, float]],
) -> None:
    """Bound, dead band and age together: issue 7 point 3. No slot is promised that no host has."""
    site = Site()
    told: dict[str, Told] = {}
    for step in steps:
        site.step(*step)
        told = tell_all(told, members(site.facts()), site.now_s)
        truth = site.truth()
        for field, summary in RULES.items():
            one = told[field]
            for said, true in zip(one.values, truth[field], strict=True):
                assert abs(said - true) <= one.bound + SLACK, field
            assert site.now_s - one.as_of < summary.rule.max_age_s
            share = summary.rule.dead_band_share
            assert one.bound <= max(summary.rule.dead_band, share * sum(one.values)) + SLACK, field
        assert told["largest_free_cpu_milli"].values <= truth["largest_free_cpu_milli"]


@given(STEPS)
def test_a_restarted_summarizer_tells_nothing_twice(
    steps: list[tuple[str, str, int, float]],
) -> None:
    """What was told is read back from the stored value, through JSON: a new life keeps the old promise."""
    site = Site()
    for step in steps:
        site.step(*step)
    told = tell_all({}, members(site.facts()), site.now_s)
    stored = seal(
        SiteSummary(**plain(told), told=told), Stamp(origin="t", incarnation="1"), as_of=site.now_s
    )
    read = unseal(stored, SiteSummary).body.told
    again = tell_all(read, members(site.facts()), site.now_s + 1)
    assert again == told


def test_the_reason_of_a_telling_is_the_one_that_made_it() -> None:
    """First, age, change: what explain-summary shows must be what happened."""
    site = Site()
    site.step("h1", "resize", 4000, 0)
    told = tell_all({}, members(site.facts()), site.now_s)
    assert told["cpu_milli_free"].why == "first"
    site.step("h1", "use", 2000, 1)  # 40 of 4000 milli: inside two in a hundred
    inside = tell_all(told, members(site.facts()), site.now_s)
    moved = {name for name in told if inside[name] is not told[name]}
    assert moved == {"largest_free_cpu_milli", "free_cpu_slots"}
    site.step("h1", "use", 5000, 1)
    beyond = tell_all(inside, members(site.facts()), site.now_s)
    assert (beyond["cpu_milli_free"].why, beyond["cpu_milli_free"].values) == ("change", (3900.0,))
    assert beyond["hosts_up"] is inside["hosts_up"]
    site.step("h1", "wait", 0, 58)
    aged = tell_all(beyond, members(site.facts()), site.now_s)
    assert (aged["hosts_up"].why, aged["cpu_milli_free"].why) == ("age", "change")
    site.step("h1", "wait", 0, -500)
    assert tell_all(aged, members(site.facts()), site.now_s)["hosts_up"].why == "clock"
    other = aged["hosts_up"].model_copy(update={"kind": Kind.MAX})
    changed = tell_all({**aged, "hosts_up": other}, members(site.facts()), site.now_s + 500)
    assert changed["hosts_up"].why == "rule"


class OldSummary(Body):
    """The model as it was before bounds were told."""

    cpu_milli_total: int
    cpu_milli_free: int
    memory_mib_total: int
    memory_mib_free: int
    largest_free_cpu_milli: int = 0
    hosts_up: int
    chains: int
    price_milli: int = 1000


OldSummary.__name__ = "SiteSummary"


def test_old_readers_are_unaffected_and_carry_it_along() -> None:
    """Additive: a reader of yesterday reads the same numbers, and what it does not know survives it (R11)."""
    site = Site()
    site.step("h1", "resize", 4000, 0)
    told = tell_all({}, members(site.facts()), site.now_s)
    data = seal(SiteSummary(**plain(told), told=told), Stamp(origin="t", incarnation="1"), as_of=1)
    old = unseal(data, OldSummary).body
    assert (old.cpu_milli_free, old.hosts_up) == (4000, 1)
    assert json.loads(old.model_dump_json())["told"]["hosts_up"]["bound"] == 0
    before = json.loads(data)
    del before["body"]["told"]
    assert unseal(json.dumps(before).encode(), SiteSummary).body.told == {}
    assert len(data) < 4096, "a summary is small"


def test_every_rule_is_of_a_field_that_is_there() -> None:
    """A rule about nothing would be a promise about nothing."""
    for summary in SUMMARIES:
        assert summary.family.model is not None
        assert summary.field in summary.family.model.model_fields
    assert set(RULES) == set(members(Site().facts()))
