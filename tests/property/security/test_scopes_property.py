"""Scopes against a brute-force reading of the same rules."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isthmus.policy import KeyRefused, Rule, Scope, Verb, keys

words = st.sampled_from(["a", "b", "a0", "ab"])
patterns = st.builds(
    lambda parts, tail: "/".join(parts) + tail,
    st.lists(st.one_of(words, st.just("*")), min_size=1, max_size=3),
    st.sampled_from(["", "/"]),
)
some_keys = st.lists(words, min_size=1, max_size=4).map("/".join)
verbs = st.sampled_from(list(Verb))
rules = st.builds(Rule, patterns, st.frozensets(verbs, min_size=1))
scopes = st.lists(rules, max_size=4, unique_by=lambda rule: rule.pattern).map(
    lambda chosen: Scope("s", tuple(chosen))
)


def brute(rule: Rule, verb: Verb, key: str) -> bool:
    """Segment by segment, as a person would read the rule."""
    wanted = rule.pattern.rstrip("/").split("/")
    given_ = key.split("/")
    enough = len(given_) > len(wanted) if rule.pattern.endswith("/") else len(given_) == len(wanted)
    same = all(want in ("*", got) for want, got in zip(wanted, given_, strict=False))
    return enough and same and verb in rule.verbs


@given(scopes, verbs, some_keys)
def test_a_key_is_allowed_exactly_when_some_rule_says_so(
    scope: Scope, verb: Verb, key: str
) -> None:
    """Neither more nor less than the rules, whatever their order."""
    expected = any(brute(rule, verb, key) for rule in scope.allow)
    assert scope.decide(verb, key).allowed == expected
    assert Scope("r", scope.allow[::-1]).decide(verb, key).allowed == expected


@given(scopes, scopes, verbs, some_keys)
def test_narrowed_never_lets_more_through(inner: Scope, outer: Scope, verb: Verb, key: str) -> None:
    """If a scope claims to be narrower, there is no key to prove it wrong."""
    if inner.narrowed(outer) and inner.decide(verb, key):
        assert outer.decide(verb, key)


@given(scopes, verbs, st.text(max_size=20))
def test_decide_never_raises_and_never_allows_a_malformed_key(
    scope: Scope, verb: Verb, key: str
) -> None:
    """The key comes from a stranger."""
    decision = scope.decide(verb, key)
    try:
        keys.check_key(key)
    except KeyRefused:
        assert not decision.allowed
