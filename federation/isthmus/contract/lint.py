"""What the table of families must keep, as rules that a machine checks (DESIGN section 4, ADR 0002).

The store enforces what the table says, so the table itself must be sound: one writer per family, no two writers on one
range, no vendor's name in the core, a cap on every value, a bound on the number of keys. Each rule has a name; a test
plants the mistake that it is there for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from isthmus.contract.envelope import VALUE_LIMIT_BYTES
from isthmus.contract.families import (
    FAMILIES,
    GLOBAL_COMPONENTS,
    HOST_COMPONENTS,
    SITE_COMPONENTS,
)
from isthmus.contract.family import Family, Tier
from isthmus.contract.scopes import crosses, exports
from isthmus.policy.keys import MAX_KEY_BYTES, MAX_SEGMENT_BYTES, ROOT, covers

_VARIABLE = re.compile(r"\{([a-z_]+)\}")
_LITERAL = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")

COMPONENTS: Mapping[Tier, tuple[str, ...]] = {
    Tier.SITE: (
        *SITE_COMPONENTS,
        *(f"{name}.{{host}}" for name in HOST_COMPONENTS),
        "instance.{instance}",
    ),
    Tier.GLOBAL: (*GLOBAL_COMPONENTS, "region.{region}"),
}
"""Who may be in the table: once per tier, per host, per instance, per region."""

FREE_WRITERS: Mapping[str, str] = {
    "{component}": "component",
    "{owner}": "owner",
}
"""Writers that the key itself names: each component below its own name, each owner below its own."""

BOUNDED_BY: Mapping[str, str] = {
    "tenant": "tenants",
    "chain": "chains admitted",
    "instance": "instances placed",
    "host": "hosts",
    "wire": "wires of the chains",
    "peer": "peers agreed upon",
    "site": "sites registered",
    "region": "regions",
    "source": "sites registered",
    "target": "sites registered",
    "number": "wires",
    "component": "components",
    "owner": "owners of configurations",
    "type": "VNF types",
    "version": "versions of VNF types",
}
"""What bounds how many values a variable takes. One that is not here grows with time."""

RETENTIONS: Mapping[str, str] = {
    "writer": "the writer, with the thing it describes",
    "lease": "the writer's lease",
    "janitor": "the janitor, oldest first",
}
_NAMES_OF_MAKERS = """
amazon ansible arista aws azure cisco contrail docker ericsson fortinet google haproxy huawei intel juniper k8s
kubernetes kvm linux mellanox microsoft nftables nokia nvidia openstack paloalto qemu ray redhat samsung toxiproxy
vmware vpp zte
"""
VENDORS = frozenset(_NAMES_OF_MAKERS.split())
"""Names of makers and products. A core family that has one works for one maker only (R10, R21)."""


@dataclass(frozen=True, slots=True)
class Finding:
    """``rule`` is broken by ``family`` of ``tier``."""

    rule: str
    tier: Tier
    family: str
    text: str

    def __str__(self) -> str:
        return f"{self.tier.value} family {self.family}: {self.text} [{self.rule}]"


def known(tier: Tier, component: str) -> bool:
    """Is ``component`` one of the table's, or an EMS? All others are vendors' own."""
    for template in (*COMPONENTS[tier], *(("ems-{name}",) if tier is Tier.SITE else ())):
        head, variable, _ = template.partition("{")
        if component == head if not variable else component.startswith(head) and component != head:
            return True
    return False


def lint(families: Mapping[Tier, tuple[Family, ...]] = FAMILIES) -> tuple[Finding, ...]:
    """Every broken rule of the table, in its order; none means sound."""
    found: list[Finding] = []
    for tier, table in families.items():
        for family in table:
            for rule, text in _judge(family):
                found.append(Finding(rule, tier, family.name, text))
        for rule, name, text in (*_doubled(table), *_overlaps(table), *_exported(table)):
            found.append(Finding(rule, tier, name, text))
    return tuple(found)


def _judge(family: Family) -> Iterator[tuple[str, str]]:
    yield from _pattern(family)
    yield from _writer(family)
    yield from _readers(family)
    yield from _vendor(family)
    yield from _bounds(family)


def _pattern(family: Family) -> Iterator[tuple[str, str]]:
    parts = family.pattern.removesuffix("/").split("/")
    for part in parts:
        if not (_VARIABLE.fullmatch(part) or _LITERAL.fullmatch(part)):
            yield (
                "grammar",
                f"segment {part!r} of {family.pattern!r} is neither literal nor variable",
            )
    if _VARIABLE.fullmatch(parts[0]):
        yield "literal-first", f"{family.pattern!r} begins with a variable; begin with a word"
    variables = family.variables
    if len(set(variables)) != len(variables):
        yield "grammar", f"{family.pattern!r} has a variable twice"
    binding = [name for name in _VARIABLE.findall(family.writer) if name in variables]
    if list(variables[: len(binding)]) != binding:
        yield (
            "literal-first",
            f"{family.pattern!r}: the variables that bind {family.writer!r} come first, or its "
            "rights are no single range",
        )


def _writer(family: Family) -> Iterator[tuple[str, str]]:
    writer = family.writer
    if not writer or re.search(r"[,|*\s]", writer):
        yield "one-writer", f"writer {writer!r} is not exactly one component"
    elif writer not in FREE_WRITERS and writer not in COMPONENTS[family.tier]:
        yield "known-component", f"writer {writer!r} is no component of this tier"
    unbound = [name for name in _VARIABLE.findall(writer) if name not in family.variables]
    if unbound:
        yield (
            "one-writer",
            f"writer {writer!r}: {unbound[0]!r} is not in {family.pattern!r}, so every such "
            "component would write the same keys",
        )


def _readers(family: Family) -> Iterator[tuple[str, str]]:
    known = {_VARIABLE.sub("{}", name) for name in COMPONENTS[family.tier]}
    for reader in family.readers:
        if _VARIABLE.sub("{}", reader) not in known:
            yield "known-component", f"reader {reader!r} is no component of this tier"
    if not family.readers:
        yield "known-component", "nobody reads it; then it need not be a key"
    if len(set(family.readers)) != len(family.readers):
        yield "known-component", "a reader is named twice"


def _vendor(family: Family) -> Iterator[tuple[str, str]]:
    words = set(re.split(r"[^a-z0-9]+", f"{family.name} {family.pattern} {family.writer}".lower()))
    for word in sorted(words & VENDORS):
        yield (
            "no-vendor",
            f"{word!r} is a vendor's or a product's name; it belongs below x/<vendor>/",
        )
    if family.pattern.split("/")[0] == "x":
        yield "no-vendor", "x/ is the vendors' own space"


def _bounds(family: Family) -> Iterator[tuple[str, str]]:
    if not 0 < family.limit_bytes <= VALUE_LIMIT_BYTES:
        yield "size-cap", f"limit_bytes={family.limit_bytes} is not within 1 to {VALUE_LIMIT_BYTES}"
    longest = _VARIABLE.sub("v" * MAX_SEGMENT_BYTES, ROOT + family.pattern)
    if not family.tail and len(longest) > MAX_KEY_BYTES:
        yield "size-cap", f"a key may have {len(longest)} bytes; the grammar allows {MAX_KEY_BYTES}"
    if family.model is None and not family.tail:
        yield "size-cap", "it has no model"
    if family.retention not in RETENTIONS:
        yield "retention", f"retention {family.retention!r} is none of {', '.join(RETENTIONS)}"
    growing = [name for name in family.variables if name not in BOUNDED_BY]
    if growing and family.retention != "janitor":
        yield "retention", f"keys by {growing[0]!r} grow with time; retention must be 'janitor'"
    if family.retention == "janitor" and "janitor" not in family.readers:
        yield "retention", "the janitor cannot see what it is to remove; make it a reader"
    if family.crosses != "no" and not crosses(family):
        yield (
            "crosses",
            f"crosses {family.crosses!r}: a site's go 'up', a global tier's 'down' or 'up'",
        )


def _doubled(table: Iterable[Family]) -> Iterator[tuple[str, str, str]]:
    """One line per family: a second one with the same name or keys would be a second writer."""
    names: set[str] = set()
    patterns: dict[str, str] = {}
    for family in table:
        anonymous = _VARIABLE.sub("{}", family.pattern)
        if family.name in names:
            yield "one-writer", family.name, "its name is used twice"
        if anonymous in patterns:
            yield "one-writer", family.name, f"has the keys of {patterns[anonymous]}"
        names.add(family.name)
        patterns[anonymous] = family.name


def _overlaps(table: tuple[Family, ...]) -> Iterator[tuple[str, str, str]]:
    """Ranges of different writers are disjoint. Free writers are tried under every name that is in the table."""
    ranges = [(family, *held) for family in table for held in _ranges(family, table)]
    for index, (family, writer, mine) in enumerate(ranges):
        for other, second, theirs in ranges[index + 1 :]:
            if writer != second and _overlap(mine, theirs):
                text = f"{writer} at {mine} and {second} of {other.name} at {theirs} overlap"
                yield "no-overlap", family.name, text


def _ranges(family: Family, table: tuple[Family, ...]) -> Iterator[tuple[str, str]]:
    free = FREE_WRITERS.get(family.writer)
    if free is None:
        names = _VARIABLE.findall(family.writer)
        for value in ("a", "b"):  # two of a kind must be apart, too
            bound = {name: value for name in names if name in family.variables}
            component = _VARIABLE.sub(value, family.writer)
            yield component, family.prefix(**bound)
            if not names:
                return
        return
    for writer in sorted({other.writer for other in table} - set(FREE_WRITERS)):
        component = _VARIABLE.sub("a", writer)
        if family.bind(family.writer, component) is not None:
            yield component, family.prefix(**{free: component})


def _overlap(one: str, two: str) -> bool:
    if one.endswith("/") and covers(one, two):
        return True
    return one == two or (two.endswith("/") and covers(two, one))


def _exported(table: tuple[Family, ...]) -> Iterator[tuple[str, str, str]]:
    """Nothing that stays at home lies below an export root: the filter could not tell it apart."""
    roots = [root.source for root in exports(table, "a")]
    for family in table:
        if crosses(family):
            continue
        bound = dict.fromkeys(family.variables, "a")
        key = family.key(**bound)
        for root in roots:
            if _overlap(root, key):
                yield "crosses", family.name, f"stays at home, but lies below export root {root}"
