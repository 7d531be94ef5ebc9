"""A key family: a pattern of keys with one model, one writer, its readers, and whether it crosses (DESIGN section 4).

Every pattern begins with literal segments, and the segments that bind a writer come before those that do not:
``runtime/{host}/{instance}`` is written by ``launcher.{host}``. So a writer's keys are one exact half-open range, and
the store itself can enforce "one writer per family" (ADR 0002).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, lru_cache

from isthmus.contract.envelope import VALUE_LIMIT_BYTES, Body
from isthmus.contract.errors import KeyUnknown
from isthmus.policy.keys import ROOT, check_segment

_VARIABLE = re.compile(r"\{([a-z_]+)\}")
_NAMES = {"owner": r"configurator|ems-[a-z0-9._-]+"}
"""Variables that not every component name may bind: only these may own a configuration."""


@cache
def _parts(pattern: str) -> tuple[tuple[str, bool], ...]:
    """The segments of a pattern: a literal, or the name of a variable (True). Every key that a controller hears of is
    held against many patterns, so they are read once."""
    found = ((part, _VARIABLE.fullmatch(part)) for part in pattern.rstrip("/").split("/"))
    return tuple((match.group(1), True) if match else (part, False) for part, match in found)


@lru_cache(maxsize=4096)
def _filled(pattern: str, values: tuple[str, ...]) -> str:
    """A controller asks for the same keys again and again; each is checked once."""
    given = iter(values)
    segments = [
        check_segment(next(given)) if variable else part for part, variable in _parts(pattern)
    ]
    return ROOT + "/".join(segments) + ("/" if pattern.endswith("/") else "")


class Tier(StrEnum):
    """Which store a family lives in."""

    SITE = "site"
    GLOBAL = "global"


@dataclass(frozen=True, slots=True)
class Family:
    """``pattern`` is relative to the root; ``writer`` and ``readers`` name components (templates over the pattern's
    variables); ``retention`` says who removes old keys. ``tail`` families end in an open sub-tree; ``limit_bytes`` is
    the size cap of one value."""

    name: str
    tier: Tier
    pattern: str
    writer: str
    readers: tuple[str, ...]
    model: type[Body] | None
    doc: str
    crosses: str = "no"
    retention: str = "writer"
    limit_bytes: int = VALUE_LIMIT_BYTES

    @property
    def tail(self) -> bool:
        """True for families such as ``remote/{peer}/`` whose keys below are another store's relative keys."""
        return self.pattern.endswith("/")

    @property
    def variables(self) -> tuple[str, ...]:
        """The pattern's variables in order."""
        return tuple(_VARIABLE.findall(self.pattern))

    def key(self, **values: str) -> str:
        """The absolute key with every variable filled in.

        Raises KeyRefused when a value is not a segment of the grammar, KeyError when one is missing.
        """
        template = _parts(self.pattern)
        return _filled(
            self.pattern, tuple([values[part] for part, variable in template if variable])
        )

    def prefix(self, **values: str) -> str:
        """The absolute prefix (ends in ``/``) up to the first variable that ``values`` leaves open; the exact key when
        none is left."""
        segments: list[str] = []
        for part, variable in _parts(self.pattern):
            if not variable:
                segments.append(part)
            elif part in values:
                segments.append(check_segment(values[part]))
            else:
                return ROOT + "/".join(segments) + "/"
        return ROOT + "/".join(segments) + ("/" if self.tail else "")

    def parse(self, key: str) -> dict[str, str] | None:
        """The variables of an absolute ``key`` of this family, or None for a foreign key. Tail families also give
        ``rest``, the relative key below."""
        template = _parts(self.pattern)
        if not key.startswith(template[0][0], len(ROOT)) or not key.startswith(ROOT):
            return None
        parts = key[len(ROOT) :].split("/")
        if len(parts) != len(template) and not (self.tail and len(parts) > len(template)):
            return None
        values: dict[str, str] = {}
        for part, (want, variable) in zip(parts, template, strict=False):
            if variable:
                values[want] = part
            elif part != want:
                return None
        if self.tail:
            values["rest"] = "/".join(parts[len(template) :])
        return values

    def bind(self, template: str, component: str) -> Mapping[str, str] | None:
        """The variables that make ``template`` (a writer or reader) equal ``component``, or None if nothing does."""
        expression = _VARIABLE.sub(
            lambda match: (
                f"(?P<{match.group(1)}>{_NAMES.get(match.group(1), '[a-z0-9][a-z0-9._-]*')})"
            ),
            re.sub(r"([.])", r"\\\1", template),
        )
        match = re.fullmatch(expression, component)
        return None if match is None else match.groupdict()


def find(families: tuple[Family, ...], key: str) -> tuple[Family, dict[str, str]]:
    """The family of an absolute key and its variables; raises KeyUnknown."""
    for family in families:
        values = family.parse(key)
        if values is not None:
            return family, values
    raise KeyUnknown(f"{key[:200]!r} belongs to no family of this contract")
