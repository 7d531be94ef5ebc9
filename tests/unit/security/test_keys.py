"""The grammar of keys: what is accepted comes back unchanged, what is refused says where and
why.
"""

from __future__ import annotations

import pytest

from isthmus.policy import KeyRefused, PolicyError, keys

ACCEPTED = [
    "intents/acme/web",
    "/isthmus/v1/instances/i-0123456789ab/config/configurator",
    "hosts/h1/cords",
    "a",
    "0",
    "a..b",  # two dots inside a name are a name; only a segment that *is* dots could climb
    "x/vendor.example/thing_1",
    "/".join(["a" * 63, "b"]),
]


@pytest.mark.parametrize("key", ACCEPTED)
def test_accepted_keys_come_back_unchanged(key: str) -> None:
    """Never normalising means the output is the input, as text or as bytes."""
    assert keys.check_key(key) == key
    assert keys.check_key(key.encode()) == key


@pytest.mark.parametrize(
    ("key", "position", "word"),
    [
        ("", 0, "empty segment"),
        ("a//b", 2, "empty segment"),
        ("a/", 2, "empty segment"),
        ("/a", 0, "starts with"),
        ("/isthmus/v2/a", 0, "starts with"),
        ("/isthmus/v1/", 12, "empty segment"),
        ("a/.b", 2, "starts with a-z"),
        ("a/Bc", 2, "starts with a-z"),
        ("a/bC", 3, "holds only"),
        ("a/" + "b" * 64, 65, "at most 63"),
        ("a/b\n", 3, "holds only"),
        ("a/b%2e", 3, "holds only"),
    ],
)
def test_refusals_name_position_and_reason(key: str, position: int, word: str) -> None:
    """An operator must find the bad character without counting; both fields are for machines
    too.
    """
    with pytest.raises(KeyRefused) as caught:
        keys.check_key(key)
    assert caught.value.position == position
    assert word in caught.value.reason
    assert str(position) in str(caught.value)


def test_a_refusal_is_a_policy_error_and_a_value_error() -> None:
    """Pydantic turns ValueError into a validation error: the contract's models call these
    checks.
    """
    assert issubclass(KeyRefused, PolicyError)
    assert issubclass(KeyRefused, ValueError)
    assert KeyRefused.retryable is False


def test_the_refused_key_is_shown_escaped_and_cut() -> None:
    """A refusal goes to logs and terminals: the foreign key must not act there, nor flood them."""
    with pytest.raises(KeyRefused) as caught:
        keys.check_key("a\x1b[2J\u202e" + "z" * 10_000)
    assert caught.value.key.startswith("a\\x1b[2J\\u202e")
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()
    assert str(caught.value).isascii()


def test_length_is_limited_on_both_sides_of_the_boundary() -> None:
    """512 bytes with the root: 500 of a relative key pass, 501 do not; absolute likewise."""
    exact = "/".join(["a" * 49] * 10)  # 10 * 49 + 9 = 499
    fits = exact + "a"
    assert len(fits) == keys.MAX_KEY_BYTES - keys.RESERVED_BYTES
    assert keys.check_key(fits) == fits
    assert keys.check_key(keys.ROOT + fits) == keys.ROOT + fits
    for too_long in (fits + "a", keys.ROOT + fits + "a"):
        with pytest.raises(KeyRefused, match="513 bytes"):
            keys.check_key(too_long)


def test_bytes_that_are_not_ascii_are_refused_by_position() -> None:
    """Overlong UTF-8 of a dot (c0 ae) never reaches a decoder that might accept it."""
    with pytest.raises(KeyRefused) as caught:
        keys.check_key(b"a/\xc0\xae\xc0\xae/b")
    assert caught.value.position == 2
    assert "0xc0" in caught.value.reason


@pytest.mark.parametrize("prefix", ["intents/", "/isthmus/v1/", "/isthmus/v1/hosts/h1/", "a/b/"])
def test_prefixes_end_in_a_slash(prefix: str) -> None:
    """A prefix without a slash would also cover its neighbours; the root itself is a prefix."""
    assert keys.check_prefix(prefix) == prefix
    with pytest.raises(KeyRefused, match="ends in"):
        keys.check_prefix(prefix[:-1])


