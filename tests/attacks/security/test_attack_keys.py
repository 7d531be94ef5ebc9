"""Attacks 6 and 7: keys that climb, imitate or stretch. Refused at both ends, never normalised."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

import pytest

from isthmus.policy import KeyRefused, Scope, Verb, keys

TRICKS: dict[str, str | bytes] = {
    "dot-dot": "intents/../secrets/x",
    "dot": "intents/./x",
    "dots first": "../intents/x",
    "dots last": "intents/x/..",
    "three dots": "intents/.../x",
    "double slash": "intents//x",
    "leading slash": "/intents/x",
    "two leading slashes": "//isthmus/v1/intents/x",
    "trailing slash": "intents/x/",
    "encoded dots": "intents/%2e%2e/x",
    "encoded dots, upper": "intents/%2E%2E/x",
    "encoded slash": "intents%2fx",
    "double encoding": "intents/%252e%252e/x",
    "NUL": "intents/x\0",
    "NUL inside": "intents/\0x",
    "encoded NUL": "intents/x%00",
    "CR": "intents/x\r",
    "LF": "intents/x\n",
    "CRLF header": "intents/x\r\nhost: evil",
    "tab": "intents/\tx",
    "space": "intents/ x",
    "backslash": "intents\\x",
    "backslash climb": "intents/..\\..\\x",
    "semicolon": "intents/..;/x",
    "tilde": "~/intents",
    "star": "intents/*",
    "upper case": "Intents/x",
    "Turkish dotless i": "\u0131ntents/x",
    "long s folds to s": "intent\u017f/x",
    "Kelvin folds to k": "intents/\u212a",
    "Cyrillic a": "intents/\u0430cme",
    "Greek omicron": "intents/\u03bfmega",
    "full-width a": "intents/\uff41",
    "full-width dot": "intents/\uff0e\uff0e/x",
    "one-dot leader": "intents/\u2024\u2024/x",
    "two-dot leader": "intents/\u2025/x",
    "division slash": "intents\u2215x",
    "NFC": unicodedata.normalize("NFC", "intents/caf\u0065\u0301"),
    "NFD": unicodedata.normalize("NFD", "intents/caf\u00e9"),
    "bidi override": "intents/\u202ex",
    "bidi isolate": "intents/\u2066x",
    "zero width": "intents/\u200bx",
    "byte-order mark": "\ufeffintents/x",
    "line separator": "intents/x\u2028",
    "lone surrogate": "intents/\ud800",
    "overlong slash": b"intents\xc0\xafx",
    "overlong dots": b"intents/\xc0\xae\xc0\xae/x",
    "overlong NUL": b"intents/x\xc0\x80",
    "three-byte overlong": b"intents\xe0\x80\xafx",
    "Latin-1": b"intents/\xe9",
    "0xff tail": b"intents/\xff",
    "bytes NUL": b"intents/\x00",
    "UTF-16": "intents/x".encode("utf-16"),
    "empty": "",
    "empty bytes": b"",
    "foreign root": "/isthmus/v2/intents/x",
    "root of another": "/registry/secrets/x",
    "513 bytes": "a/" * 250 + "a",
    "a megabyte": "a" * 2**20,
}


@pytest.mark.parametrize("name", TRICKS)
def test_attack_6_a_trick_is_refused_and_shown_harmless(name: str) -> None:
    """By the grammar (both ends call it) and by any scope, however wide; the message is one
    plain line.
    """
    with pytest.raises(KeyRefused) as caught:
        keys.check_key(TRICKS[name])
    assert str(caught.value).isprintable()
    assert str(caught.value).isascii()
    assert len(str(caught.value)) < 500
    assert 0 <= caught.value.position <= 512
    wide = Scope.mirror("wide", ["intents/", "secrets/", "a/", "x/"])
    for verb in Verb:
        assert wide.decide(verb, TRICKS[name]).code == "key-refused"


@pytest.mark.parametrize("name", [name for name, trick in TRICKS.items() if isinstance(trick, str)])
def test_attack_6_a_trick_is_refused_wherever_a_key_is_built(name: str) -> None:
    """As a segment, below a prefix, as a prefix itself."""
    trick = str(TRICKS[name])
    builders: list[Callable[[str], str]] = [
        lambda key: keys.join("intents", key),
        lambda key: keys.under("remote/p/", key),
        lambda key: keys.strip("intents/", key),
        lambda key: keys.absolute(key),
        lambda key: keys.check_prefix(key + "//"),
    ]
    for build in builders:
        with pytest.raises(KeyRefused):
            build(trick)


NEIGHBOURS = [
    "sites/a",
    "sites/ab",
    "sites/ab/secret",
    "sites/a0",
    "sites/a.",
    "sites/a-",
    "sites/b/x",
]


@pytest.mark.parametrize("key", NEIGHBOURS)
def test_attack_7_neighbours_of_a_prefix_are_outside(key: str) -> None:
    """A role on /sites/a read /sites/ab/secret (measured); a prefix ends in a slash, so it
    cannot.
    """
    assert not keys.covers("sites/a/", key)
    assert Scope.mirror("a", ["sites/a/"]).decide(Verb.PUT, key).code == "scope-denied"
    with pytest.raises(KeyRefused, match="not below"):
        keys.strip("sites/a/", key)


def test_attack_7_the_prefix_itself_covers_only_what_is_below() -> None:
    """The positive side, so that the neighbours are not outside for some other reason."""
    assert keys.covers("sites/a/", "sites/a/x")
    assert Scope.mirror("a", ["sites/a/"]).decide(Verb.PUT, "sites/a/x")


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (b"", b""),  # the empty key
        (b"", b"\0"),  # everything
        (b"\0", b"\0"),  # everything, as etcd writes it
        (b"/isthmus/v1/sites/a/", b"\0"),  # from-key
        (b"/isthmus/v1/sites/a", b"\0"),
        (b"/isthmus/v1/sites/a", b"/isthmus/v1/sites/b"),  # a prefix without its slash
        (b"/isthmus/v1/sites/a/", b"/isthmus/v1/sites/b"),  # stretched
        (b"/isthmus/v1/sites/a/", b"/isthmus/v1/sites/a/\xff"),  # 0xff tail: misses keys
        (b"/isthmus/v1/sites/a/", b"/isthmus/v1/sites/a0\0"),  # one key too many
        (b"/isthmus/v1/sites/b/", b"/isthmus/v1/sites/a0"),  # inverted
        (b"/isthmus/v1/sites/a/", b"/isthmus/v1/sites/a/"),  # empty range
        (b"/isthmus/v1/sites/a\xff", b""),
        (b"/", b"0"),  # above our root
        (b"/isthmus/", b"/isthmus0"),
    ],
)
def test_attack_7_odd_ranges_are_refused(start: bytes, end: bytes) -> None:
    """What is not one key or exactly one prefix does not pass, whoever asks."""
    with pytest.raises(KeyRefused):
        keys.check_range(start, end)


def test_attack_7_no_prefix_makes_an_open_end() -> None:
    """All of 0xff has no successor: the usual code then asks for everything. Ours cannot be
    asked.
    """
    for prefix in (b"", b"\xff", b"\xff\xff", b"/isthmus/v1/\xff", b"/isthmus/v1/sites/a"):
        with pytest.raises(KeyRefused):
            keys.prefix_end(prefix)
