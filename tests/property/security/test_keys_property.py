"""Properties of the key grammar, against brute force and an independent statement of the rule."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.policy import KeyRefused, keys

FIRST = "abcdefghijklmnopqrstuvwxyz0123456789"
segments = st.builds(
    lambda head, tail: head + tail,
    st.sampled_from(FIRST),
    st.text(FIRST + "._-", max_size=12),
)
relative_keys = st.lists(segments, min_size=1, max_size=8).map("/".join)


def independent_verdict(key: str) -> bool:
    """The rule said a second time, without a regular expression."""
    body = key[len(keys.ROOT) :] if key.startswith(keys.ROOT) else key
    total = len(keys.ROOT) + len(body)
    return (
        not body.startswith("/")
        and total <= 512
        and all(
            0 < len(part) <= 63 and part[0] in FIRST and set(part) <= set(FIRST + "._-")
            for part in body.split("/")
        )
    )


@given(relative_keys)
def test_round_trips(key: str) -> None:
    """Absolute and back, below a peer and back: the same key."""
    assert keys.relative(keys.absolute(key)) == key
    assert keys.strip("remote/p/", keys.under("remote/p/", key)) == key
    assert keys.join(*key.split("/")) == key


@given(st.one_of(st.text(max_size=40), st.text("a0./-_A%\\ \n", max_size=12), relative_keys))
def test_verdict_agrees_with_the_rule_said_twice(key: str) -> None:
    """One grammar, two independent statements: where they differ, one of them has a hole."""
    try:
        accepted = keys.check_key(key) == key
    except KeyRefused:
        accepted = False
    assert accepted == independent_verdict(key)


@given(st.binary(max_size=40))
def test_bytes_are_accepted_only_as_the_same_ascii_text(raw: bytes) -> None:
    """No byte string is accepted that is not, byte for byte, the accepted text."""
    try:
        text = keys.check_key(raw)
    except KeyRefused:
        return
    assert text.encode("ascii") == raw


@given(relative_keys, st.data())
def test_one_foreign_character_anywhere_is_refused_there(key: str, data: st.DataObject) -> None:
    """A single mutation outside the alphabet is found, and its position named."""
    position = data.draw(st.integers(0, len(key)))
    foreign = data.draw(st.characters(exclude_characters=FIRST + "._-/"))
    mutated = key[:position] + foreign + key[position:]
    with pytest.raises(KeyRefused) as refused:
        keys.check_key(mutated)
    assert refused.value.position == position


@given(st.binary(max_size=3), st.binary(max_size=5))
def test_prefix_end_is_exact(stem: bytes, probe: bytes) -> None:
    """In the range if and only if it starts with the prefix: checked for arbitrary bytes."""
    prefix = stem + b"/"
    for key in (probe, stem + probe, prefix + probe, stem + b"0" + probe, stem + b"." + probe):
        assert (prefix <= key < keys.prefix_end(prefix)) == key.startswith(prefix)


def test_prefix_end_is_exact_for_every_short_key() -> None:
    """Exhaustive over an alphabet around the slash: no key is missed, none too many."""
    alphabet = [b"", *(bytes([byte]) for byte in (0x00, 0x2E, 0x2F, 0x30, 0x61, 0xFF))]
    universe = {a + b + c for a in alphabet for b in alphabet for c in alphabet}
    prefixes = [key for key in universe if key.endswith(b"/")]
    assert len(prefixes) > 20
    for prefix in prefixes:
        end = keys.prefix_end(prefix)
        assert {k for k in universe if prefix <= k < end} == {
            k for k in universe if k.startswith(prefix)
        }
