"""Laws of the pure parts, on inputs nobody thought of."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.kv import Delete, Entry, Put, Txn
from isthmus.kv import wire_pb2 as wire
from isthmus.kv.codec import entry
from isthmus.kv.errors import Compacted
from isthmus.kv.grants import Access, Grant, covered
from isthmus.kv.mvcc import MvccStore
from isthmus.kv.ranges import KeyRange, prefix_end
from isthmus.kv.writes import BATCH_BYTES, BATCH_OPERATIONS, Write, batches_of

LETTERS = st.sampled_from([b"", b"a", b"b", b"\xff", b"/", b"0"])
BYTES = st.lists(LETTERS, max_size=5).map(b"".join)


@given(prefix=BYTES.filter(lambda prefix: prefix.strip(b"\xff") != b""), key=BYTES)
def test_a_prefix_range_holds_exactly_what_begins_with_it(prefix: bytes, key: bytes) -> None:
    """Attack 7, for every byte there is: no neighbour inside, no child outside."""
    assert (prefix <= key < prefix_end(prefix)) is key.startswith(prefix)


POINTS = st.integers(0, 7)
ACCESS = st.sampled_from(list(Access))


def interval(start: int, length: int) -> KeyRange:
    """``length`` keys of one letter from ``start`` on; one key when it is 0."""
    first = bytes([97 + start])
    return KeyRange(first, bytes([97 + start + length])) if length else KeyRange(first)


RANGES = st.builds(interval, POINTS, POINTS)


@given(
    wanted=st.builds(interval, POINTS, st.integers(1, 7)),
    access=st.sampled_from([Access.READ, Access.WRITE]),
    grants=st.lists(st.builds(Grant, st.builds(interval, POINTS, st.integers(1, 7)), ACCESS)),
)
def test_covered_means_each_key_is_granted(
    wanted: KeyRange, access: Access, grants: list[Grant]
) -> None:
    """Against the definition, key by key: never wider, never narrower."""
    letters = [bytes([97 + number]) for number in range(16)]
    each = all(
        any(grant.keys.holds(key) and grant.access.includes(access) for grant in grants)
        for key in letters
        if wanted.holds(key)
    )
    assert covered(wanted, access, grants) is each


@given(outer=RANGES, inner=RANGES)
def test_containment_is_that_of_the_keys(outer: KeyRange, inner: KeyRange) -> None:
    """Over all keys that could tell the two apart."""
    letters = [bytes([97 + number]) for number in range(16)]
    keys = [letter + tail for letter in letters for tail in (b"", b"\0", b"x")]
    held = [key for key in keys if inner.holds(key)]
    assert outer.contains(inner) is all(outer.holds(key) for key in held)


WRITES = st.one_of(
    st.builds(Put, st.sampled_from("abcdef"), st.binary(max_size=3)),
    st.builds(Put, st.sampled_from("gh"), st.just(b"v" * (BATCH_BYTES // 3))),
    st.builds(Delete, st.sampled_from("abc")),
)


@given(writes=st.lists(WRITES, max_size=60))
def test_batches_are_the_writes_in_order_and_each_is_lawful(writes: list[Write]) -> None:
    """Nothing lost, repeated or moved; each batch is a transaction etcd takes."""
    batches = list(batches_of(writes))
    assert [write for batch in batches for write in batch] == writes
    for batch in batches:
        assert 0 < len(batch) <= BATCH_OPERATIONS
        assert len({write.key for write in batch}) == len(batch)
        size = sum(len(write.value) for write in batch if isinstance(write, Put))
        assert size <= BATCH_BYTES


NUMBERS = st.integers(0, 2**62)


@given(value=st.binary(max_size=9), numbers=st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS))
def test_entries_survive_the_wire(value: bytes, numbers: tuple[int, int, int, int]) -> None:
    """Whatever the numbers are."""
    created, modified, version, lease = numbers
    message = wire.KeyValue(
        key=b"k",
        value=value,
        create_revision=created,
        mod_revision=modified,
        version=version,
        lease=lease,
    )
    read = wire.KeyValue.FromString(message.SerializeToString())
    assert entry(read) == Entry("k", value, created, modified, version, lease)


STEPS = st.lists(
    st.tuples(st.sampled_from("ppppddc"), st.sampled_from(["a", "b", "c"]), st.integers(0, 9)),
    max_size=40,
)


@settings(max_examples=200)
@given(steps=STEPS)
def test_history_is_what_happened(steps: list[tuple[str, str, int]]) -> None:
    """The twin's history against the plainest model there is: a copy of the dictionary per revision."""
    store = MvccStore()
    copies: dict[int, dict[str, bytes]] = {1: {}}
    for kind, key, number in steps:
        now = dict(copies[store.revision])
        if kind == "p":
            store.put(key, b"%d" % number)
            copies[store.revision] = now | {key: b"%d" % number}
        elif kind == "d" and store.delete(key):
            del now[key]
            copies[store.revision] = now
        elif kind == "c" and store.compacted < store.revision - number:
            store.compact(store.revision - number)
    for revision, expected in copies.items():
        if revision < store.compacted:
            continue
        for key in "abc":
            found = store.get(key, revision)
            assert (found.value if found else None) == expected.get(key)
            assert found is None or found.mod_revision <= revision


@given(steps=STEPS)
def test_replaying_the_log_from_a_revision_gives_the_present(
    steps: list[tuple[str, str, int]],
) -> None:
    """What a mirror does: a snapshot at any revision that is left, plus the log behind it."""
    store = MvccStore()
    for kind, key, number in steps:
        if kind == "c":
            store.txn(Txn(then=(Put("b", b"%d" % number), Delete("c"))))
        elif kind == "p":
            store.put(key, b"%d" % number)
        else:
            store.delete(key)
    if store.revision > 3:
        store.compact(store.revision // 2)
    now = {found.key: found for key in "abc" if (found := store.get(key))}
    for revision in range(max(1, store.compacted), store.revision + 1):
        state = {found.key: found for key in "abc" if (found := store.get(key, revision))}
        for _, events in store.log_after(revision):
            for event in events:
                state.pop(event.key, None)
                if event.entry is not None:
                    state[event.key] = event.entry
        assert state == now


def test_a_compacted_read_is_refused_not_invented() -> None:
    """The boundary of the law above."""
    store = MvccStore()
    store.put("a", b"1")
    store.put("a", b"2")
    store.compact(3)
    assert store.get("a", 3) is not None
    with pytest.raises(Compacted) as refusal:
        store.get("a", 2)
    assert refusal.value.revision == 3
