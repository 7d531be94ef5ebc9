"""A spec that is wrong is told with file, line, field, value and the fix (issue 3, point 8; attack 20)."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.cli.specs import MAX_ERRORS, MAX_FILE_BYTES, Parsed, parse
from isthmus.functions import shipped

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"

GOOD = """\
tenant: acme
chain: shop
ingress: {attachment: customer}
egress: {attachment: internet}
functions:
  - name: guard
    type: firewall
  - name: shape
    type: limiter
"""


def told(text: str | bytes) -> list[str]:
    """The errors of ``text`` as a user sees them."""
    data = text.encode() if isinstance(text, str) else text
    return [str(error) for error in parse(data, "chain.yaml").errors]


def changed(line: int, text: str) -> str:
    """The good spec with one line replaced (counted from 1)."""
    lines = GOOD.splitlines()
    lines[line - 1] = text
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_example_is_a_valid_spec(example: Path) -> None:
    """A stranger's first step is to copy an example; a broken one would be the first impression."""
    parsed = parse(example.read_bytes(), example.name)
    assert parsed.errors == ()
    assert len(parsed.specs) >= 1


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_example_configures_shipped_functions(example: Path) -> None:
    """A site must be able to run what the examples ask for."""
    registry = shipped()
    for loaded in parse(example.read_bytes(), example.name).specs:
        for function in loaded.spec.functions:
            known = registry.find(function.type, function.version)
            known.descriptor.check(function.config)


def test_a_good_spec_comes_with_the_line_of_every_field() -> None:
    """Later refusals (by the API) also name the line, so the lines survive a successful parse."""
    (loaded,) = parse(GOOD.encode(), "chain.yaml").specs
    assert loaded.spec.functions[1].type == "limiter"
    assert loaded.lines[("functions", 1, "type")] == 9
    assert loaded.lines[("ingress", "attachment")] == 3


def test_several_documents_are_several_chains() -> None:
    """One file may describe a whole customer; empty documents (a trailing ---) are no mistake."""
    parsed = parse(f"{GOOD}---\n{GOOD.replace('shop', 'blog')}---\n".encode(), "chain.yaml")
    assert [loaded.spec.chain for loaded in parsed.specs] == ["shop", "blog"]
    assert parsed.specs[1].line == 11
    assert parsed.errors == ()


