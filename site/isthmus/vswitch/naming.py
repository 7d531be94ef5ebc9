"""Names that fit the kernel and marks that tell our objects from everybody else's.

An interface name has at most 15 characters (``IFNAMSIZ``, linux/if.h), an identity of ours has up
to 63, so a name is one letter for the kind and a hash, and the whole identity stands in the alias
of the link, where ``ip -d link`` shows it. What carries no mark of ours is never removed
(DESIGN section 5: "garbage-collect only what carries our mark").
"""

from __future__ import annotations

import hashlib

__all__ = ["MARK", "MAX_DEVICE_NAME", "device_name", "gate_table", "wire_alias", "wire_id_of"]

MARK = "isthmus"
MAX_DEVICE_NAME = 15
_WIRE_PREFIX = f"{MARK}:wire:"


def device_name(letter: str, *identity: str) -> str:
    """Return the device name of ``identity``: a letter and 40 bits of its hash (11 characters)."""
    if len(letter) != 1 or not letter.isalpha():
        raise ValueError(f"the kind of a device is one letter, not {letter!r}")
    digest = hashlib.sha256("\x00".join(identity).encode()).hexdigest()
    return f"{letter}{digest[:10]}"


def wire_alias(wire_id: str) -> str:
    """Return the link alias that marks a wire as ours and keeps its whole id."""
    return f"{_WIRE_PREFIX}{wire_id}"


def wire_id_of(alias: str) -> str | None:
    """Return the wire id in a link alias, or None when the link is not a wire of ours."""
    return alias.removeprefix(_WIRE_PREFIX) if alias.startswith(_WIRE_PREFIX) else None


def gate_table(gate_id: str) -> str:
    """Return the nft table of a gate (nft identifiers know no hyphen, so the id is hashed)."""
    return f"{MARK}_gate_{hashlib.sha256(gate_id.encode()).hexdigest()[:16]}"
