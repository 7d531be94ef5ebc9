"""Hashable pictures of the cores' insides, so that equal states are explored once."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import fields, is_dataclass
from typing import Any

from google.protobuf.message import Message

from isthmus.federation.coalescing import Outbox
from isthmus.federation.digest import DigestMap
from isthmus.federation.filters import DenialLog, ExportFilter
from isthmus.federation.limits import LinkLimits

_CONSTANT = (LinkLimits, ExportFilter, DenialLog)
_COUNTERS = frozenset({"dropped_frames", "resyncs", "repairs", "items_received", "items_sent"})
"""Told to operators; nothing is decided by them."""


def freeze(found: Any) -> Hashable:
    """Equal for equal insides."""
    if found is None or isinstance(found, (int, str, bytes)):
        return found
    if isinstance(found, Message):
        return found.SerializeToString(deterministic=True)
    if isinstance(found, DigestMap):
        return tuple(sorted(found._items.items()))
    if isinstance(found, dict):
        return tuple((key, freeze(value)) for key, value in found.items() if key not in _COUNTERS)
    if isinstance(found, (list, tuple, deque)):
        return tuple(freeze(one) for one in found)
    if isinstance(found, (set, frozenset)):
        return frozenset(found)
    if isinstance(found, Outbox):
        return tuple(freeze(getattr(found, name)) for name in ("_lanes", "_turn", "value_bytes"))
    if isinstance(found, _CONSTANT):
        return None
    if is_dataclass(found) and not isinstance(found, type):
        return tuple(freeze(getattr(found, field.name)) for field in fields(found))
    return type(found).__name__
