"""What may cross, decided at the sender and again at the receiver, each sufficient alone (DESIGN section 6, G8).

A key is refused or it passes unchanged: nothing here repairs, lower-cases or normalises (attack 6). Every denial
is counted by a stable reason and the newest ones are kept with their (escaped) key, so that an operator sees what was
held back and why.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from isthmus.contract.envelope import VALUE_LIMIT_BYTES
from isthmus.contract.scopes import ExportRoot
from isthmus.federation.digest import META
from isthmus.identity.text import visible
from isthmus.policy import keys
from isthmus.policy.errors import KeyRefused
from isthmus.policy.scopes import ANY, MIRROR, Decision, Scope, Verb

KEPT_DENIALS = 64


class Denial(BaseModel):
    """One key that did not pass. ``direction`` is ``export`` or ``import``; ``code`` is stable."""

    model_config = ConfigDict(frozen=True)

    direction: str
    code: str
    verb: str
    key: str
    reason: str


class DenialLog:
    """Counts by reason, and the newest records."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.newest: deque[Denial] = deque(maxlen=KEPT_DENIALS)

    def add(self, direction: str, verb: Verb, key: str | bytes, decision: Decision) -> None:
        """Remember that ``key`` did not pass."""
        self.counts[f"{direction}:{decision.code}"] += 1
        self.newest.append(
            Denial(
                direction=direction,
                code=decision.code,
                verb=verb.value,
                key=visible(key),
                reason=decision.reason,
            )
        )

    def total(self, direction: str) -> int:
        """All denials of one direction."""
        return sum(n for key, n in self.counts.items() if key.startswith(direction))


class KeyCheck(Protocol):
    """May this verb be done to this relative key?"""

    def check(self, verb: Verb, key: str | bytes) -> str | Decision:
        """The key as text when it passes, else the decision that holds it back."""
        ...


class ValueCheck(Protocol):
    """May this value cross as this relative key? Asked where an agreement looks inside."""

    def judge_value(self, key: str, value: bytes, now_s: float | None) -> Decision | None:
        """Why not; None when it may. Without ``now_s`` its age is not looked at."""
        ...


class ScopeFilter:
    """A scope with a fast path for what it plainly allows; every doubt goes to the scope itself."""

    def __init__(self, scope: Scope) -> None:
        plain = [r for r in scope.allow if ANY not in r.pattern and r.verbs >= MIRROR]
        self._scope = scope
        self._prefixes = tuple(rule.pattern for rule in plain if rule.is_prefix)
        self._exact = frozenset(rule.pattern for rule in plain if not rule.is_prefix)

    def check(self, verb: Verb, key: str | bytes) -> str | Decision:
        """The key as text when it passes, else the decision that holds it back."""
        try:
            text = keys.check_key(key)
        except KeyRefused as refused:
            return Decision(False, refused.code, str(refused))
        if text.startswith(META):
            return Decision(False, "meta-denied", "the importer's own book-keeping crosses no link")
        if text.startswith(self._prefixes) or text in self._exact:
            return text
        decision = self._scope.decide(verb, text)
        return text if decision.allowed else decision


class ExportFilter:
    """From absolute source keys to relative names, for one peer."""

    def __init__(
        self,
        roots: Sequence[ExportRoot],
        check: KeyCheck,
        denials: DenialLog,
        *,
        max_value_bytes: int = VALUE_LIMIT_BYTES,
        values: ValueCheck | None = None,
        utc_s: Callable[[], float] | None = None,
    ) -> None:
        self.roots = tuple(roots)
        self._values = values
        self._utc_s = utc_s
        self._filter = check
        self._denials = denials
        self._max_value_bytes = max_value_bytes

    def relative(self, lane: int, key: str) -> str | None:
        """The name under which ``key`` of root number ``lane`` crosses, None when it does not."""
        root = self.roots[lane]
        if key.startswith(root.source):
            relative = root.relative + key[len(root.source) :]
            verdict = self._filter.check(Verb.PUT, relative)
        else:
            verdict = Decision(False, "root-denied", f"it is not below {root.source}")
        if isinstance(verdict, str):
            return verdict
        self._denials.add("export", Verb.PUT, key, verdict)
        return None

    def value_passes(self, key: str, value: bytes) -> bool:
        """False (and counted) for a value over the limit, or one that the agreement holds back."""
        if len(value) > self._max_value_bytes:
            reason = f"{len(value)} bytes; at most {self._max_value_bytes}"
            verdict: Decision | None = Decision(False, "value-too-large", reason)
        elif self._values is None:
            return True
        else:
            now_s = None if self._utc_s is None else self._utc_s()
            verdict = self._values.judge_value(self._crosses_as(key), value, now_s)
        if verdict is None:
            return True
        self._denials.add("export", Verb.PUT, key, verdict)
        return False

    def _crosses_as(self, key: str) -> str:
        """The relative name of an absolute key below a root; the key itself when it is below none."""
        for root in self.roots:
            if key.startswith(root.source):
                return root.relative + key[len(root.source) :]
        return key

    def source_key(self, relative: str) -> str:
        """The absolute key that crosses as ``relative``."""
        for root in self.roots:
            if root.is_prefix and relative.startswith(root.relative):
                return root.source + relative[len(root.relative) :]
            if relative == root.relative:
                return root.source
        raise KeyRefused(relative, 0, "no export root has this name")
