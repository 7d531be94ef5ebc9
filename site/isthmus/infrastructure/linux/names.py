"""Where our mark stands in the kernel: names of namespaces and aliases of links.

A plug-in keeps no state of its own (DESIGN section 5): everything it must know after a restart is
written on the objects. ``scope`` is the operator's name for one site's share of the machine, so
two sites of a lab never take each other's objects for their own.
"""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.vswitch import MARK, device_name

__all__ = ["Leg", "Sandbox", "attachment_alias", "attachment_device", "attachment_of", "partner_of"]

_SEPARATOR = "@"


@dataclass(frozen=True, slots=True, order=True)
class Sandbox:
    """The namespace of one life of one instance on one node."""

    instance_id: str
    incarnation: int
    node: str

    def netns(self, scope: str) -> str:
        """The name of its network namespace."""
        parts = (MARK, scope, self.node, self.instance_id, str(self.incarnation))
        return _SEPARATOR.join(parts)

    def leg(self, scope: str, leg: str) -> str:
        """The name of the node-side device of one leg; a new life has new names (pitfall 2)."""
        return device_name("v", scope, self.instance_id, str(self.incarnation), leg)

    @classmethod
    def of(cls, netns: str, scope: str) -> Sandbox | None:
        """Read a namespace's name back; None if it is not one of this scope's."""
        parts = netns.split(_SEPARATOR)
        if len(parts) != 5 or parts[:2] != [MARK, scope] or not parts[4].isdigit():
            return None
        return cls(parts[3], int(parts[4]), parts[2])


@dataclass(frozen=True, slots=True)
class Leg:
    """What the alias of a node-side leg says: whose it is and which partner it needs."""

    instance_id: str
    incarnation: int
    name: str
    partner: str

    def alias(self, scope: str) -> str:
        """The alias text; the partner is kept so that a lost one is noticed after a restart."""
        partner = self.partner or "-"
        return f"{MARK}:leg:{scope}:{self.instance_id}:{self.incarnation}:{self.name}:{partner}"

    @classmethod
    def of(cls, alias: str, scope: str) -> Leg | None:
        """Read an alias back; None if it is not a leg of this scope."""
        parts = alias.split(":")
        if len(parts) != 7 or parts[:3] != [MARK, "leg", scope] or not parts[4].isdigit():
            return None
        return cls(parts[3], int(parts[4]), parts[5], "" if parts[6] == "-" else parts[6])


def partner_of(leg: str, legs: tuple[str, ...]) -> str:
    """Return the other leg of the pair ("in2" for "out2"), or "" for a leg that stands alone."""
    for own, other in (("in", "out"), ("out", "in")):
        if leg.startswith(own):
            partner = other + leg.removeprefix(own)
            return partner if partner in legs else ""
    return ""


def attachment_device(scope: str, attachment_id: str) -> str:
    """The name of the node-side device of an attachment."""
    return device_name("a", scope, attachment_id)


def attachment_alias(scope: str, attachment_id: str) -> str:
    """The alias that marks it as ours."""
    return f"{MARK}:attachment:{scope}:{attachment_id}"


def attachment_of(alias: str, scope: str) -> str | None:
    """Read the attachment's id back; None if it is not one of this scope's."""
    prefix = f"{MARK}:attachment:{scope}:"
    return alias.removeprefix(prefix) if alias.startswith(prefix) else None
