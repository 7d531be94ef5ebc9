"""Scopes: deny by default, two shapes of rule, a reason with each decision."""

from __future__ import annotations

import pytest

from isthmus.policy import Rule, RuleRefused, Scope, ScopeDenied, Verb, decide

DOWN = Scope.mirror("tier-to-site", ["intents/", "wires/"])
UP = Scope.mirror("site-to-tier", ["summary/site", "summary/peers/global/"])


@pytest.mark.parametrize(
    ("scope", "key"),
    [
        (DOWN, "intents/acme/web"),
        (DOWN, "wires/w-0123456789ab"),
        (UP, "summary/site"),
        (UP, "summary/peers/global/chains/acme/web"),
    ],
)
def test_what_crosses_is_what_the_rules_name(scope: Scope, key: str) -> None:
    """The two real scopes of the house, both verbs, with the rule that allowed it."""
    for verb in (Verb.PUT, Verb.DELETE):
        decision = decide(scope, verb, key)
        assert decision
        assert decision.rule in scope.allow
        assert scope.require(verb, key) is decision.rule


@pytest.mark.parametrize(
    ("scope", "key", "code"),
    [
        (DOWN, "intents", "scope-denied"),  # the name of a prefix is not below it
        (DOWN, "intents0", "scope-denied"),  # first key behind the range
        (DOWN, "intents-x/a", "scope-denied"),
        (DOWN, "instances/i-1/config/configurator", "scope-denied"),
        (DOWN, "remote/global/intents/a/b", "scope-denied"),
        (UP, "summary/site/extra", "scope-denied"),
        (UP, "summary/peers/partner/chains/a/b", "scope-denied"),
        (UP, "summary/peers/global2/chains/a/b", "scope-denied"),
        (DOWN, "intents/../secrets", "key-refused"),
        (DOWN, "intents//a", "key-refused"),
        (DOWN, "/isthmus/v1/intents/a/b", "key-refused"),
        (DOWN, b"intents/\xff", "key-refused"),
        (DOWN, "", "key-refused"),
    ],
)
def test_everything_else_is_denied_with_a_reason(scope: Scope, key: str | bytes, code: str) -> None:
    """Never an exception from a stranger's key: a decision, a stable code, a sentence."""
    decision = scope.decide(Verb.PUT, key)
    assert not decision
    assert decision.code == code
    assert decision.reason
    with pytest.raises(ScopeDenied):
        scope.require(Verb.PUT, key)


def test_an_empty_scope_allows_nothing() -> None:
    """Deny by default: a peer with a forgotten policy gets nothing, not everything."""
    assert not Scope("forgotten").decide(Verb.READ, "a")


def test_verbs_are_checked_apart() -> None:
    """Put does not imply delete, and nothing implies read."""
    scope = Scope("reader", (Rule("summary/site", frozenset({Verb.READ})),))
    assert scope.decide(Verb.READ, "summary/site")
    denied = scope.decide(Verb.PUT, "summary/site")
    assert denied.code == "verb-denied"
    assert "put" in denied.reason


def test_a_second_rule_may_allow_what_a_first_has_not_the_verb_for() -> None:
    """Order of rules carries no meaning."""
    read, put = Rule("a/", frozenset({Verb.READ})), Rule("a/b", frozenset({Verb.PUT}))
    for rules in ((read, put), (put, read)):
        scope = Scope("both", rules)
        assert scope.decide(Verb.PUT, "a/b").rule is put
        assert scope.decide(Verb.READ, "a/b").rule is read


def test_a_star_is_exactly_one_segment() -> None:
    """It never crosses a slash, neither in an exact rule nor in a prefix."""
    scope = Scope.mirror("stars", ["hosts/*/inventory", "x/*/"])
    for key in ("hosts/h1/inventory", "x/vendor/a", "x/vendor/a/b"):
        assert scope.decide(Verb.PUT, key), key
    for key in ("hosts/inventory", "hosts/h1/h2/inventory", "hosts/h1/cords", "x/vendor", "x/a0"):
        assert not scope.decide(Verb.PUT, key), key


@pytest.mark.parametrize(
    "pattern", ["", "/", "//", "/isthmus/v1/", "a/../b", "A/", "a/**/", "a*/", "a//b", "*a"]
)
def test_rules_outside_the_grammar_are_refused_at_load(pattern: str) -> None:
    """A typo in a policy must not be a wider policy; a bare slash would be everything."""
    with pytest.raises(RuleRefused):
        Rule(pattern)


def test_malformed_scopes_are_refused_at_load() -> None:
    """A rule without verbs, a pattern twice, a list nobody can read."""
    with pytest.raises(RuleRefused, match="verb"):
        Rule("a/", frozenset())
    with pytest.raises(RuleRefused, match="once"):
        Scope.mirror("twice", ["a/", "a/"])
    with pytest.raises(RuleRefused, match="at most 256"):
        Scope.mirror("long", [f"a{number}/" for number in range(257)])


@pytest.mark.parametrize(
    ("inner", "outer", "expected"),
    [
        (["intents/acme/"], ["intents/"], True),
        (["intents/acme/web"], ["intents/*/"], True),
        (["intents/"], ["intents/acme/"], False),
        (["intents/*/"], ["intents/acme/"], False),
        (["intents/"], ["intents/*/"], False),
        (["a"], ["a/"], False),
        (["a/"], ["a"], False),
        (["hosts/h1/cords"], ["hosts/*/cords"], True),
        ([], ["a/"], True),
        (["a/", "b/"], ["a/"], False),
    ],
)
def test_a_partner_scope_can_be_checked_to_be_narrower(
    inner: list[str], outer: list[str], expected: bool
) -> None:
    """What a partner configures for us must lie within what the agreement gives."""
    assert Scope.mirror("in", inner).narrowed(Scope.mirror("out", outer)) is expected


def test_a_narrower_scope_has_no_further_verbs() -> None:
    """The same keys with one more verb is wider."""
    read = Scope("read", (Rule("a/", frozenset({Verb.READ})),))
    both = Scope("both", (Rule("a/", frozenset({Verb.READ, Verb.PUT})),))
    assert read.narrowed(both)
    assert not both.narrowed(read)
