"""The pure cores against models: digests, the outbox, and an importer that a hostile peer feeds with anything."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.contract.scopes import SITE_TO_TIER, ExportRoot
from isthmus.federation import link_pb2 as pb
from isthmus.federation.coalescing import Outbox
from isthmus.federation.digest import DigestMap, bucket_of
from isthmus.federation.errors import ProtocolViolation
from isthmus.federation.filters import DenialLog, ExportFilter, ScopeFilter
from isthmus.federation.importer import Importer
from isthmus.federation.limits import LinkLimits
from isthmus.policy.keys import check_key
from isthmus.policy.quotas import Quota
from isthmus.policy.scopes import Scope, Verb

KEYS = st.sampled_from([f"k{number}" for number in range(8)])
VALUES = st.binary(max_size=12)
CHANGES = st.lists(st.tuples(KEYS, st.one_of(st.none(), VALUES)), max_size=40)
UP = Scope.mirror("up", SITE_TO_TIER)


def filled(changes: list[tuple[str, bytes | None]]) -> tuple[DigestMap, dict[str, bytes]]:
    """The map and its model after ``changes``."""
    known = DigestMap()
    model: dict[str, bytes] = {}
    for key, value in changes:
        if value is None:
            assert known.remove(key) is (model.pop(key, None) is not None)
        else:
            assert known.put(key, value) is (model.get(key) != value)
            model[key] = value
    return known, model


@given(CHANGES, CHANGES)
def test_digests_are_equal_exactly_when_the_sets_are(
    one: list[tuple[str, bytes | None]], two: list[tuple[str, bytes | None]]
) -> None:
    """However each set came about; and the buckets that differ are those of the keys that differ."""
    left, left_model = filled(one)
    right, right_model = filled(two)
    assert (left.root() == right.root()) is (left_model == right_model)
    apart = {
        bucket_of(key)
        for key in left_model.keys() | right_model.keys()
        if left_model.get(key) != right_model.get(key)
    }
    assert set(left.differing(right.buckets)) == apart
    assert left.total_bytes == sum(len(k) + len(v) for k, v in left_model.items())
    assert left.keys_in(apart) == {key for key in left_model if bucket_of(key) in apart}


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("change"), st.integers(0, 1), KEYS, st.one_of(st.none(), VALUES)),
            st.tuples(st.just("take"), st.integers(1, 4), st.just(""), st.none()),
        ),
        max_size=60,
    ),
    st.integers(0, 30),
)
def test_outbox_loses_nothing_and_promises_nothing_too_early(
    steps: list[tuple[str, int, str, bytes | None]], budget: int
) -> None:
    """Whoever applies what was taken has, at each moment, every change up to ``through``; at the end, everything."""
    outbox = Outbox(2, value_budget_bytes=budget)
    newest: dict[tuple[int, str], tuple[bytes | None, int]] = {}
    history: list[tuple[int, str, int]] = []
    taken: dict[str, int] = {}
    revision = 0
    for kind, number, key, value in [*steps, ("take", 1000, "", None), ("take", 1000, "", None)]:
        if kind == "change":
            revision += 1
            name = f"{number}/{key}"
            outbox.add(number, name, value, revision)
            outbox.cover(0, revision)
            outbox.cover(1, revision)
            newest[number, name] = (value, revision)
            history.append((number, name, revision))
        else:
            for change in outbox.take(number, 10_000):
                lane = int(change.key[0])
                value_now, at = newest[lane, change.key]
                assert change.revision == at, "only the newest state goes"
                assert change.fetch or change.value == value_now
                taken[change.key] = change.revision
            for _, name, at in history:
                assert at > outbox.through or taken.get(name, 0) >= at
    assert len(outbox) == 0
    assert outbox.value_bytes == 0
    assert outbox.through == revision


TOKEN = st.builds(
    pb.Token,
    incarnation=st.sampled_from(["", "a", "b"]),
    revision=st.integers(-1, 20),
    nonce_revision=st.integers(-1, 20),
    nonce=st.sampled_from(["", "n"]),
)
ITEM = st.builds(
    pb.Item,
    verb=st.sampled_from([pb.VERB_PUT, pb.VERB_DELETE, pb.VERB_UNSPECIFIED]),
    key=st.one_of(
        st.sampled_from([b"summary/site", b"summary/chains/t/c", b"summary/wires/w", b"specs/t/c"]),
        st.binary(max_size=30),
        st.text(max_size=20).map(lambda text: ("summary/chains/" + text).encode()),
    ),
    value=st.binary(max_size=20),
    revision=st.integers(-1, 20),
)
STREAM = st.integers(0, 3)
SEQ = st.integers(0, 6)
FRAME = st.one_of(
    st.builds(
        pb.Begin,
        stream=STREAM, seq=SEQ, at=TOKEN, buckets=st.lists(st.integers(0, 300), max_size=4),
        mode=st.sampled_from([pb.MODE_SNAPSHOT, pb.MODE_FOLLOW, pb.MODE_REPAIR]),
    ),
    st.builds(
        pb.Batch, stream=STREAM, seq=SEQ, items=st.lists(ITEM, max_size=5),
        through=st.integers(-1, 20), proof=st.one_of(st.none(), TOKEN),
    ),
    st.builds(pb.End, stream=STREAM, seq=SEQ, through=st.integers(-1, 20)),
    st.builds(
        pb.Beat, stream=STREAM, seq=SEQ, digest=st.binary(max_size=16), keys=st.integers(0, 9)
    ),
)  # fmt: skip


@settings(max_examples=400)
@given(st.lists(FRAME, max_size=25))
def test_importer_survives_any_frames_and_writes_only_in_scope(frames: list[object]) -> None:
    """A hostile peer with a good certificate: a typed end of the link at worst, never a foreign key, never a crash."""
    importer = Importer(
        ScopeFilter(UP), Quota(max_keys=3), LinkLimits(), DenialLog(), DigestMap(), None
    )
    importer.resume()
    seqs: list[int] = []
    codes: list[str] = []
    for frame in frames:
        try:
            if isinstance(frame, pb.Begin):
                importer.begin(frame)
                seqs.clear()
                work = None
            elif isinstance(frame, pb.Batch):
                work = importer.batch(frame, 100)
            elif isinstance(frame, pb.End):
                work = importer.end(frame)
            else:
                assert isinstance(frame, pb.Beat)
                importer.beat(frame)
                work = None
        except ProtocolViolation as violation:
            codes.append(violation.code)
            break
        if work is None:
            continue
        assert work.ack is not None
        seqs.append(work.ack.seq)
        assert seqs == sorted(set(seqs)), "nothing is stored twice or out of order"
        for key, _ in work.writes:
            assert check_key(key) == key
            assert UP.decide(Verb.PUT, key).allowed
    assert all(codes)


@given(st.one_of(st.text(max_size=40), st.binary(max_size=40)))
def test_each_end_alone_lets_only_scoped_keys_pass(tail: str | bytes) -> None:
    """G8: whatever the key, sender and receiver decide as the scope itself does, and change nothing."""
    text = tail if isinstance(tail, str) else tail.decode("latin-1")
    denials = DenialLog()
    export = ExportFilter(
        [ExportRoot("/isthmus/v1/summary/", "summary/")], ScopeFilter(UP), denials
    )
    relative = "summary/" + text
    passed = export.relative(0, "/isthmus/v1/summary/" + text)
    allowed = UP.decide(Verb.PUT, relative).allowed
    assert passed == (relative if allowed else None)
    verdict = ScopeFilter(UP).check(Verb.PUT, relative.encode())
    assert isinstance(verdict, str) is allowed
    assert denials.total("export") == (0 if allowed else 1)
    assert all(denial.key.isascii() and denial.key.isprintable() for denial in denials.newest)
