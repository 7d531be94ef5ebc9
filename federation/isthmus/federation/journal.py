"""What happened to links, for ``isthmus events`` (issue 7, point 8): opened, lost, marked, denied, refused.

The journal compares what links say of themselves with what was told last, so whatever happened between two looks is
told once, as it is now: a link that flaps costs an event in ten seconds and not one for each flap (attack 18).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from isthmus.contract.instance import OperationalEvent
from isthmus.federation.status import LinkStatus

QUIET_S = 10.0
"""Between two events of one kind about one peer."""
AGAIN_S = 60.0
"""Between two about the same denial or refusal: a peer that is wrong is wrong all the time."""
DIFFERS_S = 30.0
"""Digests differ while a repair is under way; so long they must not."""
NEVER_S = float("-inf")


@dataclass(slots=True)
class _Told:
    """Of one peer."""

    connected: bool = False
    quarantined: str = ""
    differs: bool = False
    equal_s: float = NEVER_S
    denied: dict[str, int] = field(default_factory=dict)


class Journal:
    """Of one process. Pure: the caller gives the time."""

    def __init__(self) -> None:
        self._told: dict[str, _Told] = {}
        self._refused: dict[str, int] = {}
        self._next_s: dict[tuple[str, str], float] = {}

    def look(
        self, links: Sequence[LinkStatus], refused: Mapping[str, int], now_s: float
    ) -> list[OperationalEvent]:
        """The events since the last look."""
        found: list[OperationalEvent] = []
        for link in links:
            told = self._told.setdefault(link.peer, _Told(equal_s=now_s))
            found += self._state(link, told, now_s)
            found += self._mark(link, told, now_s)
            found += self._digest(link, told, now_s)
            found += self._denials(link, told, now_s)
        for why, count in sorted(refused.items()):
            if count > self._refused.get(why, 0) and self._may("refused", why, now_s, AGAIN_S):
                more = count - self._refused.get(why, 0)
                text = f"{more} callers were refused: {why}"
                found.append(_event("refused", why, text, "warning"))
                self._refused[why] = count
        return found

    def _state(self, link: LinkStatus, told: _Told, now_s: float) -> list[OperationalEvent]:
        if link.connected == told.connected or not self._may("link", link.peer, now_s, QUIET_S):
            return []
        told.connected = link.connected
        again = f", {link.reconnects} reconnects so far" if link.reconnects else ""
        if link.connected:
            agreed = f", agreement {link.agreement}" if link.agreement else ""
            return [_event("link-open", link.peer, f"version {link.version}{agreed}{again}")]
        why = link.last_error or f"it is {link.state}"
        return [_event("link-lost", link.peer, f"{why}{again}", "warning")]

    def _mark(self, link: LinkStatus, told: _Told, now_s: float) -> list[OperationalEvent]:
        if link.quarantined == told.quarantined:
            return []
        if not self._may("mark", link.peer, now_s, QUIET_S):
            return []
        told.quarantined = link.quarantined
        if link.quarantined:
            text = f"{link.quarantined}: what is held of it is unknown to every reader"
            return [_event("quarantined", link.peer, text, "warning")]
        return [_event("quarantine-over", link.peer, "a good link took the mark away")]

    def _digest(self, link: LinkStatus, told: _Told, now_s: float) -> list[OperationalEvent]:
        if link.digests_equal is not False or not link.connected:
            told.equal_s = now_s
            if told.differs and link.digests_equal:
                told.differs = False
                return [_event("digests-equal", link.peer, "both ends hold the same again")]
            return []
        if told.differs or now_s - told.equal_s < DIFFERS_S:
            return []
        told.differs = True
        text = f"both ends have differed for {now_s - told.equal_s:.0f} s; see what is denied"
        return [_event("digests-differ", link.peer, text, "warning")]

    def _denials(self, link: LinkStatus, told: _Told, now_s: float) -> list[OperationalEvent]:
        found = []
        for why, count in sorted(link.denied.items()):
            before = told.denied.get(why, 0)
            if count < before:  # a link of its own counts from zero
                before = told.denied[why] = 0
            if count == before or not self._may(f"denied {why}", link.peer, now_s, AGAIN_S):
                continue
            told.denied[why] = count
            newest = next(
                (
                    one
                    for one in reversed(link.newest_denials)
                    if f"{one.direction}:{one.code}" == why
                ),
                None,
            )
            example = f", such as {newest.key}: {newest.reason}" if newest is not None else ""
            text = f"{why}: {count - before} keys{example}"
            found.append(_event("denied", link.peer, text, "warning"))
        return found

    def _may(self, kind: str, subject: str, now_s: float, every_s: float) -> bool:
        if now_s < self._next_s.get((kind, subject), NEVER_S):
            return False
        self._next_s[(kind, subject)] = now_s + every_s
        return True


def _event(kind: str, subject: str, message: str, severity: str = "info") -> OperationalEvent:
    return OperationalEvent.model_validate(
        {"kind": kind, "subject": subject, "message": message[:500], "severity": severity}
    )
