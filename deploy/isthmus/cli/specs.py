"""Chain specs as people write them: YAML text in, checked specs or precise refusals out (issue 3, point 8).

An error names file, line, field, value and the fix, and all errors of all documents are told at once, so that a person
corrects a file once and not field by field. The models are the key contract's (:class:`ChainSpec`); what is accepted
here is exactly what the API accepts. Pure: the reading of files is the command's business.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from pydantic import ValidationError

from isthmus.cli.spec_nodes import Document, YamlRefused, documents
from isthmus.contract.chain import ChainSpec
from isthmus.contract.problems import Path, Problem, field_text, refusals
from isthmus.identity.text import visible

MAX_FILE_BYTES = 1024 * 1024
"""A thousand chains fit; a larger file is a mistake or an attack, and reading it costs seconds."""
MAX_ERRORS = 20
"""So many are told of one file; the rest is counted."""


@dataclass(frozen=True, slots=True)
class SpecError:
    """One mistake in one file. ``line`` counts from 1 (0: the file itself); every text is safe to show."""

    file: str
    line: int
    field: str
    value: str
    message: str
    fix: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        field = f"{self.field}: " if self.field else ""
        value = f" (found: {self.value})" if self.value else ""
        return f"{place}: {field}{self.message}{value}; {self.fix}"


@dataclass(frozen=True, slots=True)
class LoadedSpec:
    """A checked spec, the file it came from and the line of every field in it."""

    spec: ChainSpec
    file: str
    line: int
    lines: dict[Path, int]


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a file gave: nothing of it may be applied while there are ``errors``."""

    specs: tuple[LoadedSpec, ...]
    errors: tuple[SpecError, ...]


def parse(data: bytes, file: str) -> Parsed:
    """The specs in the bytes of ``file`` (its name, for the errors), or every mistake in it."""
    name = visible(file)
    text, refused = _text(data, name)
    if refused is not None:
        return Parsed((), (refused,))
    specs: list[LoadedSpec] = []
    errors: list[SpecError] = []
    try:
        for document in documents(text):
            _document(document, name, specs, errors)
    except YamlRefused as error:
        found = visible(error.found, 60)
        errors.append(SpecError(name, error.line, "", found, error.message, error.fix))
    if not specs and not errors:
        errors.append(SpecError(name, 0, "", "", "there is no chain in it", "see docs/examples"))
    errors.extend(_doubled(specs, name))
    return Parsed(tuple(specs), _cut(sorted(errors, key=lambda error: error.line), name))


def _text(data: bytes, name: str) -> tuple[str, SpecError | None]:
    if len(data) > MAX_FILE_BYTES:
        size = f"is {len(data)} bytes, the limit is {MAX_FILE_BYTES}"
        return "", SpecError(name, 0, "", "", size, "split the file")
    try:
        return data.decode("utf-8-sig"), None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found = visible(data[error.start : error.start + 1])
        return "", SpecError(name, line, "", found, "is not UTF-8 text", "save the file as UTF-8")


def _document(
    document: Document, name: str, specs: list[LoadedSpec], errors: list[SpecError]
) -> None:
    if document.value is None:
        return
    if not isinstance(document.value, dict):
        message, fix = "a chain is a mapping of fields", "see docs/examples for a spec that works"
        errors.append(SpecError(name, document.line, "", "", message, fix))
        return
    try:
        spec = ChainSpec.written(json.dumps(document.value))
    except ValidationError as error:
        found = refusals(error, ChainSpec)
        errors.extend(_located(problem, document, name) for problem in found)
        return
    specs.append(LoadedSpec(spec, name, document.line, document.lines))


def _located(problem: Problem, document: Document, name: str) -> SpecError:
    line = _line(problem, document)
    field = field_text(problem.path)
    return SpecError(name, line, field, problem.value, problem.message, problem.fix)


def _line(problem: Problem, document: Document) -> int:
    """Of a rule over several fields: where its value was written last; else where the field is."""
    if problem.code == "inconsistent" and problem.value:
        places = [
            line
            for path, line in document.lines.items()
            if path[: len(problem.path)] == problem.path
            and _at(document.value, path) == problem.value
        ]
        if places:
            return max(places)
    return document.line_of(problem.path)


def _at(value: object, path: Path) -> object:
    for part in path:
        if isinstance(value, dict) and isinstance(part, str):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int):
            value = value[part]
    return value


def _doubled(specs: list[LoadedSpec], name: str) -> list[SpecError]:
    """The same chain twice in one file: which one is meant?"""
    first: dict[tuple[str, str], int] = {}
    errors = []
    for loaded in specs:
        key = (loaded.spec.tenant, loaded.spec.chain)
        line = loaded.lines.get(("chain",), loaded.line)
        if key in first:
            message = f"chain {'/'.join(key)} is described twice (first on line {first[key]})"
            fix = "keep one of them, or rename one"
            errors.append(SpecError(name, line, "chain", key[1], message, fix))
        first.setdefault(key, line)
    return errors


def _cut(errors: list[SpecError], name: str) -> tuple[SpecError, ...]:
    if len(errors) <= MAX_ERRORS:
        return tuple(errors)
    more = f"{len(errors) - MAX_ERRORS} more mistakes are not shown"
    return (*errors[:MAX_ERRORS], SpecError(name, 0, "", "", more, "correct these first"))
