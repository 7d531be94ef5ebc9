"""Unknown fields survive at every depth, and versions are additive (R10, R11): any newer writer, any older reader."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.contract.chain import ChainRequest
from isthmus.contract.envelope import Body, Envelope, Stamp, schema_name, seal, unseal
from isthmus.contract.errors import ValueRefused
from isthmus.contract.registry import MODELS

STAMP = Stamp(origin="test", incarnation="1")
names = st.from_regex(r"x-[a-z]{1,8}", fullmatch=True)
plain: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
unknown = st.dictionaries(names, plain, max_size=3)


def request(at: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A chain request in which each level carries what ``at`` says."""
    function = {
        "name": "f",
        "type": "firewall",
        "resources": {"cpu_milli": 5, **at["resources"]},
        **at["function"],
    }
    spec = {
        "tenant": "t",
        "chain": "c",
        "ingress": {"attachment": "a", **at["end"]},
        "egress": {"attachment": "b"},
        "functions": [function],
        "constraints": {"sites": ["s"], **at["constraints"]},
        **at["spec"],
    }
    return {"schema": "ChainRequest/1", "body": {"spec": spec, **at["body"]}, **at["envelope"]}


LEVELS = ("resources", "function", "end", "constraints", "spec", "body", "envelope")


@given(st.fixed_dictionaries(dict.fromkeys(LEVELS, unknown)))
@settings(max_examples=60, deadline=None)
def test_unknown_fields_survive_a_reader_that_writes_back(at: dict[str, dict[str, Any]]) -> None:
    """At every depth, the ones that a person's text would be refused for included."""
    document = request(at)
    held = unseal(json.dumps(document).encode(), ChainRequest)
    back = json.loads(held.model_dump_json(by_alias=True))
    assert contains(back, document)
    sealed = json.loads(seal(held.body, STAMP, as_of=1.0))
    assert contains(sealed["body"], document["body"])


def contains(whole: Any, part: Any) -> bool:
    """Is everything of ``part`` in ``whole``, unchanged?"""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(
            name in whole and contains(whole[name], value) for name, value in part.items()
        )
    if isinstance(part, list):
        return len(whole) == len(part) and all(map(contains, whole, part))
    return bool(whole == part) and type(whole) is type(part)


@given(unknown)
@settings(max_examples=30, deadline=None)
def test_every_registered_model_carries_what_it_does_not_know(extra: dict[str, Any]) -> None:
    """No body of the registry may be stricter than the others: one such would stop a rolling upgrade."""
    for model in MODELS.values():
        assert model.model_config.get("extra") == "allow", model
        body = model.model_construct(**extra)
        assert contains(body.model_dump(mode="json", warnings=False), extra), model


def generation(version: int) -> type[Body]:
    """The model ``Thing`` as code of ``version`` has it: version n adds the field ``added_n``, with a default."""
    fields = {f"added_{n}": (int, n) for n in range(2, version + 1)}
    names = {"__annotations__": {"first": int} | {name: kind for name, (kind, _) in fields.items()}}
    defaults = {name: default for name, (_, default) in fields.items()}
    made = type("Thing", (Body,), {**names, **defaults, "__module__": __name__})
    assert issubclass(made, Body)
    made.SCHEMA_VERSION = version
    return made


@given(st.integers(1, 6), st.integers(1, 6), st.integers())
@settings(max_examples=80, deadline=None)
def test_readers_take_one_version_more_and_one_less(written: int, read: int, first: int) -> None:
    """Rolling upgrades go writer first or reader first; two versions apart nobody has tested."""
    writer, reader = generation(written), generation(read)
    value = seal(writer.model_validate({"first": first}), STAMP, as_of=1.0)
    if abs(written - read) > 1:
        with pytest.raises(ValueRefused, match="one version at a time"):
            unseal(value, reader)
        return
    held = unseal(value, reader)
    fields = held.body.model_dump()
    assert fields["first"] == first
    assert all(fields[f"added_{n}"] == n for n in range(2, max(written, read) + 1))
    assert held.schema_ == f"Thing/{written}"


@given(st.text(max_size=20))
def test_a_schema_is_a_name_and_a_positive_version_or_refused(text: str) -> None:
    """Foreign text never crashes its reader."""
    try:
        name, version = schema_name(text)
    except ValueRefused:
        return
    assert name
    assert version >= 1
    assert text.startswith(f"{name}/{version}"[:10])


@pytest.mark.parametrize(
    "schema", ["", "Thing", "Thing/", "Thing/0", "Thing/-1", "Thing/1.0", "/1", "Thing/٣"]
)
def test_what_is_no_schema_is_refused(schema: str) -> None:
    """Each a way in which a vendor may get it wrong."""
    document = {"schema": schema, "body": {"first": 1}}
    with pytest.raises(ValueRefused):
        unseal(json.dumps(document).encode(), generation(1))


def test_a_value_without_optional_fields_is_a_value() -> None:
    """`schema` and `body` are all that a function in a shell script has to write."""
    held: Envelope[Body] = unseal(b'{"schema":"Thing/1","body":{"first":1}}', generation(1))
    assert (held.ttl_s, held.generation, held.origin) == (0.0, 1, "")
