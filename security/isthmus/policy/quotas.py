"""How much a peer may send, as data and arithmetic (GUARANTEES G7, G11, attack 18).

Whoever holds the counters (the importer) passes them in; nothing here remembers or reads a
clock. A refusal names the limit, the figure and what would have fitted, because the partner's
operator reads it in a ticket.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from isthmus.policy.errors import RuleRefused
from isthmus.policy.scopes import Decision

MAX_VALUE_BYTES: Final = 64 * 1024
"""Of any value (R41): larger things live in an object store and the key holds a pointer."""


@dataclass(frozen=True, slots=True)
class Quota:
    """What one peer may hold with us, and how fast it may change it. Defaults fit a site of
    10,000 chains.
    """

    max_value_bytes: int = MAX_VALUE_BYTES
    max_keys: int = 20_000
    max_total_bytes: int = 64 * 1024 * 1024
    max_changes_per_s: float = 5_000.0
    burst_changes: int = 20_000

    def __post_init__(self) -> None:
        if not 0 < self.max_value_bytes <= MAX_VALUE_BYTES:
            raise RuleRefused("max_value_bytes", self.max_value_bytes, f"1 to {MAX_VALUE_BYTES}")
        for name in ("max_keys", "max_total_bytes", "burst_changes", "max_changes_per_s"):
            if not getattr(self, name) > 0:
                raise RuleRefused(name, getattr(self, name), "more than 0; cut the peer instead")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a peer holds now: number of keys and the bytes of keys and values."""

    keys: int = 0
    total_bytes: int = 0

    def after_put(self, key_bytes: int, value_bytes: int, replaced_bytes: int | None) -> Usage:
        """Usage once a value is stored; ``replaced_bytes``: key and value it replaces, None for
        a new key.
        """
        added = key_bytes + value_bytes - (replaced_bytes or 0)
        return Usage(self.keys + (replaced_bytes is None), self.total_bytes + added)

    def after_delete(self, freed_bytes: int) -> Usage:
        """Usage once a key is gone; ``freed_bytes``: its key and value."""
        return Usage(self.keys - 1, self.total_bytes - freed_bytes)


def decide_put(
    quota: Quota, usage: Usage, key_bytes: int, value_bytes: int, replaced_bytes: int | None
) -> Decision:
    """May this value be stored? Replacing a key by a smaller value always may, even over the
    limit.
    """
    if value_bytes > quota.max_value_bytes:
        return _over("value bytes", value_bytes, quota.max_value_bytes)
    after = usage.after_put(key_bytes, value_bytes, replaced_bytes)
    if after.keys > quota.max_keys and after.keys > usage.keys:
        return _over("keys", after.keys, quota.max_keys)
    if after.total_bytes > quota.max_total_bytes and after.total_bytes > usage.total_bytes:
        return _over("total bytes", after.total_bytes, quota.max_total_bytes)
    return Decision(True, "allowed", "within quota")


@dataclass(frozen=True, slots=True)
class Bucket:
    """A token bucket as a value: ``tokens`` left at boot-clock time ``at_s``."""

    tokens: float
    at_s: float

    @classmethod
    def full(cls, quota: Quota, now_s: float) -> Bucket:
        """The bucket of a peer that just connected."""
        return cls(float(quota.burst_changes), now_s)

    def take(self, quota: Quota, now_s: float, changes: int = 1) -> tuple[Bucket, float]:
        """The bucket after ``changes``, and how many seconds to wait before acting on them (0:
        now).

        Waiting, not refusing: a slow reader is pushed back by flow control and coalesces at its
        own end.
        """
        passed_s = max(0.0, now_s - self.at_s)
        refilled = self.tokens + passed_s * quota.max_changes_per_s
        left = min(refilled, float(quota.burst_changes)) - changes
        wait_s = 0.0 if left >= 0 else -left / quota.max_changes_per_s
        return Bucket(left, max(now_s, self.at_s)), wait_s


def _over(what: str, figure: int, limit: int) -> Decision:
    return Decision(False, "quota-exceeded", f"{figure} {what}; the peer was given {limit}")