GOLDEN = [
    (
        changed(3, "latancy_budget_ms: 3"),
        "chain.yaml:1: ingress: is missing; add 'ingress'",
        "chain.yaml:3: latancy_budget_ms: unknown field 'latancy_budget_ms' (found: 3); "
        "did you mean 'latency_budget_ms'?",
    ),
    (
        changed(1, "tenant: Acme"),
        'chain.yaml:1: tenant: is not a name (found: "Acme"); '
        "use 1 to 63 of a-z 0-9 . _ - and begin with a letter or a digit",
    ),
    (
        changed(3, "ingress: {attachment: 7}"),
        "chain.yaml:3: ingress.attachment: is a number, text is expected (found: 7); "
        'put it in quotes: "7"',
    ),
    (
        changed(7, "    typ: firewall"),
        "chain.yaml:6: functions[0].type: is missing; add 'type'",
        "chain.yaml:7: functions[0].typ: unknown field 'typ' (found: \"firewall\"); "
        "did you mean 'type'?",
    ),
    (
        changed(8, "  - name: guard"),
        "chain.yaml:8: functions: name 'guard' is used twice (found: guard); give each its own",
    ),
    (
        GOOD + "partition: autonomus\n",
        "chain.yaml:10: partition: must be one of: autonomous, exclusive, replicated "
        "(found: \"autonomus\"); did you mean 'autonomous'?",
    ),
    (
        GOOD + "priority: -1\n",
        "chain.yaml:10: priority: must be at least 0 (found: -1); give a number that is at least 0",
    ),
    (
        GOOD + "latency_budget_ms: 0\n",
        "chain.yaml:10: latency_budget_ms: must be more than 0 (found: 0); "
        "give a number that is more than 0",
    ),
    (
        GOOD + "bandwidth_kbps: '10'\n",
        "chain.yaml:10: bandwidth_kbps: is text, a whole number is expected (found: \"10\"); "
        "write digits only, without quotes or a decimal point",
    ),
    (
        GOOD + "bandwidth_kbps: true\n",
        "chain.yaml:10: bandwidth_kbps: is true or false, a whole number is expected "
        "(found: true); write digits only, without quotes or a decimal point",
    ),
    (
        GOOD + "constraints:\n  affinity: [[guard, gard]]\n",
        "chain.yaml:11: constraints.affinity: 'gard' is no function of this chain "
        "(there are: guard, shape) (found: gard); correct it",
    ),
    (
        GOOD + "constraints:\n  affinity: [[guard]]\n",
        "chain.yaml:11: constraints.affinity[0]: has too few items; "
        "a pair of two function names is expected",
    ),
    (
        GOOD + "constraints:\n  countries: it\n",
        "chain.yaml:11: constraints.countries: is text, a list is expected (found: \"it\"); "
        "write [a, b], or one item a line, each after '- '",
    ),
    (
        GOOD + "constraints: 4\n",
        "chain.yaml:10: constraints: is a number, a mapping is expected (found: 4); "
        "write 'field: value' lines, indented",
    ),
    (
        changed(9, "    type: limiter\n    resources: {cpu: 4}"),
        "chain.yaml:10: functions[1].resources.cpu: unknown field 'cpu' (found: 4); "
        "the fields here are: cpu_milli, memory_mib",
    ),
    (
        GOOD + "chain: blog\n",
        "chain.yaml:10: field 'chain' is written twice (first on line 2) (found: chain); "
        "keep one of them",
    ),
    ("- 1\n", "chain.yaml:1: a chain is a mapping of fields; see docs/examples for a spec that works"),
    ("", "chain.yaml: there is no chain in it; see docs/examples"),
    ("\n\n# only a comment\n", "chain.yaml: there is no chain in it; see docs/examples"),
    (
        "tenant: acme\nchain: a: b\n",
        "chain.yaml:2: not YAML: mapping values are not allowed here; "
        "check the indentation, and put text that holds ': ' in quotes",
    ),
    (
        "tenant:\n\t- 1\n",
        "chain.yaml:2: not YAML: found character '\\\\t' that cannot start any token; "
        "indent with spaces, not tabs",
    ),
    (
        "a: 1\nb: &anchor 2\n",
        "chain.yaml:2: a YAML anchor (found: &anchor); remove it",
    ),
    ("a: *anchor\n", "chain.yaml:1: a YAML alias (found: *anchor); write the value out"),
    (
        "a: !!python/object/apply:os.system [ls]\n",
        "chain.yaml:1: a YAML tag (found: tag:yaml.org,2002:python/object/apply:os.system); "
        "remove it",
    ),
    ("a: .nan\n", "chain.yaml:1: infinity or not-a-number (found: .nan); give a finite number"),
    ("a: 1e999\n", "chain.yaml:1: a number too large (found: 1e999); give a smaller number"),
    (
        "a: 9223372036854775808\n",
        "chain.yaml:1: an integer beyond 64 bits (found: 9223372036854775808); "
        "give a smaller number",
    ),
    ("true: 2\n", "chain.yaml:1: a field name that is not text (found: true); put it in quotes"),
    ("? [a]\n: 2\n", "chain.yaml:1: a field name that is not text (found: a list or a mapping); "
     "put it in quotes"),
    (b"a: 1\nb: \xff\n", "chain.yaml:2: is not UTF-8 text (found: \\xff); save the file as UTF-8"),
    ("a: 1\nb: \x1b[31m\n", "chain.yaml:2: a character that YAML does not allow; remove it"),
]  # fmt: skip


@pytest.mark.parametrize("row", GOLDEN, ids=lambda row: str(row[1])[:70])
def test_every_mistake_is_told_in_full(row: tuple[str | bytes, ...]) -> None:
    """These sentences are the interface of bad input: each names place, field, value and fix."""
    assert told(row[0]) == list(row[1:])


