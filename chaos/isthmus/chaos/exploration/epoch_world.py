"""Fencing epochs as a small world: the real rule by which a site takes or refuses what a tier wishes (attack 14, 19).

A tier places a chain again and again, each time with a higher epoch (the real rule by which its placer counts). What it
wished before can be shown to the site once more: by a link that replays, by a second tier process that was paused, by
a store that came back from a backup.

Promise (G2', at the site): as long as a chain is in force no older epoch replaces it; and left alone, the site has
what the tier wished last. After a withdrawal nothing remembers the epoch: this rule does not guard against a wish
that returns after it; that is the link's order to keep (G5).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from isthmus.chaos.exploration.explorer import Broken
from isthmus.contract.chain import ChainRecord, Segment, Terminal
from isthmus.global_tier.epochs import forgotten, next_epoch
from isthmus.site.intake import Delegation, Intake, Refused

PEER = "global"


@dataclass(frozen=True, slots=True)
class EpochScene:
    """How much may happen."""

    decisions: int = 3
    replays: int = 2
    restores: int = 0


def _no_check(function: object) -> None:
    return None


class _Known:
    """As much of a controller's context as the rule looks at."""

    def __init__(self, record: ChainRecord | None) -> None:
        self.state = self
        self._record = record

    def get(self, family: object, **variables: str) -> ChainRecord | None:
        return self._record

    def entry(self, key: str) -> None:
        """Nothing else is in the store: no mark of quarantine."""


def segment(epoch: int) -> Segment:
    """What the tier wishes, at ``epoch``."""
    left, right = (Terminal(kind="attachment", name=name) for name in ("left", "right"))
    return Segment(tenant="t", chain="c", functions=(), left=left, right=right, epoch=epoch)


class EpochWorld:
    """See the module; ``intake`` is where a test plants its mutants."""

    def __init__(self, scene: EpochScene, intake: type[Intake] = Intake) -> None:
        self.story: list[str] = []
        self._left = scene
        self._rule = intake("paris", (Delegation(PEER),), (), _no_check)
        self._revision = 1
        self._wished: list[int] = []
        self._newest = 0
        self._shown = 0
        self._in_force = 0
        self._reported = 0
        self._backup: tuple[int, int] | None = None

    def moves(self) -> Sequence[str]:
        """What may happen next."""
        found = []
        if self._left.decisions:
            found.append("decide")
        if self._shown != self._newest:
            found.append("show")
        if self._left.replays:
            found += [f"replay {epoch}" for epoch in self._wished if epoch != self._shown]
        if self._shown and self._shown != self._in_force:
            found.append("reconcile")
        if self._left.restores:
            found.append("backup" if self._backup is None else "restore")
        return found

    def step(self, move: str) -> None:
        """Let it happen."""
        name, _, epoch = move.partition(" ")
        said = getattr(self, f"_do_{name}")(*([int(epoch)] if epoch else []))
        self.story.append(f"{move}: {said}")

    def _do_decide(self) -> str:
        self._left = replace(self._left, decisions=self._left.decisions - 1)
        self._newest = next_epoch(self._revision, self._newest, self._reported)
        self._revision += 1
        if self._newest not in self._wished:
            self._wished.append(self._newest)
        return f"the tier wishes epoch {self._newest}"

    def _do_show(self) -> str:
        self._shown = self._newest
        return f"the site is shown epoch {self._shown}"

    def _do_replay(self, epoch: int) -> str:
        self._left = replace(self._left, replays=self._left.replays - 1)
        self._shown = epoch
        return f"the site is shown epoch {epoch} again"

    def _do_reconcile(self) -> str:
        record = None
        if self._in_force:
            record = ChainRecord(segment=segment(self._in_force), source=PEER)
        context = cast(Any, _Known(record))
        try:
            self._rule._check_delegation(context, PEER, segment(self._shown))
        except Refused as refused:
            return f"refused: {refused}"
        before, self._in_force = self._in_force, self._shown
        if self._in_force < before:
            raise Broken(f"G2': epoch {self._in_force} replaced {before}")
        self._reported = self._in_force  # the site tells what it carries out
        return f"epoch {self._in_force} is in force"

    def _do_backup(self) -> str:
        self._backup = (self._revision, self._newest)
        return f"the tier's store is kept at revision {self._revision}"

    def _do_restore(self) -> str:
        assert self._backup is not None
        self._left = replace(self._left, restores=self._left.restores - 1)
        self._revision, self._newest = self._backup
        return f"the tier's store is at revision {self._revision} again, epoch {self._newest}"

    def settle(self) -> None:
        """The link shows the newest wish, the site looks at it; the tier hears what the site carries out."""
        self._settle_site()
        if forgotten(self._newest, self._reported):
            self._left = replace(self._left, decisions=self._left.decisions + 1)
            self.step("decide")
            self._settle_site()
        if self._newest and self._in_force != self._newest:
            raise Broken(
                f"G3: left alone the site keeps epoch {self._in_force}, the tier wishes {self._newest}"
            )

    def _settle_site(self) -> None:
        for move in ("show", "reconcile"):
            if move in self.moves():
                self.step(move)

    def state(self) -> Hashable:
        """Everything that decides about the future."""
        positions = (
            self._revision, self._newest, self._shown, self._in_force, self._reported,
        )  # fmt: skip
        return (self._left, positions, tuple(self._wished), self._backup)
