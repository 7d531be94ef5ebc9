"""When to renew what, pure: time is an argument (DESIGN section 9; the slots of SPIRE,
GUARANTEES G10).

A new certificate is *prepared* at a fraction of the old one's life and *activated* later, so
that everybody can learn to trust it before anybody uses it. For a leaf both moments fall
together; for an authority the time between is what the bundles need to travel. Jitter (a number
in [0, 1) given by the caller) keeps a thousand sites from renewing at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from isthmus.identity.errors import ProfileRefused
from isthmus.identity.profiles import DAY_S


@dataclass(frozen=True, slots=True)
class Validity:
    """From ``not_before_s`` to ``not_after_s``, in seconds since the epoch; both ends belong to
    it.
    """

    not_before_s: float
    not_after_s: float

    def __post_init__(self) -> None:
        if not self.not_before_s < self.not_after_s:
            raise ProfileRefused(
                "not_after_s", self.not_after_s, f"it lies behind not_before {self.not_before_s}"
            )

    @property
    def life_s(self) -> float:
        """The whole length."""
        return self.not_after_s - self.not_before_s

    def left_s(self, now_s: float) -> float:
        """What is left; negative once it has expired."""
        return self.not_after_s - now_s


@dataclass(frozen=True, slots=True)
class RotationPolicy:
    """``prepare_left`` and ``activate_left``: the fraction of life still left at which to act,
    each capped in seconds so that a certificate of years is not renewed years early. ``jitter``
    spreads preparing, earlier only.
    """

    prepare_left: float
    activate_left: float
    prepare_cap_s: float
    activate_cap_s: float
    jitter: float

    def __post_init__(self) -> None:
        if not 0.0 < self.activate_left <= self.prepare_left < 1.0:
            raise ProfileRefused(
                "activate_left, prepare_left",
                (self.activate_left, self.prepare_left),
                "0 < activate_left <= prepare_left < 1",
            )
        if not 0.0 <= self.jitter <= 1.0 - self.prepare_left:
            raise ProfileRefused("jitter", self.jitter, "0 <= jitter <= 1 - prepare_left")
        if not 0.0 < self.activate_cap_s <= self.prepare_cap_s:
            raise ProfileRefused(
                "activate_cap_s, prepare_cap_s",
                (self.activate_cap_s, self.prepare_cap_s),
                "0 < activate_cap_s <= prepare_cap_s",
            )


LEAF_ROTATION: Final = RotationPolicy(0.5, 0.5, DAY_S * 30.0, DAY_S * 30.0, jitter=0.1)
"""Half-life, 10 % spread: a renewal that fails has the other half to be repaired in; the new
leaf is used at once.
"""
AUTHORITY_ROTATION: Final = RotationPolicy(0.5, 1 / 6, DAY_S * 30.0, DAY_S * 7.0, jitter=0.1)
"""Prepared at half-life, used in the last sixth: in between the bundles have a third of its life
to travel.
"""


class Stage(Enum):
    """What the holder of a certificate should do now."""

    NOT_YET_VALID = "not-yet-valid"
    FRESH = "fresh"
    PREPARE = "prepare"
    ACTIVATE = "activate"
    EXPIRED = "expired"


def prepare_at_s(validity: Validity, policy: RotationPolicy, spread: float) -> float:
    """The moment from which a successor is to be made; ``spread`` in [0, 1) is the caller's
    random number.
    """
    if not 0.0 <= spread < 1.0:
        raise ProfileRefused("spread", spread, "0 <= spread < 1")
    left_s = min(policy.prepare_left * validity.life_s, policy.prepare_cap_s)
    earlier_s = spread * policy.jitter * min(validity.life_s, left_s / policy.prepare_left)
    return max(validity.not_before_s, validity.not_after_s - left_s - earlier_s)


def activate_at_s(validity: Validity, policy: RotationPolicy) -> float:
    """The moment from which the successor is to be used."""
    return validity.not_after_s - min(policy.activate_left * validity.life_s, policy.activate_cap_s)


def stage(
    validity: Validity, policy: RotationPolicy, now_s: float, *, spread: float = 0.0
) -> Stage:
    """Where in its life the certificate is at ``now_s``."""
    if now_s < validity.not_before_s:
        return Stage.NOT_YET_VALID
    if now_s > validity.not_after_s:
        return Stage.EXPIRED
    if now_s >= activate_at_s(validity, policy):
        return Stage.ACTIVATE
    if now_s >= prepare_at_s(validity, policy, spread):
        return Stage.PREPARE
    return Stage.FRESH


def next_look_s(
    validity: Validity, policy: RotationPolicy, now_s: float, *, spread: float = 0.0
) -> float:
    """Seconds until :func:`stage` may change; 0 when there is something to do now or it has
    expired.
    """
    now = stage(validity, policy, now_s, spread=spread)
    if now is Stage.NOT_YET_VALID:
        return validity.not_before_s - now_s
    if now is Stage.FRESH:
        return prepare_at_s(validity, policy, spread) - now_s
    if now is Stage.PREPARE:
        return activate_at_s(validity, policy) - now_s
    return 0.0