def test_the_same_chain_twice_in_a_file_is_refused() -> None:
    """The later one would silently win."""
    assert told(f"{GOOD}---\n{GOOD}") == [
        "chain.yaml:12: chain: chain acme/shop is described twice (first on line 2) "
        "(found: shop); keep one of them, or rename one"
    ]


def test_all_mistakes_of_all_documents_are_told_at_once_up_to_a_limit() -> None:
    """A person corrects a file once, but a broken file of thousands does not flood a terminal."""
    two = told(changed(1, "tenant: A") + "---\n" + changed(2, "chain: B"))
    assert [line.split(":")[1] for line in two] == ["1", "12"]
    many = told("".join(f"x{index}: 1\n" for index in range(100)) + GOOD)
    assert len(many) == MAX_ERRORS + 1
    assert many[-1] == "chain.yaml: 80 more mistakes are not shown; correct these first"


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("10:20", "10:20"),
        ("2026-01-02", "2026-01-02"),
        ("0x1f", 31),
        ("0o17", 15),
        ("010", "010"),
        ("08", "08"),
        ("08.5", "08.5"),
        ("0", 0),
        ("-0.5", -0.5),
        ("1_000", "1_000"),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("~", None),
        ("true", True),
        ("'true'", "true"),
        ('"1"', "1"),
        ("-7", -7),
        ("9223372036854775807", 2**63 - 1),
        ("<<", "<<"),
        ("=", "="),
    ],
)
def test_plain_scalars_read_as_in_yaml_1_2(scalar: str, value: object) -> None:
    """YAML 1.1 turns Norway into false and a port pair into base sixty; a configuration must not. Its writers leave the
    text 08 unquoted, which 1.2 would read as a number: that, too, stays text."""
    text = GOOD + f"  - {{name: x, type: y, config: {{value: {scalar}}}}}\n"
    (loaded,) = parse(text.encode(), "chain.yaml").specs
    found = loaded.spec.functions[2].config["value"]
    assert found == value
    assert type(found) is type(value)


def test_a_file_at_the_limit_is_read_and_one_byte_more_is_not() -> None:
    """Both sides of the boundary."""
    filler = b"#" * (MAX_FILE_BYTES - len(GOOD))
    assert parse(GOOD.encode() + filler, "chain.yaml").errors == ()
    (error,) = parse(GOOD.encode() + filler + b"#", "chain.yaml").errors
    assert str(error) == (
        "chain.yaml: is 1048577 bytes, the limit is 1048576; split the file"
    )  # fmt: skip


def test_depth_is_bounded_before_anything_recurses() -> None:
    """100,000 brackets must cost an error message, not a stack."""
    assert told("[" * 100_000) == ["chain.yaml:1: nested deeper than 32 levels; flatten it"]
    deep = told("\n".join(" " * index + f"a{index}:" for index in range(200)))
    assert deep == ["chain.yaml:33: nested deeper than 32 levels; flatten it"]


def test_a_million_values_are_refused_by_count() -> None:
    """Memory is bounded by the number of values, not only by the bytes of the file."""
    assert told("a: [" + "1," * 60_000 + "]") == [
        "chain.yaml:1: more than 50000 values in one file; split the file"
    ]


def test_foreign_text_in_a_message_cannot_move_a_cursor() -> None:
    """Attack 20: file names, field names and values come from others."""
    parsed = parse(GOOD.encode() + b'"a\\e[2Jb": 1\n', "evil\x1b[2J.yaml")
    text = "".join(str(error) for error in parsed.errors)
    assert "\x1b" not in text
    assert r"evil\x1b[2J.yaml:10" in text
    assert r"unknown field 'a\x1b[2Jb'" in text


def test_nothing_is_offered_for_applying_while_there_is_an_error() -> None:
    """A caller that looks at ``errors`` first can never apply half of a file."""
    parsed: Parsed = parse(f"{GOOD}---\n{changed(1, 'tenant: A')}".encode(), "chain.yaml")
    assert len(parsed.errors) == 1
    assert [loaded.spec.chain for loaded in parsed.specs] == ["shop"]
