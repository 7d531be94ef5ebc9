"""A refusal in words: field, value, what is wrong, how to put it right; the same for the API and the command."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from isthmus.contract.chain import ChainSpec
from isthmus.contract.problems import (
    MAX_DEPTH,
    MAX_INTEGER,
    Problem,
    field_text,
    model_at,
    not_plain,
    refusals,
    shown,
)


class Inner(BaseModel):
    """Nested once."""

    model_config = ConfigDict(extra="forbid")

    size: int = Field(default=1, ge=1, le=9)
    kind: Literal["round", "square"] = "round"


class Outer(BaseModel):
    """The document under test."""

    model_config = ConfigDict(extra="forbid")

    inner: Inner | None = None
    items: tuple[Inner, ...] = Field(default=(), min_length=0, max_length=2)
    flag: bool = False
    ratio: float = Field(default=0.5, gt=0, lt=1)

    @model_validator(mode="after")
    def _rule(self) -> Outer:
        if self.flag and self.inner is None:
            raise ValueError("inner: is needed with flag; add it or drop flag")
        return self


def problems(document: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Code, field, value and fix of every mistake."""
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate_json(json.dumps(document), strict=True)
    found = refusals(caught.value, Outer)
    return [(item.code, item.field, item.value, item.fix) for item in found]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"innr": 1}, ("unknown-field", "innr", "1", "did you mean 'inner'?")),
        (
            {"inner": {"zzz": 1}},
            ("unknown-field", "inner.zzz", "1", "the fields here are: kind, size"),
        ),
        (
            {"items": [{"size": 10}]},
            ("out-of-range", "items[0].size", "10", "give a number that is at most 9"),
        ),
        ({"ratio": 1.0}, ("out-of-range", "ratio", "1.0", "give a number that is less than 1")),
        ({"ratio": 0}, ("out-of-range", "ratio", "0", "give a number that is more than 0")),
        (
            {"inner": {"kind": "sqare"}},
            ("not-allowed", "inner.kind", '"sqare"', "did you mean 'square'?"),
        ),
        (
            {"inner": {"kind": "x"}},
            ("not-allowed", "inner.kind", '"x"', "choose one of: round, square"),
        ),
        ({"items": [{}, {}, {}]}, ("too-long", "items", "[{}, {}, {}]", "give at most 2")),
        (
            {"flag": "yes"},
            ("wrong-type", "flag", '"yes"', "write true or false, without quotes"),
        ),
        (
            {"inner": []},
            ("wrong-type", "inner", "[]", "write 'field: value' lines, indented"),
        ),
        ({"flag": True}, ("inconsistent", "inner", "", "add it or drop flag")),
    ],
)
def test_each_kind_of_mistake_has_its_words(
    document: dict[str, Any], expected: tuple[str, str, str, str]
) -> None:
    """The table is the interface: codes are stable, fixes are sentences."""
    assert problems(document) == [expected]


def test_a_list_is_not_called_too_short_for_items_that_were_refused() -> None:
    """The library reports both; the second is a consequence and would send people the wrong way."""
    with pytest.raises(ValidationError) as caught:
        ChainSpec.model_validate({"functions": [{"name": "A"}]})
    codes = {(item.code, item.field) for item in refusals(caught.value, ChainSpec)}
    assert ("not-a-name", "functions[0].name") in codes
    assert not [code for code, _ in codes if code == "too-short"]


def test_fields_that_stored_values_carry_along_are_mistakes_in_what_a_person_writes() -> None:
    """R11 keeps unknown fields of newer writers at every depth; a person's spelling mistake must not hide there."""
    end = {"attachment": "a"}
    function = {"name": "f", "type": "t", "resources": {"cpu_mili": 1}, "x": 2}
    document = {"tenant": "t", "chain": "c", "ingress": end, "egress": end, "functions": [function]}
    with pytest.raises(ValidationError) as caught:
        ChainSpec.written(json.dumps(document))
    assert {(item.field, item.fix) for item in refusals(caught.value, ChainSpec)} == {
        ("functions[0].resources.cpu_mili", "did you mean 'cpu_milli'?"),
        ("functions[0].x", "the fields here are: config, name, resources, type, version"),
    }
    carried = ChainSpec.model_validate(document).model_dump(mode="json")["functions"][0]
    assert (carried["resources"]["cpu_mili"], carried["x"]) == (1, 2)


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ({"a": float("nan")}, "not-a-number"),
        ({"a": [float("-inf")]}, "not-a-number"),
        ({"a": MAX_INTEGER + 1}, "out-of-range"),
        ({"a": -MAX_INTEGER - 1}, "out-of-range"),
        ({"a": "\ud800"}, "wrong-text"),
    ],
)
def test_documents_that_other_languages_cannot_read_are_refused(
    document: object, code: str
) -> None:
    """A VNF in any language reads its configuration."""
    found = not_plain(document)
    assert found is not None
    assert found.code == code
    assert found.field.startswith("a")


def test_both_sides_of_each_bound() -> None:
    """What is exactly at the limit is fine."""
    assert not_plain({"a": [MAX_INTEGER, -MAX_INTEGER, 1e308, True, None, "ä"]}) is None
    deep: object = 1
    for _ in range(MAX_DEPTH):
        deep = [deep]
    assert not_plain(deep) is None
    found = not_plain([deep])
    assert found is not None
    assert found.code == "too-deep"


def test_foreign_text_is_escaped_and_cut() -> None:
    """Attack 20: names and values of a document are somebody else's."""
    problem = Problem("x", ("a\x1b[2J", 3, "b"), shown("\u202e" + "y" * 500), "m", "f")
    assert problem.field == r"a\x1b[2J[3].b"
    assert problem.value.isascii()
    assert len(problem.value) < 120
    assert shown(object()).startswith('"<object')
    assert field_text(()) == ""


def test_the_model_behind_a_path_is_found() -> None:
    """Suggestions come from the fields of the right model."""
    assert model_at(ChainSpec, ()) is ChainSpec
    found = model_at(ChainSpec, ("functions", 3, "resources"))
    assert found is not None
    assert "cpu_milli" in found.model_fields
    assert model_at(ChainSpec, ("functions", 0, "config", "x")) is None
    assert model_at(ChainSpec, ("nothing",)) is None
