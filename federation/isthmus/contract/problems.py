"""What a model refuses, in words a person can act on: field, value, what is wrong, how to put it right.

The API and the command must say the same about the same mistake (DESIGN section 7: the command uses nothing but the
API, and still names file and line), so both ask here. Pure: a pydantic error or a plain document in, problems out.
Foreign text is escaped wherever it is shown (GUARANTEES attack 20).
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from isthmus.identity.text import visible

Path = tuple[str | int, ...]

MAX_DEPTH = 32
"""Deeper documents are refused: no chain needs it, and depth is what breaks recursive readers."""
MAX_INTEGER = 2**63 - 1
"""Beyond it other languages' JSON readers lose digits or fail; a VNF may be written in any language."""
MAX_SHOWN = 60

_ABOUT = re.compile(r"^(?:Value error, )?([a-z_]+(?:[.][a-z_]+)*): (.*)$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake. ``field`` is dotted text (``functions[1].type``; empty: the document itself), ``path`` the same as
    data, ``value`` what was found there, already safe to show."""

    code: str
    path: Path
    value: str
    message: str
    fix: str

    @property
    def field(self) -> str:
        """The path as people write it."""
        return field_text(self.path)


def field_text(path: Path) -> str:
    """``("functions", 1, "type")`` as ``functions[1].type``, safe to show."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + visible(part, MAX_SHOWN)
    return text


def shown(value: object) -> str:
    """A found value as one short line of JSON, safe to show."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):
        text = type(value).__name__
    return visible(text, MAX_SHOWN)


def refusals(error: ValidationError, model: type[BaseModel]) -> tuple[Problem, ...]:
    """Every mistake that ``error`` reports about a document that should have been a ``model``."""
    found = [_problem(dict(detail), model) for detail in error.errors(include_url=False)]
    return tuple(problem for problem in found if not _follows(problem, found))


def _follows(problem: Problem, found: list[Problem]) -> bool:
    """A list whose items were refused is then called too short: only the items are the mistake."""
    depth = len(problem.path)
    return problem.code == "too-short" and any(
        len(other.path) > depth and other.path[:depth] == problem.path for other in found
    )


def not_plain(document: object) -> Problem | None:
    """The first thing in ``document`` that is no plain JSON (depth, size of integers, NaN, names), or None."""
    stack: list[tuple[Path, object]] = [((), document)]
    while stack:
        path, value = stack.pop()
        if len(path) > MAX_DEPTH:
            return _refuse(
                "too-deep",
                path[:4],
                None,
                f"is nested deeper than {MAX_DEPTH} levels",
                "flatten it",
            )
        if isinstance(value, Mapping):
            stack.extend(((*path, str(key)), item) for key, item in value.items())
        elif isinstance(value, list | tuple):
            stack.extend(((*path, index), item) for index, item in enumerate(value))
        else:
            found = _bad_scalar(path, value)
            if found is not None:
                return found
    return None


def _bad_scalar(path: Path, value: object) -> Problem | None:
    if isinstance(value, float) and not math.isfinite(value):
        return _refuse(
            "not-a-number",
            path,
            None,
            f"is {value!r}, which JSON does not know",
            "give a finite number",
        )
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > MAX_INTEGER:
        return _refuse(
            "out-of-range", path, None, "is an integer beyond 64 bits", "give a smaller number"
        )
    if isinstance(value, str) and any(0xD800 <= ord(char) <= 0xDFFF for char in value):
        return _refuse(
            "wrong-text", path, None, "holds half a surrogate pair", "write valid Unicode text"
        )
    return None


def _refuse(code: str, path: Path, value: object, message: str, fix: str) -> Problem:
    return Problem(code, path, "" if value is None else shown(value), message, fix)


def _problem(detail: dict[str, Any], model: type[BaseModel]) -> Problem:
    kind = str(detail["type"])
    path: Path = tuple(detail["loc"])
    if kind == "value_error":
        return _inconsistent(path, detail)
    found = detail.get("input")
    context: Mapping[str, Any] = detail.get("ctx") or {}
    if kind == "extra_forbidden":
        return _unknown(path, found, model_at(model, path[:-1]))
    if kind == "missing":
        return _missing(path)
    wording = _WORDING.get(kind)
    if wording is None:
        return _refuse(
            kind.replace("_", "-"), path, found, str(detail["msg"]).lower(), "see docs/api.md"
        )
    code, message, fix = wording(found, context)
    return _refuse(code, path, found, message, fix)


def _inconsistent(path: Path, detail: dict[str, Any]) -> Problem:
    """A model's own rule: its text is ``field: what is wrong; how to put it right``."""
    match = _ABOUT.match(str(detail["msg"]))
    if match is None:
        return Problem("inconsistent", path, "", visible(str(detail["msg"])), "see docs/api.md")
    message, _, fix = match.group(2).partition("; ")
    where = (*path, *match.group(1).split("."))
    quoted = re.search(r"'([^']*)'", message)
    value = quoted.group(1) if quoted else ""
    return Problem(
        "inconsistent",
        where,
        visible(value, MAX_SHOWN),
        visible(message),
        visible(fix) or "correct it",
    )


def _unknown(path: Path, found: object, owner: type[BaseModel] | None) -> Problem:
    name = str(path[-1])
    fields = sorted(owner.model_fields) if owner is not None else []
    close = difflib.get_close_matches(name, fields, n=1, cutoff=0.6)
    fix = f"did you mean '{close[0]}'?" if close else f"the fields here are: {', '.join(fields)}"
    return _refuse("unknown-field", path, found, f"unknown field '{visible(name, MAX_SHOWN)}'", fix)


def _missing(path: Path) -> Problem:
    if path and isinstance(path[-1], int):
        return Problem(
            "too-short",
            path[:-1],
            "",
            "has too few items",
            "a pair of two function names is expected",
        )
    return Problem("missing", path, "", "is missing", f"add '{field_text(path[-1:])}'")


def model_at(model: type[BaseModel], path: Path) -> type[BaseModel] | None:
    """The model whose fields are expected below ``path``, or None where anything may be."""
    current: type[BaseModel] | None = model
    for part in path:
        if isinstance(part, int):
            continue
        if current is None or part not in current.model_fields:
            return None
        current = _model_in(current.model_fields[part].annotation)
    return current


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        found = _model_in(argument)
        if found is not None:
            return found
    return None


Wording = Callable[[object, Mapping[str, Any]], tuple[str, str, str]]


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    return "a mapping" if isinstance(value, Mapping) else "a list"


def _type(expected: str, fix: str) -> Wording:
    def wording(value: object, _: Mapping[str, Any]) -> tuple[str, str, str]:
        return "wrong-type", f"is {_kind(value)}, {expected} is expected", fix

    return wording


def _text(value: object, _: Mapping[str, Any]) -> tuple[str, str, str]:
    scalar = isinstance(value, bool | int | float)
    fix = f'put it in quotes: "{json.dumps(value)}"' if scalar else "write one word"
    if isinstance(value, float):  # 0e0 was written, and 0.0 is another name
        fix = "put it in quotes, as it is written"
    return "wrong-type", f"is {_kind(value)}, text is expected", fix


def _name(_: object, __: Mapping[str, Any]) -> tuple[str, str, str]:
    return (
        "not-a-name",
        "is not a name",
        "use 1 to 63 of a-z 0-9 . _ - and begin with a letter or a digit",
    )


def _bound(word: str, key: str) -> Wording:
    def wording(_: object, context: Mapping[str, Any]) -> tuple[str, str, str]:
        limit = f"{context[key]:g}" if isinstance(context[key], float) else str(context[key])
        return "out-of-range", f"must be {word} {limit}", f"give a number that is {word} {limit}"

    return wording


def _length(word: str, key: str) -> Wording:
    def wording(_: object, context: Mapping[str, Any]) -> tuple[str, str, str]:
        text = f"{word} {context[key]}"
        code = "too-short" if word == "at least" else "too-long"
        return (
            code,
            f"must have {text} items, has {context.get('actual_length', '?')}",
            f"give {text}",
        )

    return wording


def _choice(value: object, context: Mapping[str, Any]) -> tuple[str, str, str]:
    allowed = re.findall(r"'([^']*)'", str(context.get("expected", "")))
    close = difflib.get_close_matches(str(value), allowed, n=1, cutoff=0.6)
    fix = f"did you mean '{close[0]}'?" if close else f"choose one of: {', '.join(allowed)}"
    return "not-allowed", f"must be one of: {', '.join(allowed)}", fix


_WHOLE = _type("a whole number", "write digits only, without quotes or a decimal point")
_NUMBER = _type("a number", "write digits, without quotes")
_LIST = _type("a list", "write [a, b], or one item a line, each after '- '")
_MAPPING = _type("a mapping", "write 'field: value' lines, indented")

_WORDING: dict[str, Wording] = {
    "string_type": _text,
    "string_pattern_mismatch": _name,
    "string_too_short": _name,
    "string_too_long": _name,
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": _NUMBER,
    "bool_type": _type("true or false", "write true or false, without quotes"),
    "tuple_type": _LIST,
    "list_type": _LIST,
    "dict_type": _MAPPING,
    "model_type": _MAPPING,
    "model_attributes_type": _MAPPING,
    "greater_than": _bound("more than", "gt"),
    "greater_than_equal": _bound("at least", "ge"),
    "less_than": _bound("less than", "lt"),
    "less_than_equal": _bound("at most", "le"),
    "too_short": _length("at least", "min_length"),
    "too_long": _length("at most", "max_length"),
    "enum": _choice,
    "literal_error": _choice,
}
