"""An explanation fits its family whatever a decision has to say: no refusal may fail for the length of its reasons."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isthmus.contract import Stamp, seal, unseal
from isthmus.contract.chain import Candidate, Explanation
from isthmus.contract.families import EXPLAIN

STAMP = Stamp(origin="spiffe://" + "d" * 60 + "/site/" + "s" * 63 + "/placer", incarnation="f" * 32)
ANY = st.text(max_size=4000)


@given(
    constraint=ANY,
    reason=ANY,
    nearest=ANY,
    candidates=st.lists(st.tuples(ANY, ANY), max_size=30),
    figures=st.dictionaries(st.text("abcdefgh_", max_size=24), st.floats(0, 1e300), max_size=40),
)
def test_everything_fits(
    constraint: str,
    reason: str,
    nearest: str,
    candidates: list[tuple[str, str]],
    figures: dict[str, float],
) -> None:
    """Why: names of 32 functions at 300 sites are longer than the family takes; the store keeps the beginning."""
    made = Explanation(
        decision="refused",
        constraint=constraint,
        reason=reason,
        nearest_relaxation=nearest,
        candidates=tuple(Candidate(name=name, verdict=verdict) for name, verdict in candidates),
        figures=figures,
    )
    value = seal(made, STAMP, as_of=1e9)
    assert len(value) <= EXPLAIN.limit_bytes
    assert unseal(value, Explanation).body == made, "reading cuts nothing again"
    assert reason.startswith(made.reason.removesuffix("..."))


def test_a_short_one_is_left_alone() -> None:
    """Why: nothing may be changed that fits."""
    made = Explanation(decision="refused", reason="no room: 3 of 4 cores are taken")
    assert made.reason == "no room: 3 of 4 cores are taken"
