"""One direction of a federation link as a small world: the real Exporter, Importer and PeerSource between two stores.

Moves are what can happen in any order: the source changes, its watch is heard, the exporter does its next step, a
frame arrives and is stored, an answer arrives, the cursor is written down, a beat; and faults: cut, compaction,
restore, a frame doubled, dropped, swapped. The order of the exporter's steps is
:class:`~isthmus.federation.export_pump.ExportPump`'s.

Promises: the reader of the mirror is only shown ways forward of what the source held (G5), no key disappears that
the source has (G6), and from every state, left alone, the mirror comes to equal its source (G4).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from isthmus.chaos.exploration import link_ends
from isthmus.chaos.exploration.explorer import Broken
from isthmus.chaos.exploration.link_ends import Factory, Numbers
from isthmus.chaos.exploration.link_import import ImportEnd
from isthmus.chaos.exploration.truth import Truth
from isthmus.contract.scopes import import_root
from isthmus.federation import link_pb2 as pb
from isthmus.federation.errors import FederationError
from isthmus.federation.source import NONCE
from isthmus.kv.mvcc import Backup, MvccStore

ROOT = link_ends.ROOT.source
NONCE_KEY = import_root("b") + NONCE
FAIR = ("export", "arrive", "answer", "watch", "prove")
"""In this order when left alone: each change goes all the way before the next is heard, so that none hides another."""
SETTLE_STEPS = 400


@dataclass(frozen=True, slots=True)
class Scene:
    """How much of what may happen; small, so that all of it can be tried. ``value_budget`` in bytes: values over it are
    fetched again when their turn comes."""

    puts: int = 0
    deletes: int = 0
    beats: int = 0
    cuts: int = 0
    compactions: int = 0
    restores: int = 0
    disorders: int = 0
    keys: tuple[str, ...] = ("a", "b")
    marks: bool = False
    value_budget: int = 1024
    lazy: bool = True
    """False: an exporter's frame arrives and is stored at once, when arrival in between is not the question."""


