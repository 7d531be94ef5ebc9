"""What a contract refuses.

ContractError
|-- ValueRefused      a value is too large, no JSON, of another schema, or a field is wrong
|-- PointerRefused    a pointer, or the data behind it, is not what it must be; the blob store is full
|-- KeyUnknown        no family of this tier has such a key
`-- ComponentUnknown  no family names this component as writer or reader
"""

from __future__ import annotations


class ContractError(Exception):
    """Base of all refusals of the key contract."""


class ValueRefused(ContractError):
    """The value does not keep the contract; the message names the schema and the field."""


class PointerRefused(ContractError):
    """A pointer cannot be followed, or what lies there is not what it says."""


class KeyUnknown(ContractError):
    """The key belongs to no family of this tier."""


class ComponentUnknown(ContractError):
    """The component is not in the contract of this tier."""
