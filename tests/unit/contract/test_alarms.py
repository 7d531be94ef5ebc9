"""Alarms that cross: a closed list of kinds, bounded, without a name of anybody; a newer kind does no harm."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from isthmus.contract.alarms import (
    CHAINS_DEGRADED,
    CHAINS_REFUSED,
    HOSTS_DOWN,
    KINDS,
    WORST,
    Alarm,
    alarm,
    badness,
    kind_of,
    listed,
    raised,
    sentence,
)
from isthmus.contract.figures import Kind, Told

NOW_S = 1_800_000_000.0


def told(*names: str) -> Told:
    values = (3000.0,) * len(names) + (0.0,) * (5 - len(names))
    return Told(
        kind=Kind.TOP_K, values=values, names=names, bound=10, as_of=NOW_S, max_age_s=60, members=2
    )


def test_any_error_is_worse_than_every_warning() -> None:
    """Why: the worst few must be those to get up for; one degraded chain of ten thousand before all refused ones."""
    least = badness(alarm(CHAINS_DEGRADED, 1, 10_000))
    most = badness(alarm(CHAINS_REFUSED, 10_000, 10_000))
    assert least > most
    assert badness(alarm(HOSTS_DOWN, 2, 4)) > badness(alarm(HOSTS_DOWN, 1, 4))
    assert badness(alarm(HOSTS_DOWN, 9, 4)) == WORST, "more than all is all: the bound holds"


def test_nobody_concerned_is_no_alarm() -> None:
    """Why: a list that always has five lines is read by nobody."""
    assert raised({HOSTS_DOWN: (0, 4), CHAINS_DEGRADED: (1, 4)}) == {
        CHAINS_DEGRADED: alarm(CHAINS_DEGRADED, 1, 4)
    }


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_kind_has_a_sentence_and_a_place_before_it(kind: str) -> None:
    """Why: what crosses is a kind; without a sentence the operator reads a code."""
    assert sentence(alarm(kind, 3, 7))
    assert "{" not in sentence(alarm(kind, 3, 7))
    assert kind_of(kind) == kind_of(f"2.13.{kind}") == kind


@pytest.mark.parametrize(
    "name", ["milan.hosts-down", "hosts-down.acme", "paris", "1.", "x.1.hosts-down"]
)
def test_a_name_that_somebody_made_up_is_no_kind(name: str) -> None:
    """Why: an alarm's name is the only text that crosses; a host's name in it would be a leak (attack 8)."""
    assert kind_of(name) is None


def test_a_newer_releases_kind_is_read_and_shown() -> None:
    """Why: n reads n+1: unknown kinds and fields do no harm, and nothing is lost on the way."""
    read = Alarm.model_validate_json(
        '{"name": "disk-full", "severity": "error", "count": 1, "of": 2, "x": 3}'
    )
    assert sentence(read) == "disk-full: 1 of 2"
    assert json.loads(read.model_dump_json())["x"] == 3
    with pytest.raises(ValidationError):
        Alarm(name="Line\nbreak")


def test_an_alarm_keeps_its_beginning_and_its_words_while_its_figure_holds() -> None:
    """Why: "since" is what tells an old trouble from a new one, and a kept figure must not come with newer counts."""
    current = {one: alarm(one, 1, 4) for one in (HOSTS_DOWN, CHAINS_DEGRADED)}
    first = listed(told(HOSTS_DOWN), current, (), True, NOW_S)
    assert [(one.name, one.since) for one in first] == [(HOSTS_DOWN, NOW_S)]
    later = {**current, HOSTS_DOWN: alarm(HOSTS_DOWN, 2, 4)}
    assert listed(told(HOSTS_DOWN), later, first, False, NOW_S + 5) == first
    both = listed(told(HOSTS_DOWN, CHAINS_DEGRADED), later, first, True, NOW_S + 9)
    assert [(one.count, one.since) for one in both] == [(2, NOW_S), (1, NOW_S + 9)]
    assert listed(None, current, first, True, NOW_S) == ()
    assert listed(told(HOSTS_DOWN), current, (), False, NOW_S)[0].since == NOW_S, "was lost: anew"


def test_the_worst_five_are_small() -> None:
    """Why: a summary stays a summary; the longest names and figures of five alarms are below a kilobyte."""
    longest = max(KINDS, key=len)
    names = [f"9999.9999.{place}.{longest}" for place in range(5)]
    one = Alarm(name="x", severity="warning", count=10**6, of=10**6, since=NOW_S + 0.123456)
    size = sum(len(one.model_copy(update={"name": name}).model_dump_json()) for name in names)
    assert size < 1024
