"""Who may touch which keys, as etcd decides it: exact half-open ranges, covered by what was granted.

Pure. The adapter lays grants over a real store (:mod:`isthmus.kv.admin`), the twin decides by them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from isthmus.kv.ranges import KeyRange


class Access(Enum):
    """What a grant allows."""

    READ = "read"
    WRITE = "write"
    READ_WRITE = "read-write"

    def includes(self, wanted: Access) -> bool:
        """Does this suffice for ``wanted``?"""
        return self is wanted or self is Access.READ_WRITE


@dataclass(frozen=True, slots=True)
class Grant:
    """``access`` to exactly ``keys``."""

    keys: KeyRange
    access: Access

    @classmethod
    def of(cls, key_or_prefix: str, access: Access) -> Grant:
        """A prefix when it ends in a slash, else exactly one key."""
        return cls(KeyRange.of(key_or_prefix), access)


def covered(keys: KeyRange, access: Access, grants: Iterable[Grant]) -> bool:
    """Is every key of ``keys`` granted? Neighbouring grants add up (etcd joins them, too)."""
    reached = keys.start
    end = keys.end or keys.start + b"\0"
    usable = [grant.keys for grant in grants if grant.access.includes(access)]
    for granted in sorted(usable, key=lambda granted: granted.start):
        if granted.start <= reached:
            reached = max(reached, granted.end or granted.start + b"\0")
    return reached >= end
