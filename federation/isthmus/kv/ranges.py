"""Key ranges as etcd compares them: exact half-open byte ranges, never "everything from here on".

A prefix ends in ``/``, so ``sites/a/`` never reaches ``sites/ab`` or ``sites/a0`` (attack 7). A range
end of one NUL byte means "to the end of the key space" to etcd: it cannot be built here.
"""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.kv.errors import InvalidRequest

FROM_KEY_ON = b"\0"


def key_text(raw: bytes) -> str:
    """A stored key as text. Bytes that are no UTF-8 (another's keys: nothing of ours has them) become lone surrogates,
    so that they survive the way back; every check of our own names refuses them."""
    return raw.decode("utf-8", "surrogateescape")


def text_bytes(key: str) -> bytes:
    """The way back of :func:`key_text`."""
    return key.encode("utf-8", "surrogateescape")


def prefix_end(prefix: bytes) -> bytes:
    """The first key behind all keys that begin with ``prefix`` (RFC-free folklore: last byte plus one)."""
    for index in range(len(prefix) - 1, -1, -1):
        if prefix[index] < 0xFF:
            return prefix[:index] + bytes([prefix[index] + 1])
    raise InvalidRequest(
        f"prefix {prefix!r} has no end: it is empty or made of 0xff bytes only; name a longer prefix"
    )


@dataclass(frozen=True, slots=True)
class KeyRange:
    """Keys ``start <= key < end``; with an empty ``end`` exactly the key ``start``."""

    start: bytes
    end: bytes = b""

    def __post_init__(self) -> None:
        if not self.start:
            raise InvalidRequest("a key range cannot start with an empty key; name a key or prefix")
        if self.end == FROM_KEY_ON or (self.end and self.end <= self.start):
            raise InvalidRequest(
                f"key range [{self.start!r}, {self.end!r}) is inverted, empty or open-ended; "
                "the end must be a key behind the start"
            )

    @classmethod
    def of_key(cls, key: str) -> KeyRange:
        """Exactly one key."""
        return cls(text_bytes(key))

    @classmethod
    def of_prefix(cls, prefix: str) -> KeyRange:
        """Everything below ``prefix``, which must end in a slash."""
        if not prefix.endswith("/"):
            raise InvalidRequest(
                f"prefix {prefix!r} does not end in '/': it would also cover its neighbours "
                f"(such as {prefix + '0'!r}); write {prefix + '/'!r}"
            )
        start = text_bytes(prefix)
        return cls(start, prefix_end(start))

    @classmethod
    def of(cls, key_or_prefix: str) -> KeyRange:
        """A prefix when it ends in a slash, else exactly one key."""
        if key_or_prefix.endswith("/"):
            return cls.of_prefix(key_or_prefix)
        return cls.of_key(key_or_prefix)

    def contains(self, other: KeyRange) -> bool:
        """Is every key of ``other`` in here?"""
        if not self.end:
            return not other.end and other.start == self.start
        other_end = other.end or other.start + b"\0"
        return self.start <= other.start and other_end <= self.end

    def holds(self, key: bytes) -> bool:
        """Is ``key`` in here?"""
        return self.start <= key < self.end if self.end else key == self.start

    def __str__(self) -> str:
        start = self.start.decode("utf-8", "backslashreplace")
        if not self.end:
            return start
        return f"[{start}, {self.end.decode('utf-8', 'backslashreplace')})"
