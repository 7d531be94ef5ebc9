"""Rotation at named moments: the fractions and caps are promises to operators."""

from __future__ import annotations

import pytest

from isthmus.identity import (
    AUTHORITY_ROTATION,
    LEAF_ROTATION,
    ProfileRefused,
    RotationPolicy,
    Stage,
    Validity,
    next_look_s,
    stage,
)
from isthmus.identity.rotation import activate_at_s, prepare_at_s

DAY_S = 86_400.0


def test_a_leaf_is_renewed_and_used_at_half_life() -> None:
    """24 h leaf: nothing to do before noon, then at once."""
    day = Validity(0.0, DAY_S)
    assert stage(day, LEAF_ROTATION, DAY_S / 2 - 1) is Stage.FRESH
    assert stage(day, LEAF_ROTATION, DAY_S / 2) is Stage.ACTIVATE
    assert next_look_s(day, LEAF_ROTATION, DAY_S / 4) == DAY_S / 4


def test_an_authority_is_trusted_before_it_is_used() -> None:
    """Prepared at half-life, used in the last sixth."""
    life = Validity(0.0, 60 * DAY_S)
    assert prepare_at_s(life, AUTHORITY_ROTATION, 0.0) == 30 * DAY_S
    assert activate_at_s(life, AUTHORITY_ROTATION) == 53 * DAY_S
    assert stage(life, AUTHORITY_ROTATION, 31 * DAY_S) is Stage.PREPARE


def test_caps_keep_long_lives_from_early_renewal() -> None:
    """A year: 30 days before the end, not half a year; the jitter stays in proportion."""
    year = Validity(0.0, 365 * DAY_S)
    assert prepare_at_s(year, AUTHORITY_ROTATION, 0.0) == 335 * DAY_S
    assert prepare_at_s(year, AUTHORITY_ROTATION, 0.999) >= 328 * DAY_S


def test_both_ends_of_a_validity_belong_to_it() -> None:
    """X.509 says inclusive, so do we."""
    day = Validity(10.0, 20.0)
    assert stage(day, LEAF_ROTATION, 10.0) is Stage.FRESH
    assert stage(day, LEAF_ROTATION, 20.0) is Stage.ACTIVATE
    assert stage(day, LEAF_ROTATION, 20.001) is Stage.EXPIRED
    assert day.left_s(25.0) == -5.0


@pytest.mark.parametrize(
    ("prepare", "activate", "cap", "jitter"),
    [
        (0.2, 0.5, 1.0, 0.0),
        (1.0, 0.5, 1.0, 0.0),
        (0.5, 0.0, 1.0, 0.0),
        (0.5, 0.5, 1.0, 0.6),
        (0.5, 0.5, -1.0, 0.0),
    ],
)
def test_policies_that_cannot_work_are_refused(
    prepare: float, activate: float, cap: float, jitter: float
) -> None:
    """Activating before preparing, or jitter before birth, is a mistake found at construction."""
    with pytest.raises(ProfileRefused):
        RotationPolicy(prepare, activate, cap, cap, jitter)


def test_inverted_lives_and_bad_random_numbers_are_refused() -> None:
    """Time and randomness are arguments, so they are checked like any other input."""
    with pytest.raises(ProfileRefused, match="not_after"):
        Validity(5.0, 5.0)
    with pytest.raises(ProfileRefused, match="spread"):
        prepare_at_s(Validity(0.0, 1.0), LEAF_ROTATION, 1.0)
