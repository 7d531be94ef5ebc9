"""Keeps namespaces alive whose name was deleted, until their legs are off (fail closed, G14).

A namespace that dies takes its nft hooks away first and its devices some milliseconds later (``cleanup_net`` in the
kernel: every pre_exit, a grace period, then the devices). In between it forwards whatever arrives, unfiltered
and untranslated: measured, one to five packets of a thousand a second in every other deletion. Whoever holds the
namespace open decides when it dies: here, after its legs were removed from the node.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Holder"]


@dataclass(slots=True)
class Holder:
    """One open file per namespace, by instance; a process that ends lets go of all, but then the names still hold."""

    folder: Path
    _open: dict[tuple[str, str], int] = field(default_factory=dict)

    def hold(self, instance_id: str, netns: str) -> None:
        """Keep what ``netns`` names now alive; nothing when it is held already or absent."""
        key = (instance_id, netns)
        held = self._open.get(key)
        try:
            if held is not None and os.fstat(held).st_ino == (self.folder / netns).stat().st_ino:
                return
            fresh = os.open(self.folder / netns, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return
        self._open[key] = fresh
        if held is not None:
            os.close(held)

    def release(self, instance_id: str, *, but: str = "") -> None:
        """Let the namespaces of an instance die, except ``but``; their legs must be off."""
        for key in [key for key in self._open if key[0] == instance_id and key[1] != but]:
            os.close(self._open.pop(key))

    @property
    def held(self) -> frozenset[str]:
        """The names that are held."""
        return frozenset(netns for _, netns in self._open)
