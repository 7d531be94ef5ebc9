"""Properties of identities and of rotation."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from isthmus.identity import (
    AUTHORITY_ROTATION,
    LEAF_ROTATION,
    Identity,
    IdentityRefused,
    Stage,
    Validity,
    next_look_s,
    stage,
)
from isthmus.identity.rotation import activate_at_s, prepare_at_s

FIRST = "abcdefghijklmnopqrstuvwxyz0123456789"
segments = st.builds(
    lambda head, tail: head + tail, st.sampled_from(FIRST), st.text(FIRST + "._-", max_size=20)
)
domains = st.from_regex(
    r"[a-z]([a-z0-9-]{0,6}[a-z0-9])?(\.[a-z]([a-z0-9-]{0,6}[a-z0-9])?){0,3}", fullmatch=True
)
identities = st.one_of(
    st.builds(Identity.of_site, domains, segments.filter(lambda name: name != "global"), segments),
    st.builds(Identity.of_global, domains, segments),
)


@given(identities)
def test_round_trip(identity: Identity) -> None:
    """Format and parse are inverse: an identity has exactly one spelling."""
    assert Identity.parse(str(identity)) == identity


@given(identities, identities)
def test_different_identities_have_different_uris(one: Identity, other: Identity) -> None:
    """No two identities share a spelling, so comparing text is comparing identities."""
    assert (one == other) == (str(one) == str(other))


@given(identities, st.data())
def test_a_mutated_uri_is_refused_or_is_another_identity(
    identity: Identity, data: st.DataObject
) -> None:
    """Insert any one character anywhere: never a second spelling of the same identity."""
    uri = str(identity)
    position = data.draw(st.integers(0, len(uri)))
    extra = data.draw(st.one_of(st.sampled_from("%/?#@:.A \\\n\0\u0430\u202e"), st.characters()))
    mutated = uri[:position] + extra + uri[position:]
    try:
        parsed = Identity.parse(mutated)
    except IdentityRefused:
        return
    assert parsed != identity
    assert str(parsed) == mutated


@given(identities)
def test_upper_case_is_refused_everywhere(identity: Identity) -> None:
    """Scheme, domain, path: case folding is normalising."""
    uri = str(identity)
    for position, char in enumerate(uri):
        if char.isalpha():
            with pytest.raises(IdentityRefused):
                Identity.parse(uri[:position] + char.upper() + uri[position + 1 :])


times = st.floats(0, 1e10, allow_nan=False)


@given(
    times,
    st.floats(10, 1e8),
    st.floats(0, 0.999),
    st.sampled_from([LEAF_ROTATION, AUTHORITY_ROTATION]),
)
def test_the_moments_of_a_life_are_in_order(
    start: float, life: float, spread: float, policy: object
) -> None:
    """Born, prepared, activated, expired: whatever the life and the jitter."""
    assume(start + life > start)
    assert policy in (LEAF_ROTATION, AUTHORITY_ROTATION)
    rotation = LEAF_ROTATION if policy is LEAF_ROTATION else AUTHORITY_ROTATION
    validity = Validity(start, start + life)
    prepare = prepare_at_s(validity, rotation, spread)
    activate = activate_at_s(validity, rotation)
    assert start <= prepare <= activate < validity.not_after_s
    assert stage(validity, rotation, activate, spread=spread) is Stage.ACTIVATE
    assert stage(validity, rotation, validity.not_after_s + 1, spread=spread) is Stage.EXPIRED
    assert stage(validity, rotation, start - 1, spread=spread) is Stage.NOT_YET_VALID


@given(st.integers(100, 10**8), st.floats(0, 0.999), st.floats(0, 1))
def test_waiting_next_look_reaches_the_next_stage(life: int, spread: float, at: float) -> None:
    """A loop that sleeps next_look_s and acts on stage never spins and never oversleeps."""
    validity = Validity(0.0, float(life))
    now_s = at * life
    order = list(Stage)
    before = stage(validity, AUTHORITY_ROTATION, now_s, spread=spread)
    wait_s = next_look_s(validity, AUTHORITY_ROTATION, now_s, spread=spread)
    after = stage(validity, AUTHORITY_ROTATION, now_s + wait_s + 1e-6 * life, spread=spread)
    if before in (Stage.FRESH, Stage.PREPARE):
        assert wait_s > 0
        assert order.index(after) > order.index(before)
    else:
        assert wait_s == 0
