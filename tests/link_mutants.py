"""Bugs to plant into the shipped code of a link: whoever judges links must find each of them.

They sit in the real code paths; where the link would notice and repair by its digest, that is taken away, too.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from isthmus.federation import link_pb2 as pb
from isthmus.federation.import_pump import ImportPump
from isthmus.federation.importer import Importer, Work
from isthmus.federation.source import PeerSource

Plant = Callable[[pytest.MonkeyPatch], None]


def sweeps_before_end(patch: pytest.MonkeyPatch) -> None:
    """Blanking: everything goes when a snapshot begins, as in a naive resync."""
    honest = ImportPump.on_begin

    def on_begin(self: ImportPump, frame: pb.Begin) -> None:
        honest(self, frame)
        importer = self._importer()
        stale = sorted(importer._stale)
        for key in stale:
            importer.known.remove(key)
        self._enqueue(Work(writes=[(key, None) for key in stale]), 0)

    patch.setattr(ImportPump, "on_begin", on_begin)


def never_sweeps(patch: pytest.MonkeyPatch) -> None:
    """Ghosts: what went away during a cut stays."""
    honest = Importer.end

    def end(self: Importer, frame: pb.End) -> Work | None:
        self._stale = set()
        return honest(self, frame)

    patch.setattr(Importer, "end", end)
    patch.setattr(Importer, "beat", lambda self, frame: None)


def believes_every_token(patch: pytest.MonkeyPatch) -> None:
    """No nonce: a restored store passes for its old self."""

    async def shown(self: PeerSource, *_: object) -> bool:
        return True

    async def check(self: PeerSource) -> None:
        return

    patch.setattr(PeerSource, "_shown", shown)
    patch.setattr(PeerSource, "check", check)
    patch.setattr(Importer, "beat", lambda self, frame: None)


def takes_any_order(patch: pytest.MonkeyPatch) -> None:
    """Sequence numbers are ignored."""

    def in_order(self: Importer, stream: int, seq: int) -> bool:
        self.seq = seq
        return True

    patch.setattr(Importer, "_in_order", in_order)
