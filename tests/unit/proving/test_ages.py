"""Facts from the future, as the simulation met them when a site's clock jumped an hour ahead and back (G12)."""

from __future__ import annotations

import pytest

from isthmus.contract import Body, Stamp, seal, unseal
from isthmus.contract.envelope import SKEW_S

STAMP = Stamp(origin="test", incarnation="1")


class Word(Body):
    """Something that ages."""

    text: str


@pytest.mark.parametrize(
    ("as_of", "expired"),
    [(100.0, False), (89.0, True), (100.0 + SKEW_S, False), (101.0 + SKEW_S, True)],
)
def test_a_fact_from_further_ahead_than_clocks_may_differ_has_no_known_age(
    as_of: float, expired: bool
) -> None:
    """Why: believed, it would stay believed for as long as its writer's clock was ahead, whatever became of him."""
    sealed = seal(Word(text="x"), STAMP, as_of=as_of, ttl_s=10)
    assert unseal(sealed, Word).expired(100.0) is expired


def test_what_does_not_age_is_never_expired() -> None:
    """Why: an intent is valid until it is taken back, whoever's clock was wrong."""
    assert not unseal(seal(Word(text="x"), STAMP, as_of=1e12), Word).expired(100.0)
