"""Whose wish counts when several peers ask under one name: who may ask, and who is carried already (attacks 18, 19)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isthmus.contract.peering import Delegation, by_claim

NAMES = ("a", "b", "c", "d")
DELEGATIONS = st.lists(
    st.builds(
        Delegation,
        st.sampled_from(NAMES),
        st.sampled_from([(), ("acme",), ("zeta",)]),
        revoked=st.booleans(),
    ),
    unique_by=lambda one: one.peer,
)


def test_who_may_not_ask_hides_nobody() -> None:
    """Why: one forbidden key would keep a peer's lawful chain away, for as long as it lies there."""
    lawful = Delegation("lawful", ("acme",))
    foreign, revoked = Delegation("foreign", ("zeta",)), Delegation("old", revoked=True)
    assert by_claim([foreign, revoked, lawful], "acme", "")[0] is lawful
    assert by_claim([foreign, revoked, lawful], "acme", "old")[0] is lawful, "it may not any more"


def test_who_is_carried_keeps_its_name() -> None:
    """Why: else a peer of the same tenant takes a running chain over by asking for its name."""
    first, second = Delegation("first"), Delegation("second")
    assert by_claim([first, second], "acme", "second") == [second, first]
    assert by_claim([first, second], "acme", "") == [first, second], "then the settings decide"


def test_who_is_quarantined_hides_nobody_and_keeps_what_it_has() -> None:
    """Why: a cut-off peer may ask for nothing new, so its wish must not be the answer to another's (G9)."""
    cut, good = Delegation("cut"), Delegation("good")
    assert by_claim([cut, good], "acme", "", {"cut"}) == [good, cut]
    assert by_claim([cut, good], "acme", "cut", {"cut"}) == [cut, good], "what stands stays"
    assert by_claim([cut, good], "acme", "") == [cut, good]


@given(DELEGATIONS, st.sampled_from(["acme", "zeta"]), st.sampled_from(("", *NAMES)))
def test_nobody_is_lost_and_the_order_is_by_right_then_by_hold(
    delegations: list[Delegation], tenant: str, holder: str
) -> None:
    """Why: a wish that is left out is never refused either, and its peer waits for ever."""
    order = by_claim(delegations, tenant, holder)
    assert sorted(order, key=position) == sorted(delegations, key=position)
    rights = [one.covers(tenant) for one in order]
    assert rights == sorted(rights, reverse=True)
    lawful = [one for one in order if one.covers(tenant)]
    if any(one.peer == holder for one in lawful):
        assert lawful[0].peer == holder
    others = [one for one in lawful if one.peer != holder]
    assert others == [one for one in delegations if one in others], "the settings' order stands"


def position(one: Delegation) -> int:
    return NAMES.index(one.peer)
