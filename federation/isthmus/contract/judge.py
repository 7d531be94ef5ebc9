"""What a component has written, judged by docs/spec.md (sections 2, 4, 5, 6, 7). Pure: entries and the time in,
sentences out; each is filed under the clause it breaks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from isthmus.contract.envelope import Envelope, schema_name
from isthmus.contract.errors import ContractError, KeyUnknown, ValueRefused
from isthmus.contract.families import (
    APPLIED,
    CONFIG,
    CONFIG_OWNERS,
    FAMILIES,
    LEASES,
    STATE,
    VNF_STATS,
)
from isthmus.contract.family import Tier
from isthmus.contract.instance import Applied, ConfigOwner, InstanceStats
from isthmus.contract.registry import MODELS, any_envelope, family_at, is_note, loose, read
from isthmus.contract.subject import Kind, Subject
from isthmus.identity.text import visible
from isthmus.kv.port import Entry
from isthmus.policy.errors import KeyRefused
from isthmus.policy.keys import ROOT, check_key

SKEW_S = 5.0
"""How far clocks of a tier may be apart."""

Finding = tuple[str, str]
"""Clause, sentence."""


def judge_entries(subject: Subject, entries: Sequence[Entry], now: float) -> Iterator[Finding]:
    """Each value that ``subject`` keeps at ``now`` (UTC seconds)."""
    for entry in entries:
        if _only_retained(subject, entry.key):
            continue
        for clause, text in _entry(subject, entry, now):
            yield clause, f"{visible(entry.key)}: {visible(text, 300)}"


def _entry(subject: Subject, entry: Entry, now: float) -> Iterator[Finding]:
    try:
        check_key(entry.key)
    except KeyRefused as refused:
        yield "K1", str(refused)
        return
    if is_note(subject.tier, entry.key):
        return  # the importer's own business (section 9)
    vendors = entry.key.startswith(f"{ROOT}x/")
    if not vendors:
        try:
            limit_bytes = family_at(subject.tier, entry.key).limit_bytes
        except KeyUnknown as unknown:
            yield "K3", str(unknown)
            return
        if len(entry.value) > limit_bytes:
            yield "V1", f"{len(entry.value)} bytes; the family takes at most {limit_bytes}"
            return
    try:
        _object(entry.value)
        raw = loose(entry.value)
    except ContractError as refused:
        yield "V1", str(refused)
        return
    version = list(_version(raw.schema_))
    yield from version
    if version:
        return
    try:
        held = any_envelope(entry.value) if vendors else read(subject.tier, entry.key, entry.value)
    except ContractError as refused:
        clause = "X1" if vendors else "V2"
        yield ("V8" if raw.schema_.startswith("Pointer/") else clause), str(refused)
        return
    if not _imported(subject.tier, entry.key):  # another's word: its origin and its age
        yield from _stamp(subject, held, now)
    if LEASES.parse(entry.key) is not None and not entry.lease_id:
        yield "L1", "leadership without a lease: it would outlive its holder"


def _only_retained(subject: Subject, key: str) -> bool:
    """The janitor may delete what others wrote; it is not its to answer for."""
    if subject.kind is not Kind.COMPONENT or subject.name != "janitor":
        return False
    return any(
        values.get("component") != subject.name
        for family in FAMILIES[subject.tier]
        if family.retention == "janitor" and (values := family.parse(key))
    )


def _imported(tier: Tier, key: str) -> bool:
    """Is this a copy of what another store's writer said?"""
    tails = (family for family in FAMILIES[tier] if family.tail)
    return any(family.parse(key) for family in tails)


