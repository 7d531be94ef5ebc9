"""G8, G9, G11: planted mutants, and the honest histories next to them."""

from __future__ import annotations

import pytest
from tests.unit.proving.tale import Tale


def _sentinel(tale: Tale, *, found: bool = False) -> None:
    tale.say.note("search", "sentinel", {"where": "store", "key": "secret", "found": found})


def _denied(tale: Tale, key: str = "hosts/h1", reason: str = "scope-denied") -> None:
    tale.say.denial("hub", peer="milan", direction="in", key=key, reason=reason)


def _shown(tale: Tale, key: str) -> None:
    tale.say.note(
        "reader", "shown", {"store": "s", "peer": "milan", "verb": "put", "key": key, "value": "1"}
    )


def test_scope_kept() -> None:
    """Something was tried and refused, and a search found nothing; a direction without attempts is said."""
    tale = Tale()
    _denied(tale)
    _sentinel(tale)
    assert tale.kept("G8").notes == ("nothing was tried outwards",)


def test_a_sentinel_that_was_found() -> None:
    """One is enough."""
    tale = Tale()
    _denied(tale)
    _sentinel(tale)
    _sentinel(tale, found=True)
    tale.broken("G8", "a planted value was found in the store")


def test_a_refused_key_that_is_shown() -> None:
    """A refusal that is counted but not obeyed; the order does not matter."""
    tale = Tale()
    _shown(tale, "hosts/h1")
    _denied(tale)
    _sentinel(tale)
    tale.broken("G8", "refused, and crossed all the same")


def test_a_key_refused_for_now_may_cross_later() -> None:
    """Quota, size and age pass: a judge that took them for the scope would cry wolf."""
    tale = Tale()
    _denied(tale, "summary/site", "quota-exceeded")
    _shown(tale, "summary/site")
    _sentinel(tale)
    tale.kept("G8")


@pytest.mark.parametrize("part", ["searches", "attempts"])
def test_a_search_where_nothing_was_tried_proves_nothing(part: str) -> None:
    """Nor do attempts without a search."""
    tale = Tale()
    (_sentinel if part == "searches" else _denied)(tale)
    tale.no_data("G8")


def _frame(tale: Tale, at_s: float, peer: str = "milan") -> None:
    tale.at(at_s).frame("hub", peer=peer, direction="in", code="beat")


def _policy(tale: Tale, at_s: float, phase: str, peer: str = "milan") -> None:
    tale.at(at_s).note("hub", "policy", {"peer": peer, "phase": phase})


def _cut(last_s: float, *, phase: str = "revoked", ends_s: float = 30.0) -> Tale:
    """Revoked at 10; the last frame ``last_s`` later; another peer speaks until ``ends_s``."""
    tale = Tale()
    _frame(tale, 1.0)
    _policy(tale, 10.0, phase)
    _frame(tale, 10.0 + last_s)
    _frame(tale, ends_s, "paris")
    return tale


@pytest.mark.parametrize("phase", ["revoked", "expired"])
def test_cut_in_time(phase: str) -> None:
    """The figure is the last frame's."""
    assert "1.20 s" in _cut(1.2, phase=phase).kept("G9").figure


def test_a_frame_after_the_bound() -> None:
    """Also when nothing came in between: a link that was silent and goes on was not cut."""
    _cut(5.1).broken("G9", "milan: 5.1 s later")


def test_who_is_admitted_again_may_speak() -> None:
    """Frames after that are not the old right."""
    tale = _cut(1.0)
    _policy(tale, 31.0, "admitted")
    _frame(tale, 32.0)
    assert tale.kept("G9").samples == 1


@pytest.mark.parametrize("absent", ["peer", "rest"])
def test_a_cut_of_nobody_and_one_that_nobody_saw_prove_nothing(absent: str) -> None:
    """The peer had no link, or the history ends before the bound."""
    if absent == "rest":
        tale = _cut(1.0, ends_s=12.0)
    else:
        tale = Tale()
        _policy(tale, 10.0, "revoked")
        _frame(tale, 30.0, "paris")
    tale.no_data("G9")


def _share(
    tale: Tale, peer: str, converged_s: float, *, flooding: bool = False, denied: int = 0
) -> None:
    tale.say.note(
        "hub",
        "share",
        {"peer": peer, "flooding": flooding, "converged_s": converged_s, "denied": denied},
    )


def _flood(meanwhile_s: float, *, calm: int = 20, during: int = 20) -> Tale:
    tale = Tale()
    for _ in range(calm):
        _share(tale, "milan", 0.2)
    _share(tale, "alps", 9.0, flooding=True, denied=5)
    for _ in range(during):
        _share(tale, "milan", meanwhile_s)
    return tale


def test_a_flood_that_nobody_notices() -> None:
    """The flooder's own figure is not held against anybody."""
    assert _flood(0.3).kept("G11").samples == 20


def test_others_slower_while_one_floods() -> None:
    """1.5 x and the resolution."""
    _flood(0.36).broken("G11", "others: p99 0.360 s while one floods, 0.200 s before")


def test_an_honest_peer_that_is_denied() -> None:
    """Fast for the rest: starved all the same."""
    tale = _flood(0.2)
    _share(tale, "milan", 0.2, denied=1)
    tale.broken("G11", "an honest peer is denied")


@pytest.mark.parametrize(("now_s", "calm", "during"), [(9.9, 19, 20), (0.2, 20, 19), (9.9, 20, 0)])
def test_too_few_to_compare(now_s: float, calm: int, during: int) -> None:
    """A p99 of a handful is its luck."""
    _flood(now_s, calm=calm, during=during).no_data("G11")


def test_who_is_starved_gets_few_and_each_counts() -> None:
    """Why: a peer that gets three changes through in a whole flood would have been too few to say that it starves."""
    _flood(9.9, during=3).broken("G11", "others: p99 9.900 s while one floods")


def test_a_flood_that_is_over_is_the_calm_again() -> None:
    """The flooder said that it stopped; what follows is not "while one floods"."""
    tale = _flood(0.2)
    _share(tale, "alps", 0.2)
    _share(tale, "milan", 9.9)
    tale.kept("G11")
