"""What can go wrong between a network function, its configuration and its kernel.

VnfError
|-- ConfigRefused     a configuration names a field, the value that is wrong, and the fix
|-- TypeUnknown       no registered function has this type and version
|-- DescriptorRefused a descriptor contradicts itself or is registered twice
|-- FolderRefused     an instance folder cannot be used (yet): a file is missing or wrong
|-- NamespaceMissing  the instance's network namespace is not there
`-- KernelRefused     the kernel did not accept a ruleset; what was in force still is
"""

from __future__ import annotations

from isthmus.identity.text import visible


class VnfError(Exception):
    """Base of everything a network function or its agent refuses."""


class ConfigRefused(VnfError):
    """``field`` of a configuration has a ``value`` that cannot be; ``fix`` says what would do."""

    def __init__(self, field: str, value: object, fix: str) -> None:
        self.field = field
        self.value = value
        self.fix = fix
        super().__init__(f"{visible(field)}: {visible(repr(value), 80)} is refused; {fix}")


class TypeUnknown(VnfError):
    """No function of this type and version is registered here."""


class DescriptorRefused(VnfError):
    """A descriptor contradicts itself, or its type and version are taken."""


class FolderRefused(VnfError):
    """An instance folder is incomplete or malformed; it is looked at again when it changes."""


class NamespaceMissing(VnfError):
    """The network namespace of an instance is not there (not yet, or not any more)."""


class KernelRefused(VnfError):
    """The kernel refused a ruleset or queue; the message is its first complaint."""