def _object(value: bytes) -> None:
    """JSON proper: no doubled fields, no NaN; those read differently in different languages."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a field is there twice")
        return found

    def constant(name: str) -> float:
        raise ValueError(f"{name} is not a number in this contract")

    try:
        json.loads(value.decode("utf-8"), object_pairs_hook=once, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise ValueRefused(f"not JSON: {str(error)[:120]}") from None


def _version(schema: str) -> Iterator[Finding]:
    try:
        name, version = schema_name(schema)
    except ValueRefused as refused:
        yield "V7", str(refused)
        return
    known = MODELS.get(name)
    if known is not None and abs(version - known.SCHEMA_VERSION) > 1:
        yield "V7", f"version {version} of {name}, where {known.SCHEMA_VERSION} is published"


def _stamp(subject: Subject, held: Envelope[Any], now: float) -> Iterator[Finding]:
    if held.origin and held.origin.rsplit("/", 1)[-1] != subject.user:
        yield "V3", f"origin {held.origin!r} is not {subject.user!r}"
    if held.as_of > now + SKEW_S:
        yield "V4", f"as_of is {held.as_of - now:.0f} s in the future"
    if held.ttl_s and not held.as_of:
        yield "V4", f"ttl_s {held.ttl_s:g} without as_of: nobody can tell when it ends"
    elif held.expired(now - SKEW_S):
        late = held.age_s(now) - held.ttl_s
        yield "T1", f"neither renewed nor deleted: {late:.0f} s over its ttl_s of {held.ttl_s:g}"


def judge_change(before: Mapping[str, Entry], after: Sequence[Entry]) -> Iterator[Finding]:
    """Two looks at the same keys: what replaced a value must not be older than it."""
    for entry in after:
        old = before.get(entry.key)
        if old is None or old.mod_revision == entry.mod_revision:
            continue
        try:
            was, is_ = loose(old.value), loose(entry.value)
        except ContractError:
            continue  # filed under V1
        if is_.epoch < was.epoch:
            yield "V5", f"{visible(entry.key)}: epoch {is_.epoch} after {was.epoch}"
        if is_.as_of < was.as_of:
            yield "V5", f"{visible(entry.key)}: as_of went back by {was.as_of - is_.as_of:.3f} s"


def judge_function(instance: str, entries: Mapping[str, Entry]) -> Iterator[Finding]:
    """What a VNF says (``entries``: its own keys, its owner's, its configuration's), taken together."""
    owner_entry = entries.get(CONFIG_OWNERS.key(instance=instance))
    owner = "configurator" if owner_entry is None else _body(owner_entry, ConfigOwner).owner
    config = entries.get(CONFIG.key(owner=owner, instance=instance))
    said = entries.get(APPLIED.key(instance=instance))
    applied = None if said is None else _body(said, Applied)
    if config is not None:
        yield from _answer(applied, owner, config.mod_revision)
    yield from _reports(instance, entries, applied)


def _answer(applied: Applied | None, owner: str, revision: int) -> Iterator[Finding]:
    if applied is None:
        yield "N1", f"the configuration of revision {revision} is not answered in `applied`"
        return
    if revision not in (applied.config_revision, applied.refused_revision):
        yield (
            "N1",
            f"the configuration of revision {revision} is not answered: in force is "
            f"{applied.config_revision}, refused was {applied.refused_revision}",
        )
        return
    if applied.refused_revision == revision and not applied.error:
        yield "N1", f"revision {revision} was refused without an `error`"
    if applied.refused_revision == applied.config_revision:
        yield "N2", f"revision {revision} is in force and refused at once"
    if applied.config_revision == revision and applied.owner != owner:
        yield "N3", f"applied.owner is {applied.owner!r}, the owner is {owner!r}"


def _reports(
    instance: str, entries: Mapping[str, Entry], applied: Applied | None
) -> Iterator[Finding]:
    for name, family in (("state", STATE), ("stats", VNF_STATS)):
        entry = entries.get(family.key(instance=instance))
        if entry is None:
            yield "N4", f"`{name}` is not published"
            continue
        if not loose(entry.value).ttl_s:
            yield "N4", f"`{name}` has no ttl_s: it would be believed for ever"
        if family is VNF_STATS:
            stats = _body(entry, InstanceStats)
            if stats.source != "vnf":
                yield "N4", f"stats.source is {stats.source!r}"
            if applied is not None and stats.incarnation != applied.incarnation:
                yield (
                    "N4",
                    f"stats of life {stats.incarnation}, applied of life {applied.incarnation}",
                )


def _body(entry: Entry, model: type[Any]) -> Any:
    held = read(Tier.SITE, entry.key, entry.value).body
    if not isinstance(held, model):
        raise ValueRefused(f"{entry.key}: a {model.__name__} is expected")
    return held
