"""Which model belongs at which key: the registry of models, made from the table of families (DESIGN section 4).

A tool that meets a key it did not write (``isthmus conformance``, a backup, a dashboard) asks here what the value
must be. What arrives below ``remote/<peer>/`` is judged by the families of the tier it comes from.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from isthmus.contract.envelope import VALUE_LIMIT_BYTES, Body, Envelope, schema_name, unseal
from isthmus.contract.errors import KeyUnknown, ValueRefused
from isthmus.contract.families import FAMILIES
from isthmus.contract.family import Family, Tier, find
from isthmus.contract.pointer import Pointer
from isthmus.contract.scopes import DOWN, UP, crossing
from isthmus.policy.errors import KeyRefused
from isthmus.policy.keys import check_key


def _models() -> Mapping[str, type[Body]]:
    found: dict[str, type[Body]] = {Pointer.__name__: Pointer}
    for families in FAMILIES.values():
        for family in families:
            if family.model is not None:
                found[family.model.__name__] = family.model
    return MappingProxyType(dict(sorted(found.items())))


MODELS: Mapping[str, type[Body]] = _models()
"""Schema name to model: every body that may be stored, and :class:`~isthmus.contract.pointer.Pointer`."""

NOTE = "meta."
"""How the relative keys begin that an importer writes about a peer, not for it."""

_SMALLEST_LIMIT_BYTES = min(
    family.limit_bytes for families in FAMILIES.values() for family in families
)
_SENDERS = {
    Tier.SITE: ((Tier.GLOBAL, DOWN),),
    Tier.GLOBAL: ((Tier.SITE, UP), (Tier.GLOBAL, DOWN)),
}
"""Whose families arrive below ``remote/<peer>/``: a tier hears its sites, and a peer that asks it as if it were one."""


def family_at(tier: Tier, key: str) -> Family:
    """The family whose model the value at absolute ``key`` has; behind ``remote/<peer>/`` the sender's family.

    Raises KeyUnknown for a key outside the grammar or in no family.
    """
    try:
        check_key(key)
    except KeyRefused as refused:
        raise KeyUnknown(str(refused)) from None
    family, values = find(FAMILIES[tier], key)
    if not family.tail:
        return family
    rest = values["rest"]
    heard = (crossing(source, rest, way) for source, way in _SENDERS[tier])
    sender = next((family for family in heard if family is not None), None)
    if sender is None:
        raise KeyUnknown(f"{key[:200]!r}: nothing crosses as {values['rest'][:100]!r}")
    return sender


def check_size(key: str, value: bytes) -> None:
    """Raises ValueRefused when a value is over what its family takes, in whichever tier ``key`` is.

    Data that is larger belongs elsewhere, with a pointer to it in the store (R41).
    """
    if len(value) <= _SMALLEST_LIMIT_BYTES:
        return
    for families in FAMILIES.values():
        family = next((family for family in families if family.parse(key) is not None), None)
        if family is not None and len(value) > family.limit_bytes:
            raise ValueRefused(
                f"value of {len(value)} bytes for {key[:200]!r}; {family.name} takes at most {family.limit_bytes}: "
                "keep the data in a blob store and write a Pointer to it (isthmus.contract.pointer)"
            )


def is_note(tier: Tier, key: str) -> bool:
    """Is this an importer's own note (``remote/<peer>/meta.<name>``: session, resume token, synced marker)?"""
    found = [values for family in FAMILIES[tier] if family.tail and (values := family.parse(key))]
    return bool(found) and found[0]["rest"].startswith(NOTE) and "/" not in found[0]["rest"]


def read(tier: Tier, key: str, value: bytes) -> Envelope[Any]:
    """The envelope at ``key`` with the body that belongs there, or with a pointer to it.

    Raises KeyUnknown or ValueRefused.
    """
    family = family_at(tier, key)
    if len(value) > family.limit_bytes:
        raise ValueRefused(
            f"value of {len(value)} bytes; {family.name} takes at most {family.limit_bytes}"
        )
    assert family.model is not None, f"family {family.name} has no model"
    if loose(value).schema_.startswith(f"{Pointer.__name__}/"):
        return unseal(value, Pointer)
    return unseal(value, family.model)


def loose(value: bytes) -> Envelope[Any]:
    """The envelope of a value, whatever the body; raises ValueRefused for what is no envelope at all."""
    if len(value) > VALUE_LIMIT_BYTES:
        raise ValueRefused(f"value of {len(value)} bytes is over the limit of {VALUE_LIMIT_BYTES}")
    try:
        return Envelope[Body].model_validate_json(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueRefused(f"field {where or 'value'}: {first['msg'][:200]}") from None


def any_envelope(value: bytes) -> Envelope[Any]:
    """The envelope of a value whose body is somebody else's business; under one of our names it must be ours.

    Raises ValueRefused.
    """
    envelope = loose(value)
    name, _ = schema_name(envelope.schema_)
    return envelope if name not in MODELS else unseal(value, MODELS[name])
