"""The grammar of keys, checked at every border and never repaired (DESIGN section 4, GUARANTEES
attacks 6 and 7).

A key is ASCII segments ``[a-z0-9][a-z0-9._-]{0,62}`` joined by single slashes, at most 512 bytes
with its root. ``.`` and ``..`` cannot be written in it, nor an escape, a control, or a letter
that only looks like another. etcd stores ``/a/../b`` literally and a role on ``/sites/a`` reads
``/sites/ab`` (both measured): hence refuse, never normalise, and prefixes end in a slash, so
that the half-open range behind one is exactly what lies below it.

Absolute keys start with :data:`ROOT`; relative keys are the same without it. What an accepting
function returns is its argument, unchanged (bytes become the equal text).
"""

from __future__ import annotations

import re
from typing import Final, overload

from isthmus.identity.text import SEGMENT, SEGMENT_PATTERN
from isthmus.policy.errors import KeyRefused

ROOT: Final = "/isthmus/v1/"
MAX_KEY_BYTES: Final = 512
"""Of an absolute key. A relative key is counted with the root it will get."""
MAX_SEGMENT_BYTES: Final = 63
RESERVED_BYTES: Final = len(ROOT)

_PATH: Final = re.compile(f"{SEGMENT_PATTERN}(?:/{SEGMENT_PATTERN})*", re.ASCII)
_NO_SLASH: Final = 'a range is made only from a prefix that ends in "/"'
_FIRST: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_REST: Final = _FIRST | frozenset("._-")


def check_segment(segment: str | bytes) -> str:
    """``segment`` as text when it is exactly one segment; else :class:`KeyRefused`."""
    text = _ascii(segment)
    if SEGMENT.fullmatch(text) is None:
        _refuse_segment(segment, text, 0, len(text))
    return text


def check_key(key: str | bytes) -> str:
    """``key`` (absolute or relative) as text when it names exactly one key; else
    :class:`KeyRefused`.
    """
    text = _ascii(key)
    start, size = _extent(key, text)
    if size > MAX_KEY_BYTES:
        raise KeyRefused(key, MAX_KEY_BYTES - size + len(text), _too_long(size))
    if _PATH.fullmatch(text, start) is None:
        _explain(key, text, start, len(text))
    return text


def check_prefix(prefix: str | bytes) -> str:
    """``prefix`` as text when it ends in ``/`` and is :data:`ROOT` or segments below it (or
    relative segments).
    """
    text = _ascii(prefix)
    if not text.endswith("/"):
        raise KeyRefused(prefix, len(text), 'a prefix ends in "/"')
    start, size = _extent(prefix, text)
    if size > MAX_KEY_BYTES:
        raise KeyRefused(prefix, MAX_KEY_BYTES - size + len(text), _too_long(size))
    if text == ROOT:
        return text
    if _PATH.fullmatch(text, start, len(text) - 1) is None:
        _explain(prefix, text, start, len(text) - 1)
    return text


@overload
def prefix_end(prefix: str) -> str: ...
@overload
def prefix_end(prefix: bytes) -> bytes: ...
def prefix_end(prefix: str | bytes) -> str | bytes:
    """The exclusive end of the range of everything below ``prefix``, which must end in ``/``.

    ``/`` is 0x2f, so the end is the prefix with 0x30 (``0``) for its last byte: never all of
    0xff, never open-ended. Pure arithmetic: it does not demand our root, so test roots work;
    :func:`check_prefix` does.
    """
    if isinstance(prefix, bytes):
        if not prefix.endswith(b"/"):
            raise KeyRefused(prefix, len(prefix), _NO_SLASH)
        return prefix[:-1] + b"0"
    if not prefix.endswith("/"):
        raise KeyRefused(prefix, len(prefix), _NO_SLASH)
    return prefix[:-1] + "0"


