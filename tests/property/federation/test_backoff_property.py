"""The pause between two dials: bounded, growing, spread; a crowd of sites must not dial as one (issue 7, point 7)."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.federation.backoff import Ending, Pauses, ending, pause_s
from isthmus.federation.errors import (
    AgreementRefused,
    CutOff,
    LinkEnded,
    LinkLost,
    PeerRefused,
    ProtocolViolation,
    Stopping,
    VersionRefused,
)
from isthmus.kv.errors import Unavailable

SECONDS = st.floats(0.001, 1000.0)
PAUSES = st.builds(Pauses, SECONDS, SECONDS, SECONDS)
JITTERS = st.floats(0.0, 1.0)
FAILURES = st.integers(0, 10_000)
ENDINGS = st.sampled_from(Ending)
SITES = 200


@given(PAUSES, ENDINGS, FAILURES, JITTERS)
def test_a_pause_is_within_its_bounds(
    pauses: Pauses, why: Ending, failures: int, jitter: float
) -> None:
    """Why: G4's five seconds hang on the longest pause, a gateway's peace on the shortest."""
    found = pause_s(pauses, why, failures, jitter)
    if why is Ending.REFUSED:
        refused_s = max(pauses.refused_s, pauses.max_s)
        assert 0.5 * refused_s <= found <= 1.5 * refused_s
    else:
        assert found <= pauses.max_s
        if why is Ending.LOST or failures > 1:
            assert found >= min(pauses.min_s, pauses.max_s) / 2
        else:
            assert 0.0 <= found <= pauses.min_s


@given(PAUSES, ENDINGS, FAILURES, JITTERS)
def test_it_grows_with_each_failure_up_to_a_cap(
    pauses: Pauses, why: Ending, failures: int, jitter: float
) -> None:
    """Why: who cannot be reached is asked less and less often, but never given up."""
    now, then = (pause_s(pauses, why, count, jitter) for count in (failures, failures + 1))
    assert now <= then
    assert pause_s(pauses, why, 10**6, jitter) == pause_s(pauses, why, 10**9, jitter)


def test_a_loss_doubles_from_the_shortest_pause_to_the_longest() -> None:
    """Why: the shipped numbers are what an operator counts on (settings: 0.2 s, 2 s, 15 s)."""
    middle = [round(pause_s(Pauses(), Ending.LOST, failures, 1.0), 3) for failures in range(6)]
    assert middle == [0.2, 0.4, 0.8, 1.6, 2.0, 2.0]


@given(PAUSES, FAILURES, JITTERS)
def test_a_refusal_waits_longer_than_a_loss_and_a_loss_longer_than_a_farewell(
    pauses: Pauses, failures: int, jitter: float
) -> None:
    """Why: nothing is gained by asking soon who refused, everything by asking soon who was told to go."""
    refused, lost, stopping = (
        pause_s(pauses, why, failures, jitter)
        for why in (Ending.REFUSED, Ending.LOST, Ending.STOPPING)
    )
    assert stopping <= lost <= refused


@given(FAILURES, FAILURES, JITTERS, JITTERS)
def test_as_shipped_any_refusal_is_longer_than_any_loss(
    failures: int, others: int, jitter: float, another: float
) -> None:
    """Why: a misconfigured site must stand out from the crowd of honest ones, whatever their luck."""
    refused = pause_s(Pauses(), Ending.REFUSED, failures, jitter)
    assert refused > 3 * pause_s(Pauses(), Ending.LOST, others, another)


@given(PAUSES, ENDINGS, FAILURES, JITTERS, JITTERS)
def test_more_jitter_is_a_longer_pause(
    pauses: Pauses, why: Ending, failures: int, one: float, other: float
) -> None:
    """Why: jitter that does not reach the pause is no jitter."""
    less, more = sorted((one, other))
    assert pause_s(pauses, why, failures, less) <= pause_s(pauses, why, failures, more)
    assert pause_s(pauses, why, failures, 0.0) < pause_s(pauses, why, failures, 1.0)


@pytest.mark.parametrize(("failures", "jitter"), [(-1, 0.5), (0, -0.01), (0, 1.01)])
def test_what_is_no_jitter_and_no_count_is_an_error(failures: int, jitter: float) -> None:
    """Why: a jitter in percent would make a site wait for minutes, and nobody would know why."""
    with pytest.raises(ValueError, match=r"jitter|failures"):
        pause_s(Pauses(), Ending.LOST, failures, jitter)


def arrivals(away_s: float, *, farewell: bool = False) -> list[float]:
    """When each site reaches a gateway that stopped at 0 and is back after ``away_s``; each has its own luck."""
    found = []
    for site in range(SITES):
        chance = random.Random(site)
        why = Ending.STOPPING if farewell else Ending.LOST
        now_s, failures = pause_s(Pauses(), why, 0, chance.random()), 0
        while now_s < away_s:
            failures += 1
            now_s += pause_s(Pauses(), Ending.LOST, failures, chance.random())
        found.append(now_s - away_s)
    return found


@pytest.mark.parametrize(
    ("away_s", "farewell", "at_least_s", "at_most_s"),
    [(0.1, False, 0.08, 0.1), (1.0, False, 0.5, 1.6), (10.0, False, 1.5, 2.0), (0.0, True, 0.15, 0.2)],
    ids=["at-once", "after-1-s", "after-10-s", "another-gateway"],
)  # fmt: skip
def test_two_hundred_sites_do_not_dial_as_one(
    away_s: float, farewell: bool, at_least_s: float, at_most_s: float
) -> None:
    """Why: they all lost the link in the same moment; handshakes that come all at once make a gateway late for each of
    them, and all of them dial again. (Mutant: a jitter of 0.5 for everybody.)"""
    found = arrivals(away_s, farewell=farewell)
    width_s = max(found) - min(found)
    assert at_least_s <= width_s
    assert max(found) <= at_most_s
    tenths = Counter(int((one - min(found)) / width_s * 9.999) for one in found)
    assert len(tenths) >= 9, "over the whole window"
    assert max(tenths.values()) <= SITES * 2 // 5, "in waves at most, not in one heap"


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (LinkLost("reset"), Ending.LOST),
        (Unavailable("our own store"), Ending.LOST),
        (OSError("no such file"), Ending.LOST),
        (ProtocolViolation("gap", "seq"), Ending.LOST),
        (LinkEnded("store", ""), Ending.LOST),
        (LinkEnded("superseded", ""), Ending.LOST),
        (LinkEnded("a-code-of-a-later-version", ""), Ending.LOST),
        (LinkEnded("agreement-missing", ""), Ending.REFUSED),
        (LinkEnded("revoked", ""), Ending.REFUSED),
        (AgreementRefused("agreement-expired", ""), Ending.REFUSED),
        (PeerRefused("PERMISSION_DENIED: peer-unknown"), Ending.REFUSED),
        (VersionRefused("too new"), Ending.REFUSED),
        (CutOff("expired", "our own certificate"), Ending.REFUSED),
        (LinkEnded(Stopping.code, ""), Ending.STOPPING),
        (Stopping("ours"), Ending.LOST),
    ],
    ids=lambda value: getattr(value, "code", "") if isinstance(value, Exception) else value.value,
)
def test_each_error_has_its_ending(error: Exception, why: Ending) -> None:
    """Why: a code in the wrong class is a flood, or a site that stays away for a quarter of a minute."""
    assert ending(error) is why
