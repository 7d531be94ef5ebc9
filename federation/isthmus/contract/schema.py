"""JSON Schema of every model, for whoever does not read Python (R10, R46); and what makes a change of one additive.

``docs/schema.json`` holds the envelope and all bodies, generated. Unknown fields are allowed in it, as they are in the
store (R11). :func:`breaks` compares two generations of that file: a field that goes, changes its type or becomes
required would strand the readers and writers of version ``n-1``, so the generator refuses it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from isthmus.contract.envelope import VALUE_LIMIT_BYTES, Body, Envelope
from isthmus.contract.registry import MODELS

DIALECT = GenerateJsonSchema.schema_dialect
Schema = Mapping[str, Any]


def document() -> dict[str, Any]:
    """The envelope under ``Envelope``, each model under its schema name, all in ``$defs``."""
    wanted: list[type[BaseModel]] = [Envelope[Body], *MODELS.values()]
    modes = [(model, "validation") for model in wanted]
    _, whole = models_json_schema(modes, ref_template="#/$defs/{model}")  # type: ignore[arg-type]
    definitions = dict(whole["$defs"])
    envelope = definitions.pop("Envelope_Body_")
    envelope["title"] = "Envelope"
    envelope["properties"]["body"] = {"type": "object", "description": "as `schema` says"}
    definitions.pop("Body", None)
    definitions["Envelope"] = envelope
    for name, model in MODELS.items():
        definitions[name]["x-schema"] = f"{name}/{model.SCHEMA_VERSION}"
    return {
        "$schema": DIALECT,
        "title": "Values of Isthmus",
        "description": "Generated from isthmus.contract; do not edit. A value is JSON, an Envelope whose body is "
        f"what `schema` names, at most {VALUE_LIMIT_BYTES} bytes.",
        "$ref": "#/$defs/Envelope",
        "$defs": dict(sorted(definitions.items())),
    }


def render() -> str:
    """The document as text: the same bytes from the same models."""
    return json.dumps(document(), indent=1, sort_keys=True, ensure_ascii=True) + "\n"


def closed(model: type[BaseModel]) -> dict[str, Any]:
    """The schema of ``model`` for what people write: unknown fields refused at every depth, as
    ``ChainSpec.written`` does."""
    schema = model.model_json_schema()
    for part in (schema, *schema.get("$defs", {}).values()):
        if "properties" in part:
            part["additionalProperties"] = False
    return schema


def breaks(old: Schema, new: Schema) -> tuple[str, ...]:
    """Why ``new`` is not ``old`` plus something; empty when it is additive."""
    return tuple(_breaks(old.get("$defs", {}), new.get("$defs", {})))


def _breaks(old: Mapping[str, Schema], new: Mapping[str, Schema]) -> Iterator[str]:
    for name, before in sorted(old.items()):
        after = new.get(name)
        if after is None:
            yield f"{name}: the model is gone; stored values of it could not be read"
            continue
        yield from _values(name, before, after)
        yield from _fields(name, before, after)


def _values(name: str, before: Schema, after: Schema) -> Iterator[str]:
    lost = [value for value in before.get("enum", ()) if value not in after.get("enum", ())]
    if lost:
        yield f"{name}: value {lost[0]!r} is gone; stored values have it"


def _fields(name: str, before: Schema, after: Schema) -> Iterator[str]:
    had, has = before.get("properties", {}), after.get("properties", {})
    for field, was in sorted(had.items()):
        if field not in has:
            yield f"{name}.{field}: the field is gone; keep it, and say that it is not used"
        elif _shape(was) != _shape(has[field]):
            yield f"{name}.{field}: another type; add a field of another name"
        else:
            yield from _values(f"{name}.{field}", was, has[field])
            if _tighter(was, has[field]):
                yield f"{name}.{field}: a tighter bound; values that were good would be refused"
    for field in sorted(set(after.get("required", ())) - set(before.get("required", ()))):
        yield f"{name}.{field}: is required now; older writers leave it out, so give it a default"


_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems")
_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")


def _tighter(was: Schema, now: Schema) -> bool:
    """Does ``now`` refuse something that ``was`` took? A new or another pattern counts as if it did."""
    unbounded = float("inf")
    return (
        any(now.get(name, -unbounded) > was.get(name, -unbounded) for name in _LOWER)
        or any(now.get(name, unbounded) < was.get(name, unbounded) for name in _UPPER)
        or ("pattern" in now and now["pattern"] != was.get("pattern"))
    )


def _shape(schema: object) -> object:
    """The types in a schema, without bounds, texts and defaults."""
    if isinstance(schema, Mapping):
        kept = ("type", "$ref", "anyOf", "items", "additionalProperties", "prefixItems")
        return {key: _shape(schema[key]) for key in kept if key in schema}
    if isinstance(schema, list | tuple):
        return [_shape(part) for part in schema]
    return schema
