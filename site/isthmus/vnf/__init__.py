"""What a network function stands on: descriptor, relay to the store, client, agent, conformance (DESIGN section 5).

See ``docs/vnf-authors.md`` for a function in one page.
"""

from isthmus.vnf.descriptor import (
    Component,
    Descriptor,
    KernelFunction,
    Parameters,
    Registry,
    check_parameters,
)
from isthmus.vnf.errors import (
    ConfigRefused,
    DescriptorRefused,
    FolderRefused,
    KernelRefused,
    NamespaceMissing,
    TypeUnknown,
    VnfError,
)
from isthmus.vnf.program import Mark, Program

__all__ = [
    "Component",
    "ConfigRefused",
    "Descriptor",
    "DescriptorRefused",
    "FolderRefused",
    "KernelFunction",
    "KernelRefused",
    "Mark",
    "NamespaceMissing",
    "Parameters",
    "Program",
    "Registry",
    "TypeUnknown",
    "VnfError",
    "check_parameters",
]
