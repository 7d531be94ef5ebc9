"""Spreading flows: both ways agree, shares are even, and few clients move."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from isthmus.vswitch import Split
from isthmus.vswitch.rules import CATCH_ALL, split_rules

keys = st.lists(st.integers(0, 99), min_size=1, max_size=6, unique=True).map(
    lambda numbers: [f"i-{n}" for n in numbers]
)
buckets = st.sampled_from([8, 16, 64, 256])


def owners(split: Split) -> list[str]:
    """Instance of each bucket, read from the rules of IPv4."""
    names = {device: key for key, device in split.targets}
    rules = [rule for rule in split_rules(split) if rule.node != CATCH_ALL]
    return [names[rule.target] for rule in rules[::2]]


def split(names: list[str], prefix: str, client: str, count: int) -> Split:
    targets = tuple((name, f"{prefix}{name}") for name in names)
    return Split("src0", targets, client=client, buckets=count)


@given(keys, buckets)
def test_both_ways_choose_the_same_instance(names: list[str], count: int) -> None:
    """A stateful function sees both directions of a flow, or it breaks it."""
    there = owners(split(names, "a", "src", count))
    back = owners(split(list(reversed(names)), "b", "dst", count))
    assert there == back


@given(keys, buckets)
def test_shares_are_even(names: list[str], count: int) -> None:
    """No instance has more than its rounded-up share of the buckets."""
    shares = Counter(owners(split(names, "a", "src", count)))
    assert max(shares.values()) <= -(-count // len(names))


@given(keys, buckets)
def test_each_packet_meets_one_rule_before_the_catch_all(names: list[str], count: int) -> None:
    """Both address families, every bucket once, and the catch-all last."""
    rules = split_rules(split(names, "a", "src", count))
    assert [rule.node for rule in rules] == sorted({rule.node for rule in rules})
    assert rules[-1].node == CATCH_ALL
    assert len({rule.match for rule in rules}) == 2 * count + 1
    assert len({rule.cookie for rule in rules}) == 2 * count + 1


@given(st.integers(2, 5), st.sampled_from([16, 64]))
def test_one_more_instance_moves_a_minority(number: int, count: int) -> None:
    """Scaling out must not reshuffle everybody's sessions: most buckets stay where they are."""
    names = [f"i-{n}" for n in range(number)]
    before = owners(split(names, "a", "src", count))
    after = owners(split([*names, "i-new"], "a", "src", count))
    moved = sum(a != b for a, b in zip(before, after, strict=True))
    assert moved <= count * 0.6
