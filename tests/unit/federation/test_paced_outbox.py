"""Keys that wait for their interval keep their place: what ``through`` says stays true, and the newest value goes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isthmus.federation.coalescing import Outbox
from isthmus.federation.pacing import Pacer

KEYS = ("a", "b", "c")
MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(KEYS)),
        st.tuples(st.just("take"), st.sets(st.sampled_from(KEYS))),
    ),
    max_size=40,
)


@given(MOVES)
def test_through_never_passes_a_change_that_waits(moves: list[tuple[str, object]]) -> None:
    """A resume token behind a change that was put aside would lose it; and nothing goes that may not."""
    outbox = Outbox(1, value_budget_bytes=1000)
    revision, taken = 0, dict.fromkeys(KEYS, 0)
    newest = dict.fromkeys(KEYS, 0)
    first: dict[str, int] = {}
    for what, about in moves:
        if what == "put":
            revision += 1
            key = str(about)
            outbox.add(0, key, b"%d" % revision, revision)
            outbox.cover(0, revision)
            newest[key] = revision
            first.setdefault(key, revision)
        else:
            ready = about if isinstance(about, set) else set()
            for change in outbox.take(2, 1000, ready.__contains__):
                assert change.key in ready
                assert change.revision == newest[change.key]
                taken[change.key] = change.revision
                del first[change.key]
        assert outbox.through <= min([revision, *(one - 1 for one in first.values())])
        assert set(outbox.keys()) == set(first)
    while first:
        changes = outbox.take(2, 1000)
        assert changes
        for change in changes:
            taken[change.key] = change.revision
            del first[change.key]
    assert taken == newest
    assert outbox.through == revision


@given(
    st.lists(st.tuples(st.floats(0, 3), st.integers(0, 30)), max_size=60),
    st.floats(0.5, 50),
    st.integers(1, 20),
)
def test_in_no_window_more_than_burst_and_rate_go(
    asks: list[tuple[float, int]], rate: float, burst: int
) -> None:
    """Whatever is asked when: the agreement's figure holds between any two moments."""
    pacer = Pacer(rate, burst)
    now_s, went = 0.0, []
    for after_s, wanted in asks:
        now_s += after_s
        count = min(wanted, pacer.room(now_s))
        pacer.took(["k"] * count, now_s)
        went.append((now_s, count))
        assert pacer.wait_s(1, now_s) >= 0
    for index, (start_s, _) in enumerate(went):
        total = 0
        for moment_s, count in went[index:]:
            total += count
            assert total <= burst + rate * (moment_s - start_s) + 1e-3


def test_a_long_past_is_forgotten_and_a_wait_is_as_long_as_it_must_be() -> None:
    """Bounded memory; and who waits as told may go."""
    pacer = Pacer(4.0, 2, lambda key: 5.0)
    pacer.took(["a", "b"], 10.0)
    assert pacer.room(10.0) == 0
    wait_s = pacer.wait_s(1, 10.0)
    assert pacer.room(10.0 + wait_s) == 1
    assert pacer.due_s("a", 12.0) == 3.0
    assert not pacer.ready("a", 14.9)
    assert pacer.ready("a", 15.0)