@pytest.mark.parametrize(
    "prefix", ["", "/", "//", "/isthmus/", "a//", "A/", "../", "a/../b/", "/etc/"]
)
def test_prefixes_outside_the_grammar_are_refused(prefix: str) -> None:
    """Nothing above our root and nothing that could climb can be granted to anybody."""
    with pytest.raises(KeyRefused):
        keys.check_prefix(prefix)


def test_prefix_end_is_the_next_byte_after_the_slash() -> None:
    """The range of ``/sites/a/`` ends at ``/sites/a0``, before ``/sites/ab``."""
    assert keys.prefix_end("/sites/a/") == "/sites/a0"
    assert keys.prefix_end(b"/sites/a/") == b"/sites/a0"
    assert keys.covers("/sites/a/", "/sites/a/x")
    for outside in ("/sites/a", "/sites/ab", "/sites/a0", "/sites/b/x"):
        assert not keys.covers("/sites/a/", outside)


@pytest.mark.parametrize("prefix", ["", "/sites/a", b"", b"/sites/a", b"\xff", b"a/\xff"])
def test_prefix_end_refuses_what_is_not_a_prefix(prefix: str | bytes) -> None:
    """A tail of 0xff or an empty prefix has an open end: no such range is ever made."""
    with pytest.raises(KeyRefused):
        keys.prefix_end(prefix)


def test_ranges_are_one_key_or_exactly_one_prefix() -> None:
    """Whoever checks a request of etcd (a relay, a test of roles) accepts these two shapes only."""
    assert keys.check_range("/isthmus/v1/a", "") == ("/isthmus/v1/a", "")
    assert keys.check_range(b"/isthmus/v1/a/", b"/isthmus/v1/a0") == (
        "/isthmus/v1/a/",
        "/isthmus/v1/a0",
    )
    for start, end in [
        ("", ""),
        ("", "\0"),
        ("/isthmus/v1/a/", "\0"),
        ("/isthmus/v1/a/", "/isthmus/v1/a1"),
        ("/isthmus/v1/a/", "/isthmus/v1/a/"),
        ("/isthmus/v1/b/", "/isthmus/v1/a0"),
        ("/isthmus/v1/a", "/isthmus/v1/b"),
    ]:
        with pytest.raises(KeyRefused):
            keys.check_range(start, end)


def test_join_refuses_a_slash_inside_a_segment() -> None:
    """A tenant ``a/b`` must not become two segments: that writes into another one's range."""
    assert keys.join("intents", "acme", "web") == "intents/acme/web"
    with pytest.raises(KeyRefused, match="holds only"):
        keys.join("intents", "acme/evil", "web")
    with pytest.raises(KeyRefused, match="at least one"):
        keys.join()


def test_relative_and_absolute_are_inverse() -> None:
    """A key crosses a link relative and is stored absolute; the two never mix."""
    assert keys.absolute("intents/a/b") == "/isthmus/v1/intents/a/b"
    assert keys.relative("/isthmus/v1/intents/a/b") == "intents/a/b"
    with pytest.raises(KeyRefused, match="only a relative key"):
        keys.absolute("/isthmus/v1/intents/a/b")
    with pytest.raises(KeyRefused, match="not below"):
        keys.relative("intents/a/b")


def test_under_checks_the_result_and_strip_checks_the_place() -> None:
    """A long relative key may no longer fit below remote/<peer>/: refused, not cut."""
    assert keys.under("remote/global/", "intents/t/c") == "remote/global/intents/t/c"
    assert keys.strip("outbox/s1/", "outbox/s1/intents/t/c") == "intents/t/c"
    with pytest.raises(KeyRefused, match="not below"):
        keys.strip("outbox/s1/", "outbox/s10/intents/t/c")
    longest = "/".join(["a" * 49] * 10) + "a"
    with pytest.raises(KeyRefused, match="at most 512"):
        keys.under("remote/global/", longest)


@pytest.mark.parametrize("segment", ["a", "i-0123456789ab", "a" * 63, "launcher.h1"])
def test_segments(segment: str) -> None:
    """One segment is a key of one segment, without a slash."""
    assert keys.check_segment(segment) == segment
    for bad in (segment + "/", "/" + segment, segment + " ", "-" + segment, segment.upper() + "Z"):
        with pytest.raises(KeyRefused):
            keys.check_segment(bad)
