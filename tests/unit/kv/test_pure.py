"""The pure parts: ranges, grants, settings, rules, translation, pauses. No server, no loop."""

from __future__ import annotations

import random
from pathlib import Path

import grpc
import pytest
from pydantic import ValidationError

import isthmus.kv
from isthmus.kv import Compare, Delete, Get, Put, Target, Txn
from isthmus.kv import wire_pb2 as wire
from isthmus.kv.backoff import Backoff
from isthmus.kv.channel import options
from isthmus.kv.codec import entry, event, txn_message
from isthmus.kv.counters import StoreCounters
from isthmus.kv.errors import (
    AmbiguousOutcome,
    Compacted,
    DeadlineExceeded,
    FutureRevision,
    InvalidRequest,
    LeaseLost,
    NoSpace,
    PermissionDenied,
    StoreError,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from isthmus.kv.grants import Access, Grant, covered
from isthmus.kv.ranges import KeyRange, prefix_end
from isthmus.kv.rules import check_txn
from isthmus.kv.settings import EtcdSettings
from isthmus.kv.transactions import Transaction
from isthmus.kv.translate import AuthChanged, from_cancel_reason, from_status
from isthmus.kv.writes import BATCH_BYTES, BATCH_OPERATIONS, batches_of


def test_public_names_are_listed_and_there() -> None:
    """What others may build on is written down once, sorted."""
    assert sorted(isthmus.kv.__all__) == isthmus.kv.__all__
    for name in isthmus.kv.__all__:
        assert hasattr(isthmus.kv, name)


# ---- ranges and grants


@pytest.mark.parametrize(
    ("prefix", "end"),
    [(b"a/", b"a0"), (b"a\xff", b"b"), (b"a\xff\xff", b"b"), (b"\x00", b"\x01")],
)
def test_end_of_a_prefix(prefix: bytes, end: bytes) -> None:
    """The 0xff tail made another client raise ValueError (research)."""
    assert prefix_end(prefix) == end


@pytest.mark.parametrize("prefix", [b"", b"\xff", b"\xff\xff"])
def test_prefix_without_an_end_is_refused(prefix: bytes) -> None:
    """etcd's own clients fall back to "everything from here on" (attack 7)."""
    with pytest.raises(InvalidRequest):
        prefix_end(prefix)


@pytest.mark.parametrize(
    ("start", "end"), [(b"", b"a"), (b"b", b"a"), (b"a", b"a"), (b"a", b"\0"), (b"", b"")]
)
def test_wrong_ranges_cannot_be_built(start: bytes, end: bytes) -> None:
    """Empty key, inverted, empty, from-key: attack 7, refused by construction."""
    with pytest.raises(InvalidRequest):
        KeyRange(start, end)


def test_a_prefix_does_not_reach_its_neighbours() -> None:
    """``sites/a/`` against ``sites/ab``, ``sites/a0``, ``sites/a`` (attack 7)."""
    keys = KeyRange.of("sites/a/")
    assert keys.holds(b"sites/a/x")
    for neighbour in (b"sites/a", b"sites/ab", b"sites/a0", b"sites/a-", b"sites/a."):
        assert not keys.holds(neighbour)
    assert KeyRange.of("sites/a").holds(b"sites/a")
    assert not KeyRange.of("sites/a").holds(b"sites/a/x")


def test_containment_knows_both_ends() -> None:
    """Both sides of each boundary."""
    keys = KeyRange.of("a/")
    assert keys.contains(KeyRange.of("a/b/"))
    assert keys.contains(KeyRange.of("a/"))
    assert keys.contains(KeyRange.of("a/b"))
    assert not keys.contains(KeyRange.of("a"))
    assert not keys.contains(KeyRange(b"a/", b"a0\0"))
    assert not KeyRange.of("a/b").contains(keys)
    assert KeyRange.of("a/b").contains(KeyRange.of("a/b"))


def test_ranges_print_as_text() -> None:
    """They stand in messages for people."""
    assert str(KeyRange.of("a/")) == "[a/, a0)"
    assert str(KeyRange.of("a")) == "a"


def test_grants_add_up_but_never_beyond() -> None:
    """Neighbouring grants cover what spans them, as etcd joins them; a gap is a gap."""
    left = Grant(KeyRange(b"a", b"c"), Access.READ)
    right = Grant(KeyRange(b"c", b"e"), Access.READ_WRITE)
    gap = Grant(KeyRange(b"d", b"e"), Access.READ)
    assert covered(KeyRange(b"a", b"e"), Access.READ, [right, left])
    assert not covered(KeyRange(b"a", b"e"), Access.WRITE, [right, left])
    assert covered(KeyRange(b"c", b"d"), Access.WRITE, [right, left])
    assert not covered(KeyRange(b"a", b"e"), Access.READ, [left, gap])
    assert not covered(KeyRange(b"a", b"e\0"), Access.READ, [right, left])
    assert not covered(KeyRange.of("x"), Access.READ, [])


# ---- settings


def test_targets_as_grpc_names_them() -> None:
    """Several members are balanced, a host name is resolved, a socket is a socket."""
    assert EtcdSettings(endpoints=("127.0.0.1:1",)).target == "ipv4:127.0.0.1:1"
    assert EtcdSettings.model_validate({"endpoints": "10.0.0.1:1, 10.0.0.2:1"}).target == (
        "ipv4:10.0.0.1:1,10.0.0.2:1"
    )
    assert EtcdSettings(endpoints=("store.example:2379",)).target == "dns:///store.example:2379"
    assert EtcdSettings.model_validate({"endpoints": "unix:/run/kv.sock"}).target == (
        "unix:/run/kv.sock"
    )


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"endpoints": ()}, "at least 1"),
        ({"endpoints": ("nowhere",)}, "host:port"),
        ({"endpoints": ("host:0",)}, "host:port"),
        ({"endpoints": ("host:65536",)}, "host:port"),
        ({"endpoints": ("https://host:1",)}, "host:port"),
        ({"endpoints": ("a.example:1", "10.0.0.1:1")}, "IPv4"),
        ({"endpoints": ("unix:/a", "10.0.0.1:1")}, "stands alone"),
        ({"endpoints": ("h:1",), "cert_file": "c"}, "key_file"),
        ({"endpoints": ("h:1",), "cert_file": "c", "key_file": "k"}, "ca_file"),
        ({"endpoints": ("unix:/a",), "ca_file": "c"}, "relay"),
        ({"endpoints": ("h:1",), "user": "u"}, "password"),
        ({"endpoints": ("h:1",), "silence_s": 1.0}, "heartbeat_s"),
        ({"endpoints": ("h:1",), "keepalive_time_ms": 1000}, "5000"),
        ({"endpoints": ("h:1",), "nonsense": 1}, "nonsense"),
    ],
)
def test_wrong_settings_say_what_and_how(fields: dict[str, object], says: str) -> None:
    """One clear message naming the field, at start, not a puzzling failure later."""
    with pytest.raises(ValidationError, match=says):
        EtcdSettings.model_validate(fields)


