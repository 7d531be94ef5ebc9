"""YAML as data with line numbers, and nothing else of YAML (GUARANTEES attack 20).

A spec file is JSON that people like to type. So tags, anchors, aliases and merge keys are refused (no objects, no
"billion laughs"), a key that is written twice is an error instead of a silent winner, and plain scalars read as in
YAML 1.2: ``no`` is the text "no" (Norway's code), ``10:20`` no number in base sixty, and a date is text.
The composer of PyYAML gives nodes with marks; this module turns them into plain values and remembers every line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from isthmus.contract.problems import MAX_DEPTH, MAX_INTEGER, Path
from isthmus.identity.text import visible

MAX_NODES = 50_000
"""Of one file. A chain has some fifty; a thousand chains in one file are still within it."""

_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,19})")
"""Unlike YAML 1.2, no leading zeros: writers of YAML 1.1 leave the *text* 08 without quotes, and a name that comes back
as 8 is another name. Who means a number writes 8."""
_OCTAL = re.compile(r"0o([0-7]{1,21})")
_HEX = re.compile(r"0x([0-9a-fA-F]{1,16})")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,3})?")
_LONG = re.compile(r"[-+]?[0-9]{21,}")
_NO_NUMBER = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_TRUE, _FALSE = frozenset({"true", "True", "TRUE"}), frozenset({"false", "False", "FALSE"})
_NULL = frozenset({"", "~", "null", "Null", "NULL"})


class YamlRefused(Exception):
    """The text is no plain YAML; ``line`` counts from 1, ``found`` is what is there, ``fix`` the way out."""

    def __init__(self, line: int, message: str, fix: str, *, found: str = "") -> None:
        super().__init__(message)
        self.line = line
        self.message = message
        self.fix = fix
        self.found = found


@dataclass(slots=True)
class Document:
    """One YAML document: its plain value, the line of every field (by path), and the line it begins on."""

    value: object
    line: int
    lines: dict[Path, int] = field(default_factory=dict)

    def line_of(self, path: Path) -> int:
        """The line of ``path``, or of the nearest field around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, self.line)


class _Composer(yaml.SafeLoader):
    """PyYAML's composer, which refuses what a spec never needs before it is built."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0
        self.count = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise YamlRefused(line, "a YAML alias", "write the value out", found=f"*{event.anchor}")
        if event.anchor is not None:
            raise YamlRefused(line, "a YAML anchor", "remove it", found=f"&{event.anchor}")
        if event.tag is not None:
            raise YamlRefused(line, "a YAML tag", "remove it", found=str(event.tag))
        self.depth += 1
        self.count += 1
        if self.depth > MAX_DEPTH + 1:
            raise YamlRefused(line, f"nested deeper than {MAX_DEPTH} levels", "flatten it")
        if self.count > MAX_NODES:
            raise YamlRefused(line, f"more than {MAX_NODES} values in one file", "split the file")
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


def documents(text: str) -> Iterator[Document]:
    """The documents of ``text`` in order; raises YamlRefused at the first thing that is no plain YAML."""
    try:
        loader = _Composer(text)
        while loader.check_node():
            node = loader.get_node()
            assert node is not None  # check_node said that there is one
            document = Document(None, node.start_mark.line + 1)
            document.value = _plain(node, (), document.lines)
            yield document
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 1
        raise YamlRefused(line, f"not YAML: {visible(str(error.problem))}", _hint(error)) from None
    except yaml.YAMLError as error:
        line = text.count("\n", 0, getattr(error, "position", 0) or 0) + 1
        raise YamlRefused(line, "a character that YAML does not allow", "remove it") from error


def _hint(error: yaml.MarkedYAMLError) -> str:
    problem = str(error.problem)
    if "\\t" in problem or "tab" in problem:
        return "indent with spaces, not tabs"
    if "mapping values are not allowed" in problem:
        return "check the indentation, and put text that holds ': ' in quotes"
    return "check the indentation and the quotes near this line"


def _plain(node: Node, path: Path, lines: dict[Path, int]) -> object:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, MappingNode):
        return _mapping(node, path, lines)
    if isinstance(node, SequenceNode):
        return [_plain(item, (*path, index), lines) for index, item in enumerate(node.value)]
    assert isinstance(node, ScalarNode)
    return _scalar(node)


def _mapping(node: MappingNode, path: Path, lines: dict[Path, int]) -> dict[str, object]:
    result: dict[str, object] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        key = _scalar(key_node) if isinstance(key_node, ScalarNode) else None
        if not isinstance(key, str):
            found = key_node.value if isinstance(key_node, ScalarNode) else "a list or a mapping"
            raise YamlRefused(
                line, "a field name that is not text", "put it in quotes", found=found
            )
        if key in result:
            first = lines[(*path, key)]
            raise YamlRefused(
                line,
                f"field '{visible(key)}' is written twice (first on line {first})",
                "keep one of them",
                found=key,
            )
        lines[(*path, key)] = line
        result[key] = _plain(value_node, (*path, key), lines)
    return result


def _scalar(node: ScalarNode) -> object:
    """A scalar as in YAML 1.2's core schema; whatever is quoted is text."""
    text = str(node.value)
    if node.style is not None:
        return text
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _NO_NUMBER.fullmatch(text):
        raise YamlRefused(
            node.start_mark.line + 1, "infinity or not-a-number", "give a finite number", found=text
        )
    return _number(text, node.start_mark.line + 1)


def _number(text: str, line: int) -> object:
    value: int | None = None
    if _INTEGER.fullmatch(text):
        value = int(text)
    elif (octal := _OCTAL.fullmatch(text)) is not None:
        value = int(octal.group(1), 8)
    elif (hexadecimal := _HEX.fullmatch(text)) is not None:
        value = int(hexadecimal.group(1), 16)
    if _LONG.fullmatch(text) or (value is not None and abs(value) > MAX_INTEGER):
        raise YamlRefused(line, "an integer beyond 64 bits", "give a smaller number", found=text)
    if value is not None:
        return value
    return _finite(text, line) if _FLOAT.fullmatch(text) else text


def _finite(text: str, line: int) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise YamlRefused(line, "a number too large", "give a smaller number", found=text)
    return value