class LinkWorld:
    """See the module. ``factory`` makes the cores; a test plants mutants there."""

    def __init__(self, scene: Scene, factory: Factory | None = None) -> None:
        self.story: list[str] = []
        self._scene = scene
        self._left = replace(scene, puts=scene.puts + 1)
        self._factory = factory or Factory()
        self._value = 0
        self._backup: tuple[Backup, dict[str, bytes]] | None = None
        self._saved: Hashable = None
        self.mvcc = MvccStore()
        self.truth = Truth()
        self.mirror: dict[str, bytes] = {}
        self.cursor: pb.Token | None = None
        for key in scene.keys[:1]:
            self._do_put(key)
        self._numbers = Numbers()
        self._join()
        self._drain()
        self.story.clear()

    # -- moves

    def moves(self) -> Sequence[str]:
        """What may happen next."""
        left, found = self._left, []
        if left.puts:
            found += [f"put {key}" for key in left.keys]
        if left.deletes:
            found += [f"delete {key}" for key in left.keys if self.mvcc.get(ROOT + key)]
        if left.beats and self.export.beat_differs(self.imports):
            found.append("beat")
        if left.marks and self.imports.cursor is not None:
            found.append("mark")
        if left.cuts:
            found.append("cut")
        if left.compactions and self.mvcc.revision > self.mvcc.compacted:
            found.append("compact")
        if left.restores:
            found.append("backup" if self._backup is None else "restore")
        if left.disorders and self.forth:
            found += ["double", "drop"] + ["swap"] * (len(self.forth) > 1)
        return found + self._fair()

    def _fair(self) -> list[str]:
        """What goes on by itself."""
        ready = {
            "watch": self.export.watch_ready,
            "export": self.export.ready,
            "arrive": bool(self.forth),
            "answer": bool(self.back),
            "prove": self.export.proof_due and self._left.marks,
        }
        return [move for move in FAIR if ready[move]]

    def step(self, move: str) -> None:
        """Let it happen."""
        name, _, key = move.partition(" ")
        said = getattr(self, f"_do_{name}")(*([key] if key else []))
        self.story.append(f"{move}: {said}" if said else move)

    def _spend(self, what: str) -> None:
        self._left = replace(self._left, **{what: getattr(self._left, what) - 1})

    def _do_put(self, key: str) -> str:
        self._spend("puts")
        self._value += 1
        value = b"%07d" % self._value
        revision = self.mvcc.put(ROOT + key, value)
        self.truth.held(key, value)
        return f"the source holds {key}={self._value} at revision {revision}"

    def _do_delete(self, key: str) -> str:
        self._spend("deletes")
        self.mvcc.delete(ROOT + key)
        self.truth.held(key, None)
        return f"the source has no {key} since revision {self.mvcc.revision}"

    def _do_watch(self) -> str:
        return self.export.hear()

    def _do_export(self) -> str:
        return self._send(self.export.step())

    def _do_prove(self) -> str:
        return self._send(self.export.prove())

    def _do_beat(self) -> str:
        self._spend("beats")
        return self._send([self.export.beat()])

    def _send(self, frames: Sequence[pb.Frame]) -> str:
        self.forth.extend(frames)
        if not self._scene.lazy:
            while self.forth:
                self._do_arrive()
        return ", ".join(_told(frame) for frame in frames)

    def _do_arrive(self) -> str:
        frame = self.forth.pop(0)
        try:
            answers, writes = self.imports.receive(frame)
        except FederationError as error:
            self._join()
            return f"refused ({error}); the link is joined again"
        self.back.extend(answers)
        for key, value in writes:
            self._write(key, value)
        if self.imports.must_mark:
            self.cursor = self.imports.take_cursor()
        return _told(frame)

    def _write(self, key: str, value: bytes | None) -> None:
        if value is None:
            self.mirror.pop(key, None)
        else:
            self.mirror[key] = value
        self.truth.shown(key, value)

    def _do_answer(self) -> str:
        frame = self.back.pop(0)
        try:
            self.export.answered(frame)
        except FederationError as error:
            self._join()
            return f"refused ({error}); the link is joined again"
        return _told(frame)

    def _do_mark(self) -> str:
        self.cursor = self.imports.take_cursor()
        return f"the importer writes down revision {self.cursor.revision if self.cursor else 0}"

    # -- faults

    def _do_cut(self) -> str:
        self._spend("cuts")
        self._join()
        return "what was under way is lost; the link is joined again"

    def _join(self) -> None:
        """A new life of the link: both ends know what their stores know."""
        self.forth: list[pb.Frame] = []
        self.back: list[pb.Frame] = []
        self.export = self._factory.export_end(
            self._factory, self.mvcc, self._numbers, self._scene.value_budget
        )
        self.imports = ImportEnd(self._factory.importer, self.mirror, self.cursor)
        self.back.append(self.imports.resume())

    def _do_compact(self) -> str:
        self._spend("compactions")
        self.mvcc.compact(self.mvcc.revision)
        return f"the source forgets everything before revision {self.mvcc.revision}"

    def _do_backup(self) -> str:
        self._backup = (self.mvcc.backup(), self.truth.now())
        self._saved = (self.mvcc.revision, self._history(), tuple(sorted(self._backup[1].items())))
        return f"a backup at revision {self.mvcc.revision}"

    def _do_restore(self) -> str:
        assert self._backup is not None
        self._spend("restores")
        backup, held = self._backup
        self.mvcc.restore(backup)
        self.truth.restored(held)
        self.export.disconnected()
        return f"the source is restored to revision {self.mvcc.revision}"

    def _do_double(self) -> str:
        self._spend("disorders")
        self.forth.insert(0, self.forth[0])
        return _told(self.forth[0])

    def _do_drop(self) -> str:
        self._spend("disorders")
        return _told(self.forth.pop(0))

    def _do_swap(self) -> str:
        self._spend("disorders")
        self.forth[:2] = self.forth[1::-1]
        return _told(self.forth[0])

    # -- what must hold

    def settle(self) -> None:
        """Left alone, with beats, the mirror equals the source."""
        self._drain()
        wanted, shown = self.truth.now(), self.mirror
        if shown != wanted:
            raise Broken(
                f"G4: left alone the mirror stays {_set(shown)}, the source is {_set(wanted)}"
            )

    def _drain(self) -> None:
        quiet = 0
        for _ in range(SETTLE_STEPS):
            fair = self._fair()
            if fair:
                self.step(fair[0])
                continue
            if quiet > 2 * self.imports.beats_between_compares:
                return
            quiet += 1
            self.forth.append(self.export.beat())
        raise Broken(f"G4: left alone the link does not come to rest; {self.story[-6:]}")

    def _history(self) -> Hashable:
        """What the source can still tell: changes that the watch has to come to, and its proofs."""
        ahead = self.mvcc.log_after(self.export.heard)
        told = tuple((event.revision, event.key, event.entry) for _, e in ahead for event in e)
        return told, tuple(self.mvcc._history.get(NONCE_KEY, ()))

    def state(self) -> Hashable:
        """Everything that decides about the future."""
        return (
            self._left,
            self.truth.state(),
            self.mvcc.revision,
            self.mvcc.compacted,
            self._saved,
            self._history(),
            tuple(sorted(self.mirror.items())),
            b"" if self.cursor is None else self.cursor.SerializeToString(),
            tuple(frame.SerializeToString() for frame in self.forth),
            tuple(frame.SerializeToString() for frame in self.back),
            self.export.state(),
            self.imports.state(),
        )


def _told(frame: pb.Frame) -> str:
    """A frame in a few words."""
    kind = frame.WhichOneof("kind") or "nothing"
    body = getattr(frame, kind, None)
    if kind == "batch" and body is not None:
        items = [
            f"{i.key.decode()}={int(i.value)}@{i.revision}" if i.value else f"no {i.key.decode()}"
            for i in body.items
        ]
        return f"batch {body.seq} [{' '.join(items) or 'proof'}] through {body.through}"
    if kind == "begin" and body is not None:
        return f"begin {pb.Mode.Name(body.mode)} at {body.at.revision}"
    return kind


def _set(found: dict[str, bytes]) -> str:
    return "{" + ", ".join(f"{key}={int(value)}" for key, value in sorted(found.items())) + "}"