def test_password_is_not_shown() -> None:
    """Settings are printed in logs (attack 22)."""
    settings = EtcdSettings.model_validate(
        {"endpoints": "h:1", "user": "ems", "password": "very secret"}
    )
    assert "very secret" not in repr(settings) + str(settings) + settings.model_dump_json()


def test_channel_options_guard_against_measured_traps() -> None:
    """Each of these cost somebody an outage: see the settings' reasons."""
    chosen = dict(options(EtcdSettings(endpoints=("127.0.0.1:1",), ca_file=Path("ca"))))
    assert chosen["grpc.http2.ping_timeout_ms"] == 3000
    assert chosen["grpc.keepalive_permit_without_calls"] == 0
    assert chosen["grpc.max_receive_message_length"] == 16 << 20
    assert "round_robin" in chosen["grpc.service_config"]
    assert chosen["grpc.ssl_target_name_override"] == "127.0.0.1"
    assert "grpc.ssl_target_name_override" not in dict(
        options(EtcdSettings(endpoints=("127.0.0.1:1",)))
    )


def test_one_member_can_be_meant() -> None:
    """Status and defragmentation are asked of one member, never of whichever answers."""
    settings = EtcdSettings(endpoints=("10.0.0.1:1", "10.0.0.2:1"))
    assert settings.only("10.0.0.2:1").endpoints == ("10.0.0.2:1",)


# ---- translation

Code = grpc.StatusCode


