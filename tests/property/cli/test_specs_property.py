"""Whatever bytes a file holds, the parser answers with specs or sentences, never with an exception."""

from __future__ import annotations

import json
import re
import string

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.cli.specs import parse
from isthmus.contract.chain import ChainSpec

NUMBERS = re.compile(r"[0-9]+e-?[0-9]+")
"""What writers of YAML 1.1 leave without quotes and JSON, like YAML 1.2, calls a number: a text field refuses it, see
``test_a_number_where_a_name_is_expected``."""
NAMES: st.SearchStrategy[str] = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True).filter(
    lambda name: NUMBERS.fullmatch(name) is None
)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(alphabet=string.printable + "äß日", max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(string.ascii_lowercase, min_size=1, max_size=8), inner, max_size=4
        )
    ),
    max_leaves=12,
)
FUNCTIONS = st.lists(
    st.fixed_dictionaries(
        {"name": NAMES, "type": NAMES},
        optional={
            "version": NAMES,
            "config": st.dictionaries(st.text(string.ascii_lowercase, min_size=1), PLAIN),
        },
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda function: str(function["name"]),
)
SPECS = st.fixed_dictionaries(
    {
        "tenant": NAMES,
        "chain": NAMES,
        "ingress": st.fixed_dictionaries({"attachment": NAMES}, optional={"site": NAMES}),
        "egress": st.fixed_dictionaries({"attachment": NAMES}, optional={"site": NAMES}),
        "functions": FUNCTIONS,
    },
    optional={
        "bandwidth_kbps": st.integers(1, 400_000_000),
        "latency_budget_ms": st.floats(0.001, 60_000),
        "partition": st.sampled_from(["autonomous", "exclusive", "replicated"]),
    },
)


@given(SPECS)
@settings(max_examples=100, deadline=None)
def test_what_json_says_yaml_says_too(document: dict[str, object]) -> None:
    """JSON is YAML: a spec written by a program reads the same as the model itself reads it."""
    text = json.dumps(document)
    parsed = parse(text.encode(), "x.yaml")
    assert parsed.errors == ()
    assert parsed.specs[0].spec == ChainSpec.model_validate_json(text)


@given(SPECS)
@settings(max_examples=100, deadline=None)
def test_what_a_yaml_writer_quotes_is_read_back(document: dict[str, object]) -> None:
    """A file written by the usual YAML library (block style, 1.1 quoting) means the same chain."""
    text = yaml.safe_dump(document, allow_unicode=True)
    parsed = parse(text.encode(), "x.yaml")
    assert parsed.errors == ()
    assert parsed.specs[0].spec == ChainSpec.model_validate(document)


@pytest.mark.parametrize("name", ["0e0", "1e5", "12e-3"])
def test_a_number_where_a_name_is_expected(name: str) -> None:
    """Why: these are numbers to JSON and text to old YAML writers; taken silently, 1e5 would come back as 100000.0."""
    text = f"tenant: t\nchain: c\ningress: {{attachment: {name}}}\negress: {{attachment: b}}\n"
    (error,) = parse(f"{text}functions: [{{name: f, type: t}}]\n".encode(), "x.yaml").errors
    assert (error.line, error.field) == (3, "ingress.attachment")
    assert error.fix == "put it in quotes, as it is written", (
        "another spelling would be another name"
    )
    quoted = text.replace(name, f'"{name}"')
    assert parse(f"{quoted}functions: [{{name: f, type: t}}]\n".encode(), "x.yaml").errors == ()


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_arbitrary_bytes_get_a_sentence(data: bytes) -> None:
    """No input may end in a stack trace; and what is shown is printable ASCII."""
    parsed = parse(data, "x.yaml")
    assert parsed.errors
    for error in parsed.errors:
        assert str(error).isascii()
        assert str(error).isprintable()


@given(st.text(alphabet="abc:-[]{}#&*!|>'\"%@` \n?,", max_size=120))
@settings(max_examples=300, deadline=None)
def test_arbitrary_punctuation_gets_a_sentence_with_a_line_inside_the_file(text: str) -> None:
    """YAML's grammar is large; whatever corner is hit, the line told exists."""
    parsed = parse(text.encode(), "x.yaml")
    assert parsed.errors
    for error in parsed.errors:
        assert 0 <= error.line <= text.count("\n") + 1


@given(SPECS, st.data())
@settings(max_examples=100, deadline=None)
def test_a_misspelt_field_is_named_with_its_line(
    document: dict[str, object], data: st.DataObject
) -> None:
    """Wherever an unknown field stands, exactly its line is told."""
    lines = [f"{key}: {json.dumps(value)}" for key, value in document.items()]
    place = data.draw(st.integers(0, len(lines)))
    lines.insert(place, "bandwith_kbps: 5")
    (error,) = parse("\n".join(lines).encode(), "x.yaml").errors
    assert (error.line, error.field) == (place + 1, "bandwith_kbps")
    assert error.fix == "did you mean 'bandwidth_kbps'?"
