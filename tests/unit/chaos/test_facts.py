"""What a demo states: a false statement is told, remembered, and turns the verdict."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from isthmus.chaos.demo.facts import Broken, Facts


def test_a_true_statement_and_a_false_one() -> None:
    """Why: the verdict is nothing but this list."""
    said: list[str] = []
    facts = Facts(said.append)
    facts.act("First")
    assert facts.check("promise a", "it holds", True, "seen 3")
    assert not facts.check("promise b", "it does not", False)
    assert [check.promise for check in facts.failed] == ["promise b"]
    assert said == ["\n== First", "   ok   it holds  [seen 3]", "   FAIL it does not"]


def test_what_the_rest_stands_on_ends_the_run() -> None:
    """Why: after a cut that was none, "packets go on" would be true and worth nothing."""
    facts = Facts(lambda _: None)
    facts.require("the cut is real", "nothing passes", True)
    with pytest.raises(Broken, match="the cut is real: nothing passes"):
        facts.require("the cut is real", "nothing passes", False)
    assert len(facts.failed) == 1, "it is remembered, not only raised"


def test_the_record_holds_everything(tmp_path: Path) -> None:
    """Why: ``--record`` is what somebody compares with last month's."""
    facts = Facts(lambda _: None)
    facts.act("First")
    facts.check("promise", "statement", False, "evidence")
    facts.figure("heal_ms", 12.5)
    facts.act("Second")
    facts.record(tmp_path / "facts.json", {"runtime": "ray"})
    document = json.loads((tmp_path / "facts.json").read_text())
    assert document["checks"] == [
        {"act": "First", "promise": "promise", "statement": "statement", "ok": False,
         "evidence": "evidence"},
    ]  # fmt: skip
    assert document["figures"] == {"heal_ms": 12.5}
    assert set(document["acts_s"]) == {"First", "Second"}
    assert document["runtime"] == "ray"


def test_nothing_stated_is_nothing_failed_but_also_nothing_proved() -> None:
    """Why: the verdict asks for both (see the demo's last word)."""
    facts = Facts(lambda _: None)
    assert facts.failed == []
    assert facts.checks == []
