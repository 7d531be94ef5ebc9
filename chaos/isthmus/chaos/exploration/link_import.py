"""The importing end of an explored link: the real core, frame by frame; what it wants stored is stored at once."""

from __future__ import annotations

from collections.abc import Hashable

from isthmus.chaos.exploration.freezing import freeze
from isthmus.federation import link_pb2 as pb
from isthmus.federation.digest import DigestMap
from isthmus.federation.filters import DenialLog
from isthmus.federation.importer import BEATS_BETWEEN_COMPARES, Importer, Work
from isthmus.federation.limits import LinkLimits
from isthmus.policy.scopes import Decision, Verb


class AllPass:
    """Scopes are not the question here."""

    def check(self, verb: Verb, key: str | bytes) -> str | Decision:
        return key if isinstance(key, str) else key.decode()


class ImportEnd:
    """``cursor`` waits to be written down."""

    beats_between_compares = BEATS_BETWEEN_COMPARES

    def __init__(
        self, core: type[Importer], mirror: dict[str, bytes], cursor: pb.Token | None
    ) -> None:
        known = DigestMap()
        for key, value in mirror.items():
            known.put(key, value)
        token = None
        if cursor is not None:
            token = pb.Token()
            token.CopyFrom(cursor)
        self.importer = core(AllPass(), None, LinkLimits(), DenialLog(), known, token)
        self.cursor: pb.Token | None = None
        self.must_mark = False

    def resume(self) -> pb.Frame:
        """Ask for a stream."""
        return self.importer.resume()

    def receive(self, frame: pb.Frame) -> tuple[list[pb.Frame], list[tuple[str, bytes | None]]]:
        """Answers and writes of one frame; raises FederationError."""
        kind = frame.WhichOneof("kind")
        if kind == "begin":
            self.importer.begin(frame.begin)
        elif kind == "batch":
            return self._stored(self.importer.batch(frame.batch, frame.batch.ByteSize()), frame)
        elif kind == "end":
            return self._stored(self.importer.end(frame.end), frame)
        elif kind == "beat":
            answer = self.importer.beat(frame.beat)
            return ([answer] if answer is not None else []), []
        return [], []

    def _stored(
        self, work: Work | None, frame: pb.Frame
    ) -> tuple[list[pb.Frame], list[tuple[str, bytes | None]]]:
        if work is None:
            return [], []
        self.importer.stored(frame.ByteSize())
        if work.cursor is not None:
            self.cursor = work.cursor
        self.must_mark = work.synced
        answers = [pb.Frame(ack=work.ack)] if work.ack is not None else []
        return answers, work.writes

    def take_cursor(self) -> pb.Token | None:
        """What is to be written down now."""
        cursor, self.cursor, self.must_mark = self.cursor, None, False
        return cursor

    def state(self) -> Hashable:
        """For the explorer."""
        return (freeze(vars(self.importer)), freeze(self.cursor))
