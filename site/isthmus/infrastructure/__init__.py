"""What we ask of an infrastructure, and the plug-ins that give it (R14-R17, R22)."""

from isthmus.infrastructure.errors import (
    BuildFailed,
    InfrastructureError,
    NoRoom,
    Refused,
    StaleIncarnation,
    UnknownAttachment,
    UnknownNode,
    Unreachable,
)
from isthmus.infrastructure.ports import (
    AttachmentSpec,
    AttachmentState,
    Capability,
    Change,
    ComputePort,
    DeliverySpec,
    FabricPort,
    Form,
    InstanceSpec,
    InstanceState,
    Phase,
    Resources,
)

__all__ = [
    "AttachmentSpec",
    "AttachmentState",
    "BuildFailed",
    "Capability",
    "Change",
    "ComputePort",
    "DeliverySpec",
    "FabricPort",
    "Form",
    "InfrastructureError",
    "InstanceSpec",
    "InstanceState",
    "NoRoom",
    "Phase",
    "Refused",
    "Resources",
    "StaleIncarnation",
    "UnknownAttachment",
    "UnknownNode",
    "Unreachable",
]