def check_range(start: str | bytes, end: str | bytes) -> tuple[str, str]:
    """One key (``end`` empty) or exactly one prefix range; from-key, inverted, stretched or odd
    ranges are refused.
    """
    first, last = _ascii(start), _ascii(end)
    if not last:
        return check_key(first), ""
    check_prefix(first)
    if last != prefix_end(first):
        raise KeyRefused(end, 0, f'the only range from this start ends at "{prefix_end(first)}"')
    return first, last


def covers(prefix: str, key: str) -> bool:
    """True when ``key`` lies in the half-open range of ``prefix``."""
    return prefix <= key < prefix_end(prefix)


def join(*segments: str) -> str:
    """A relative key of these segments, each checked on its own: a slash inside one is refused,
    not split.
    """
    if not segments:
        raise KeyRefused("", 0, "a key has at least one segment")
    return check_key("/".join([check_segment(segment) for segment in segments]))


def under(prefix: str, key: str) -> str:
    """Relative ``key`` placed below ``prefix`` (``remote/global/`` + ``intents/t/c``), checked
    as a whole.
    """
    check_prefix(prefix)
    if key.startswith("/"):
        raise KeyRefused(key, 0, "only a relative key can be placed below a prefix")
    return check_key(prefix + check_key(key))


def strip(prefix: str, key: str) -> str:
    """``key`` without ``prefix``, still a key; refused when it does not lie below it."""
    check_prefix(prefix)
    check_key(key)
    if not covers(prefix, key):
        raise KeyRefused(key, 0, f'it is not below "{prefix}"')
    return check_key(key[len(prefix) :])


def absolute(key: str) -> str:
    """Relative ``key`` under :data:`ROOT`."""
    return under(ROOT, key)


def relative(key: str) -> str:
    """Absolute ``key`` without :data:`ROOT`."""
    return strip(ROOT, key)


def _ascii(key: str | bytes) -> str:
    """The text of ``key``; the first byte or character that is not ASCII is refused by position."""
    if isinstance(key, str):
        if key.isascii():
            return key
        position = next(index for index, char in enumerate(key) if ord(char) > 0x7F)
        raise KeyRefused(key, position, f"character U+{ord(key[position]):04X} is not ASCII")
    try:
        return key.decode("ascii")
    except UnicodeDecodeError as error:
        reason = f"byte 0x{key[error.start]:02x} is not ASCII"
        raise KeyRefused(key, error.start, reason) from None


def _extent(key: str | bytes, text: str) -> tuple[int, int]:
    """Where the segments start, and how long the key is with its root."""
    if not text.startswith("/"):
        return 0, len(text) + RESERVED_BYTES
    if not text.startswith(ROOT):
        raise KeyRefused(key, 0, f'an absolute key starts with "{ROOT}"')
    return len(ROOT), len(text)


def _too_long(size: int) -> str:
    return f"{size} bytes with its root; at most {MAX_KEY_BYTES} are allowed"


def _explain(key: str | bytes, text: str, start: int, stop: int) -> None:
    """Raise for the first bad segment of ``text[start:stop]``; called only when there is one."""
    while True:
        slash = text.find("/", start, stop)
        end = stop if slash < 0 else slash
        if SEGMENT.fullmatch(text, start, end) is None:
            _refuse_segment(key, text, start, end)
        if slash < 0:
            raise AssertionError("a key of good segments was refused")
        start = slash + 1


def _refuse_segment(key: str | bytes, text: str, start: int, end: int) -> None:
    """Raise, naming what is wrong with ``text[start:end]`` as one segment."""
    if start == end:
        raise KeyRefused(key, start, "an empty segment; segments are joined by single slashes")
    if text[start] not in _FIRST:
        raise KeyRefused(key, start, "a segment starts with a-z or 0-9")
    for position in range(start + 1, end):
        if text[position] not in _REST:
            raise KeyRefused(key, position, 'a segment holds only a-z, 0-9, ".", "_" and "-"')
    raise KeyRefused(
        key, start + MAX_SEGMENT_BYTES, f"a segment has at most {MAX_SEGMENT_BYTES} bytes"
    )