@pytest.mark.parametrize(
    ("code", "details", "writes", "leaf"),
    [
        (Code.UNAVAILABLE, "failed to connect to all addresses", True, Unavailable),
        (Code.UNAVAILABLE, "etcdserver: no leader", True, Unavailable),
        (Code.UNAVAILABLE, "Socket closed", False, Unavailable),
        (Code.UNAVAILABLE, "Socket closed", True, AmbiguousOutcome),
        (Code.UNAVAILABLE, "ping timeout", True, AmbiguousOutcome),
        (Code.UNAVAILABLE, "etcdserver: request timed out", True, AmbiguousOutcome),
        (Code.UNAVAILABLE, "etcdserver: leader changed", True, AmbiguousOutcome),
        (Code.UNAVAILABLE, "etcdserver: leader changed", False, Unavailable),
        (Code.INTERNAL, "RST_STREAM", True, AmbiguousOutcome),
        (Code.UNKNOWN, "", True, AmbiguousOutcome),
        (Code.CANCELLED, "", False, Unavailable),
        (Code.DEADLINE_EXCEEDED, "", True, DeadlineExceeded),
        (Code.PERMISSION_DENIED, "etcdserver: permission denied", True, PermissionDenied),
        (Code.UNAUTHENTICATED, "etcdserver: invalid auth token", True, Unauthenticated),
        (Code.INVALID_ARGUMENT, "etcdserver: user name is empty", True, Unauthenticated),
        (Code.INVALID_ARGUMENT, "etcdserver: authentication failed, x", True, Unauthenticated),
        (Code.INVALID_ARGUMENT, "etcdserver: revision of auth store is old", True, AuthChanged),
        (Code.INVALID_ARGUMENT, "etcdserver: request is too large", True, TooLarge),
        (Code.INVALID_ARGUMENT, "etcdserver: too many operations in txn", True, TooLarge),
        (Code.INVALID_ARGUMENT, "etcdserver: duplicate key given", True, InvalidRequest),
        (Code.OUT_OF_RANGE, "required revision has been compacted", False, Compacted),
        (Code.OUT_OF_RANGE, "required revision is a future revision", False, FutureRevision),
        (Code.OUT_OF_RANGE, "etcdserver: too large lease TTL", True, InvalidRequest),
        (Code.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded", True, NoSpace),
        (Code.RESOURCE_EXHAUSTED, "etcdserver: too many requests", True, Unavailable),
        (Code.RESOURCE_EXHAUSTED, "Received message larger than max", False, TooLarge),
        (Code.NOT_FOUND, "etcdserver: requested lease not found", True, LeaseLost),
        (Code.NOT_FOUND, "etcdserver: member not found", True, InvalidRequest),
        (Code.FAILED_PRECONDITION, "etcdserver: not leader", True, Unavailable),
        (Code.FAILED_PRECONDITION, "etcdserver: role name not found", True, InvalidRequest),
        (Code.UNIMPLEMENTED, "unknown method", False, InvalidRequest),
    ],
)
def test_each_answer_has_one_meaning(
    code: grpc.StatusCode, details: str, writes: bool, leaf: type[StoreError]
) -> None:
    """Above all: a write whose connection broke is never called "not applied"."""
    error = from_status(code, details, what="put a/b", writes=writes, range_="a/b")
    assert type(error) is leaf
    assert "put a/b" in str(error)
    assert error.retryable is (leaf in (Unavailable, AuthChanged))


def test_read_past_its_deadline_may_be_repeated() -> None:
    """A write may not."""
    read = from_status(Code.DEADLINE_EXCEEDED, "", what="get a", writes=False)
    write = from_status(Code.DEADLINE_EXCEEDED, "", what="put a", writes=True)
    assert isinstance(read, DeadlineExceeded)
    assert isinstance(write, DeadlineExceeded)
    assert read.retryable
    assert not write.retryable
    assert write.maybe_applied


def test_denial_names_the_range() -> None:
    """Who reads it must know which grant is missing."""
    error = from_status(Code.PERMISSION_DENIED, "", what="watch", writes=False, range_="[a/, a0)")
    assert isinstance(error, PermissionDenied)
    assert error.range_ == "[a/, a0)"
    assert "[a/, a0)" in str(error)


@pytest.mark.parametrize(
    ("reason", "leaf"),
    [
        ("etcdserver: permission denied", PermissionDenied),
        (
            "rpc error: code = PermissionDenied desc = etcdserver: permission denied",
            PermissionDenied,
        ),
        ("etcdserver: invalid auth token", Unauthenticated),
        ("etcdserver: user name is empty", Unauthenticated),
        ("etcdserver: revision of auth store is old", AuthChanged),
        ("etcdserver: mvcc: required revision has been compacted", Compacted),
        ("etcdserver: no leader", Unavailable),
        ("", Unavailable),
        ("something nobody foresaw", InvalidRequest),
    ],
)
def test_a_watch_that_is_ended_with_words_is_never_silence(
    reason: str, leaf: type[StoreError]
) -> None:
    """Other clients hung for ever here (measured)."""
    error = from_cancel_reason(reason, what="watch of a/", range_="a/")
    assert type(error) is leaf


# ---- codec, rules, builder, batches


def test_entries_and_events_keep_every_number() -> None:
    """One field mixed up here would mislead every mirror."""
    kv = wire.KeyValue(key=b"a", value=b"v", create_revision=1, mod_revision=2, version=3, lease=4)
    stored = entry(kv)
    assert (stored.create_revision, stored.mod_revision, stored.version, stored.lease_id) == (
        1,
        2,
        3,
        4,
    )
    put = event(wire.Event(type=wire.Event.PUT, kv=kv))
    assert put.entry == stored
    assert put.revision == 2
    deleted = event(wire.Event(type=wire.Event.DELETE, kv=wire.KeyValue(key=b"a", mod_revision=9)))
    assert (deleted.key, deleted.revision, deleted.entry) == ("a", 9, None)


def test_transaction_as_bytes() -> None:
    """Each part lands in its own field, in order."""
    message = txn_message(
        Txn(
            (Compare("a", Target.VALUE, b"1", "!="), Compare("b", Target.LEASE, 7, ">")),
            (Put("c", b"2", 5), Delete("d")),
            (Get("e"),),
        )
    )
    first, second = message.compare
    assert (first.target, first.result, first.value) == (
        wire.Compare.VALUE,
        wire.Compare.NOT_EQUAL,
        b"1",
    )
    assert (second.target, second.result, second.lease) == (
        wire.Compare.LEASE,
        wire.Compare.GREATER,
        7,
    )
    assert message.success[0].request_put.lease == 5
    assert message.success[1].request_delete_range.key == b"d"
    assert message.failure[0].request_range.key == b"e"


def test_oversized_transaction_is_refused_with_numbers() -> None:
    """Before it is sent, with the way out (R41)."""
    half = b"v" * (1 << 20)
    check_txn(Txn(then=(Put("a", half),)))
    with pytest.raises(TooLarge, match="pointer"):
        check_txn(Txn(then=(Put("a", half), Put("b", half))))


def test_builder_is_immutable_and_complete() -> None:
    """A shared beginning must not be changed by those who go on from it."""
    begun = Transaction().when_present("a").when_created_at("l", 3).when_value("v", b"x")
    stored = entry(wire.KeyValue(key=b"u", mod_revision=8))
    left = begun.when_unchanged(stored).put("b", b"1", lease_id=2).get("c")
    right = begun.delete("b").otherwise_get("a")
    assert len(begun.txn.compares) == 3
    assert begun.txn.then == ()
    assert left.txn.compares[-1] == Compare("u", Target.MOD_REVISION, 8)
    assert left.txn.then == (Put("b", b"1", 2), Get("c"))
    assert right.txn.then == (Delete("b"),)
    assert right.txn.otherwise == (Get("a"),)


def test_batches_are_cut_by_count_bytes_and_repetition() -> None:
    """Both sides of each boundary."""
    puts = [Put(f"{number}", b"") for number in range(BATCH_OPERATIONS + 1)]
    assert [len(batch) for batch in batches_of(puts)] == [BATCH_OPERATIONS, 1]
    assert [len(batch) for batch in batches_of(puts[:-1])] == [BATCH_OPERATIONS]
    half = b"v" * (BATCH_BYTES // 2 - 1)
    assert [len(b) for b in batches_of([Put("a", half), Put("b", half), Put("c", b"12")])] == [2, 1]
    again: list[Put | Delete] = [Put("a", b"1"), Put("b", b""), Delete("a"), Put("c", b"")]
    assert [len(batch) for batch in batches_of(again)] == [2, 2]
    assert list(batches_of([])) == []


# ---- small things


def test_pauses_grow_stay_bounded_and_differ() -> None:
    """Growing: mercy; bounded: a recovered store is noticed; jitter: no stampede."""
    backoff = Backoff(0.1, 2.0, random.Random(1))
    pauses = [backoff.next_s() for _ in range(40)]
    assert all(0.05 <= pause <= 2.0 for pause in pauses)
    assert all(pause >= 1.0 for pause in pauses[6:])
    assert len(set(pauses)) == 40
    backoff.reset()
    assert backoff.next_s() <= 0.1
    assert Backoff(0.1, 2.0, random.Random(1)).next_s() == pauses[0]


def test_counters_are_flat_for_a_metrics_page() -> None:
    """Names and integers only."""
    counters = StoreCounters()
    counters.calls["/x/Put"] += 2
    counters.errors["Unavailable"] += 1
    counters.retries = 3
    flat = counters.as_dict()
    assert flat["calls./x/Put"] == 2
    assert flat["errors.Unavailable"] == 1
    assert flat["retries"] == 3
    assert all(isinstance(value, int) for value in flat.values())
