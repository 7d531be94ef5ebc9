"""Who may put, delete or read which relative key; deny by default (DESIGN section 6, GUARANTEES
G8 and attack 3).

The same scope is checked by the sender before a key leaves and by the receiver before it is
stored, each sufficient alone. A rule is one of two shapes and there is no third: an exact key
(``summary/site``) or everything below a prefix (``intents/``). A ``*`` stands for exactly one
segment (``hosts/*/inventory``), so it never crosses a slash. Only the verbs below exist: ranges,
transactions and leases do not cross a link at all (attack 8).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from isthmus.policy import keys
from isthmus.policy.errors import KeyRefused, RuleRefused, ScopeDenied


class Verb(Enum):
    """What can be done to one key."""

    PUT = "put"
    DELETE = "delete"
    READ = "read"


MIRROR: Final = frozenset({Verb.PUT, Verb.DELETE})
"""What a mirror does: both, since a key that can come must be able to go."""
MAX_RULES: Final = 256
"""Per scope. Ours have three; a list longer than this is a policy nobody can read."""
ANY: Final = "*"


@dataclass(frozen=True, slots=True)
class Rule:
    """``verbs`` on ``pattern``: a relative key, or a prefix when it ends in ``/``."""

    pattern: str
    verbs: frozenset[Verb] = MIRROR

    def __post_init__(self) -> None:
        if not self.verbs:
            raise RuleRefused("verbs of rule", self.pattern, "name at least one verb")
        if self.pattern.startswith("/"):
            raise RuleRefused("rule", self.pattern, "scopes are over relative keys")
        try:
            for segment in self._segments():
                if segment != ANY:
                    keys.check_segment(segment)
        except KeyRefused as refused:
            raise RuleRefused("rule", self.pattern, refused.reason) from None

    @property
    def is_prefix(self) -> bool:
        """True when it is for everything below, and not for the name itself."""
        return self.pattern.endswith("/")

    def _segments(self) -> list[str]:
        return (self.pattern[:-1] if self.is_prefix else self.pattern).split("/")

    def matches(self, key: str) -> bool:
        """True when relative ``key`` (already in the grammar) lies in this rule."""
        if ANY not in self.pattern:
            return keys.covers(self.pattern, key) if self.is_prefix else key == self.pattern
        wanted, given = self._segments(), key.split("/")
        if len(given) <= len(wanted) if self.is_prefix else len(given) != len(wanted):
            return False
        return all(want in (ANY, got) for want, got in zip(wanted, given, strict=False))

    def __str__(self) -> str:
        return f"{'+'.join(sorted(verb.value for verb in self.verbs))} {self.pattern}"


@dataclass(frozen=True, slots=True)
class Decision:
    """``allowed`` because of ``rule``, or not because of ``reason``; ``code`` is stable for
    counters.
    """

    allowed: bool
    code: str
    reason: str
    rule: Rule | None = None

    def __bool__(self) -> bool:
        return self.allowed


@dataclass(frozen=True, slots=True)
class Scope:
    """A named list of rules. Nothing that no rule allows is allowed; an empty scope allows
    nothing.
    """

    name: str
    allow: tuple[Rule, ...] = ()

    def __post_init__(self) -> None:
        if len(self.allow) > MAX_RULES:
            raise RuleRefused("rules of scope", len(self.allow), f"at most {MAX_RULES}")

        if len({rule.pattern for rule in self.allow}) != len(self.allow):
            raise RuleRefused("rules of scope", self.name, "each pattern once, with all its verbs")

    @classmethod
    def mirror(cls, name: str, patterns: Iterable[str]) -> Scope:
        """A scope that may put and delete below each of ``patterns``."""
        return cls(name, tuple(Rule(pattern) for pattern in patterns))

    def decide(self, verb: Verb, key: str | bytes) -> Decision:
        """May ``verb`` be done to relative ``key``? Never raises: a malformed key is a denial,
        too.
        """
        try:
            text = keys.check_key(key)
        except KeyRefused as refused:
            return Decision(False, refused.code, str(refused))
        if text.startswith("/"):
            return Decision(False, KeyRefused.code, "only relative keys cross a link")
        best: Rule | None = None
        for rule in self.allow:
            if rule.matches(text):
                if verb in rule.verbs:
                    return Decision(True, "allowed", f"rule {rule}", rule)
                best = rule
        if best is not None:
            return Decision(False, "verb-denied", f"{verb.value} is not in rule {best}", best)
        return Decision(False, ScopeDenied.code, "no rule of the scope covers it")

    def require(self, verb: Verb, key: str | bytes) -> Rule:
        """The rule that allows it, or :class:`ScopeDenied`."""
        decision = self.decide(verb, key)
        if decision.rule is None or not decision.allowed:
            raise ScopeDenied(self.name, verb.value, key, decision.reason)
        return decision.rule

    def narrowed(self, other: Scope) -> bool:
        """True when every rule here is also wholly allowed by ``other``: a partner never widens
        what it was given.

        Decided rule by rule, so it may say no to a list that is narrower only in sum; never yes
        to a wider one.
        """
        return all(any(_within(mine, theirs) for theirs in other.allow) for mine in self.allow)


def decide(scope: Scope, verb: Verb, key: str | bytes) -> Decision:
    """The same as a function, for callers that hold scopes as data."""
    return scope.decide(verb, key)


def _within(inner: Rule, outer: Rule) -> bool:
    """Every key and verb of ``inner`` is one of ``outer``."""
    if not inner.verbs <= outer.verbs or (inner.is_prefix and not outer.is_prefix):
        return False
    mine, theirs = inner._segments(), outer._segments()
    if outer.is_prefix:
        longer = len(mine) >= len(theirs) if inner.is_prefix else len(mine) > len(theirs)
        if not longer:
            return False
    elif len(mine) != len(theirs):
        return False
    return all(want in (ANY, got) for want, got in zip(theirs, mine, strict=False))
