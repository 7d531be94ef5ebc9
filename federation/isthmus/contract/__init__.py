"""The key contract: families, models, envelope, and what is generated from them (DESIGN section 4)."""

from isthmus.contract.envelope import (
    VALUE_LIMIT_BYTES,
    Body,
    Envelope,
    Stamp,
    seal,
    unseal,
    utc_seconds,
)
from isthmus.contract.errors import ComponentUnknown, ContractError, KeyUnknown, ValueRefused
from isthmus.contract.family import Family, Tier, find

__all__ = [
    "VALUE_LIMIT_BYTES",
    "Body",
    "ComponentUnknown",
    "ContractError",
    "Envelope",
    "Family",
    "KeyUnknown",
    "Stamp",
    "Tier",
    "ValueRefused",
    "find",
    "seal",
    "unseal",
    "utc_seconds",
]
