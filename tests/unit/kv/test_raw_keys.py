"""Keys of foreign stores are bytes: they survive the way through our text and back; no range of them is cut short."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.federation.digest import DigestMap, bucket_of
from isthmus.federation.raw_ends import MAX_KEY_BYTES, RawCheck
from isthmus.identity.text import visible
from isthmus.kv import wire_pb2 as wire
from isthmus.kv.codec import event, txn_message
from isthmus.kv.port import Delete, Put, Txn
from isthmus.kv.ranges import key_text, text_bytes
from isthmus.kv.raw_range import _all_below
from isthmus.policy.errors import KeyRefused
from isthmus.policy.keys import check_key
from isthmus.policy.scopes import Verb

KEYS = st.binary(min_size=1, max_size=40)


@given(KEYS)
def test_any_bytes_come_back_unchanged(raw: bytes) -> None:
    """As a key of an event, through every place that makes bytes of it again."""
    message = wire.Event(kv=wire.KeyValue(key=raw, value=b"v", mod_revision=3))
    text = event(message).key
    assert text_bytes(text) == raw
    made = txn_message(Txn((), (Put(text, b"v"),)))
    assert made.success[0].request_put.key == raw
    made = txn_message(Txn((), (Delete(text),)))
    assert made.success[0].request_delete_range.key == raw
    known = DigestMap()
    assert known.put(text, b"v")
    assert known.keys_in([bucket_of(text)]) == {text}
    assert known.remove(text)
    assert RawCheck("", ()).check(Verb.PUT, raw) == text


@given(KEYS, KEYS)
def test_different_bytes_are_different_text(one: bytes, two: bytes) -> None:
    """Else one key would take the place of another."""
    assert (key_text(one) == key_text(two)) == (one == two)


@given(st.binary(max_size=6), KEYS)
def test_a_raw_range_holds_exactly_what_begins_with_its_prefix(prefix: bytes, key: bytes) -> None:
    """As ``etcdctl --prefix`` has it, also for none and for prefixes of the highest byte only."""
    assert _all_below(prefix).holds(key) == key.startswith(prefix)
    assert _all_below(prefix).holds(prefix + key)


@pytest.mark.parametrize("raw", [b"\x80", b"a/\xff", b"\xc3", b"\xed\xa0\x80"])
def test_our_own_names_never_become_such_keys(raw: bytes) -> None:
    """What is no text is refused by the grammar whichever way it comes, and can be shown to an operator."""
    with pytest.raises(KeyRefused):
        check_key(raw)
    with pytest.raises(KeyRefused):
        check_key(key_text(raw))
    assert visible(key_text(raw)).isascii()


def test_a_key_beyond_all_measure_is_refused() -> None:
    """A bound there must be; it is told, not cut."""
    assert not isinstance(RawCheck("", ()).check(Verb.PUT, "k" * (MAX_KEY_BYTES + 1)), str)
