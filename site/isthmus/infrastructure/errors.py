"""What an infrastructure may answer instead of doing what it was asked.

InfrastructureError             every failure of a plug-in; ``retryable``: ask again unchanged
|-- Refused                     this infrastructure will never do it (capability, bad request)
|-- UnknownNode                 no such NFV node under this plug-in
|-- UnknownAttachment           no such attachment under this plug-in
|-- StaleIncarnation            a younger incarnation of the instance is already there
|-- NoRoom                      quota or capacity is used up; ask again later or elsewhere
|-- Unreachable                 the infrastructure's own interface does not answer; retry
`-- BuildFailed                 it was tried and broke; what is half built is cleaned on retry
"""

from __future__ import annotations

__all__ = [
    "BuildFailed",
    "InfrastructureError",
    "NoRoom",
    "Refused",
    "StaleIncarnation",
    "UnknownAttachment",
    "UnknownNode",
    "Unreachable",
]


class InfrastructureError(Exception):
    """Base of all failures of a plug-in."""

    retryable: bool = False


class Refused(InfrastructureError):
    """The request is impossible here; the sentence names the field, its value and the way out."""


class UnknownNode(Refused):
    """The node is not one of this plug-in's."""

    def __init__(self, node: str, known: tuple[str, ...]) -> None:
        super().__init__(f"node {node!r} is unknown here; known: {', '.join(known) or 'none'}")
        self.node = node


class UnknownAttachment(Refused):
    """The attachment is not one of this plug-in's."""

    def __init__(self, attachment_id: str, known: tuple[str, ...]) -> None:
        super().__init__(
            f"attachment {attachment_id!r} is unknown here; known: {', '.join(known) or 'none'}"
        )
        self.attachment_id = attachment_id


class StaleIncarnation(Refused):
    """A younger life of the instance exists; the caller acts on old orders."""

    def __init__(self, instance_id: str, asked: int, current: int) -> None:
        super().__init__(
            f"instance {instance_id!r}: incarnation {asked} was asked for, {current} is there"
        )
        self.instance_id = instance_id
        self.asked = asked
        self.current = current


class NoRoom(InfrastructureError):
    """Quota or capacity is used up."""

    retryable = True


class Unreachable(InfrastructureError):
    """The infrastructure's own interface gives no answer; nothing is known of the outcome."""

    retryable = True


class BuildFailed(InfrastructureError):
    """Building was tried and broke off; the next ``ensure_*`` starts from what is there."""

    retryable = True
