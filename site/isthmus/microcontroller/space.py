"""When to forget, when to defragment, in which order: the maintainer's decisions, pure (DESIGN section 5).

Who follows a store needs nothing of its past; who was cut off needs everything since, or takes a snapshot. So the
window is declared as the longest cut that shall not cost a snapshot, in seconds, and in revisions for quiet stores
and clocks that lie. It is kept until the store would run full: an old history is worth less than the next write.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from isthmus.kv.space import MemberSpace

_KEPT_SAMPLES = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceSettings:
    """``longest_cut_s``: 15 minutes, a router's reboot and a person's coffee. ``least_revisions``: a site of 1,000
    chains writes about 10 a second when quiet. ``high_share`` of the quota: act before the alarm, with room to act in.
    ``fragmented_share``: defragment when less of the file than this is in use; and only over ``worth_bytes``.
    ``quota_bytes``: for servers that do not tell theirs (etcd's own default is 2 GiB)."""

    longest_cut_s: float = 900.0
    least_revisions: int = 10_000
    compact_step: int = 1_000
    high_share: float = 0.6
    fragmented_share: float = 0.5
    worth_bytes: int = 32 * 1024 * 1024
    quota_bytes: int = 2 * 1024 * 1024 * 1024
    period_s: float = 30.0

    def __post_init__(self) -> None:
        """Refuse what would compact under the feet of everybody, or never."""
        if self.longest_cut_s < 0 or self.least_revisions < 0:
            raise ValueError("longest_cut_s and least_revisions cannot be negative; give 0 or more")
        if not 0 < self.high_share < 1:
            raise ValueError(
                f"high_share {self.high_share}: give a share of the quota between 0 and 1"
            )


@dataclass(slots=True)
class RevisionLog:
    """Which revision the store had when; only ever as long as the window needs."""

    samples: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_KEPT_SAMPLES))

    def saw(self, now_s: float, revision: int) -> None:
        """Remember. A clock or a store that went back begins anew (a restore, G6)."""
        if self.samples and (now_s < self.samples[-1][0] or revision < self.samples[-1][1]):
            self.samples.clear()
        self.samples.append((now_s, revision))

    def at_least_old(self, age_s: float, now_s: float) -> int:
        """The newest revision known to be ``age_s`` old or older; 0 when none is. Forgets what is older still."""
        found = 0
        while self.samples and self.samples[0][0] <= now_s - age_s:
            found = self.samples[0][1]
            if len(self.samples) == 1 or self.samples[1][0] > now_s - age_s:
                break
            self.samples.popleft()
        return found


def compaction_target(
    log: RevisionLog,
    settings: SpaceSettings,
    *,
    now_s: float,
    revision: int,
    done: int,
    needed: Iterable[int] = (),
) -> int:
    """The revision to compact to, or 0 for "not now". ``done``: the last one; ``needed``: the lowest revisions that
    somebody has asked to keep."""
    old_enough = log.at_least_old(settings.longest_cut_s, now_s)
    target = min(old_enough, revision - settings.least_revisions, *needed)
    return target if target >= max(done, 0) + settings.compact_step else 0


def quota(member: MemberSpace, settings: SpaceSettings) -> int:
    """As the member says, or as declared."""
    return member.quota_bytes or settings.quota_bytes


def share(member: MemberSpace, settings: SpaceSettings) -> float:
    """Of the quota that the file takes."""
    return member.size_bytes / quota(member, settings)


def too_full(members: Sequence[MemberSpace], settings: SpaceSettings) -> bool:
    """Is the alarm near at any member?"""
    return any(share(member, settings) >= settings.high_share for member in members)


def helps(member: MemberSpace, settings: SpaceSettings) -> bool:
    """Would a defragmentation give back enough to be worth its pause?"""
    free = member.size_bytes - member.in_use_bytes
    return free >= settings.worth_bytes and (
        member.in_use_bytes < settings.fragmented_share * member.size_bytes
        or share(member, settings) >= settings.high_share
    )


def in_order(members: Iterable[MemberSpace]) -> list[MemberSpace]:
    """Fullest follower first; the leader last, so that its pause (maybe an election) comes once, and at the end."""
    return sorted(members, key=lambda m: (m.is_leader, -m.size_bytes, m.endpoint))
