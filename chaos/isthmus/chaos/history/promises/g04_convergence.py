"""G4: from the moment a link could work again, its mirror equals the source within 5 s plus what the backlog takes.

A sample is a `heal` and the first equal `digest` of that link after it. Where judges lie: a link that is cut again
before its time was up says nothing (it is left out, and counted); one that was not cut again and never became equal
is broken, also if the history goes on without a further digest; and one that became equal once but ends unequal has
lost something later. Two empty sets are equal, but prove nothing. Times are compared on one clock only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from isthmus.chaos.history.record import Record
from isthmus.chaos.history.verdict import Offence, Promise, Verdict, conclude, of_kind, quantile

PROMISE = Promise(
    "G4",
    "after heal the mirrors equal their source",
    "5 s + backlog / measured rate",
    "`heal` records against the next equal `digest` of the same link",
)
BASE_S = 5.0
SLOWEST_RATE = 1000.0
"""Changes a second where none was measured; far below what a link does (see GOALS.md)."""


@dataclass(slots=True)
class _Link:
    """One link's samples so far."""

    heal: Record | None = None
    took_s: list[float] = field(default_factory=list)
    offences: list[Offence] = field(default_factory=list)
    empty: int = 0
    interrupted: int = 0
    last: Record | None = None

    def healed(self, record: Record) -> None:
        """A new heal; the one before it must have been over, or was cut again in time."""
        self.settle(record, again=True)
        self.heal = record

    def settle(self, now: Record, *, again: bool) -> None:
        """``now`` ends the waiting of the present heal, if there is one."""
        heal, self.heal = self.heal, None
        if heal is None:
            return
        if now.c == heal.c and now.t - heal.t <= bound_s(heal):
            self.interrupted += 1
            return
        when = "before it was cut again" if again else "until the end"
        self.offences.append(Offence(f"never became equal {when}", heal))

    def compared(self, record: Record) -> None:
        """A digest."""
        self.last = record
        heal = self.heal
        if heal is None or record.text("source") != record.text("target"):
            return
        self.heal = None
        if record.c != heal.c:
            self.offences.append(Offence("heal and digest are on different clocks", record))
            return
        took_s = record.t - heal.t
        if not record.whole("keys"):
            self.empty += 1
        else:
            self.took_s.append(took_s)
        if took_s > bound_s(heal):
            text = f"took {took_s:.2f} s; the bound was {bound_s(heal):.2f} s"
            self.offences.append(Offence(text, heal))

    def ended(self, end: Record) -> None:
        """The history is over."""
        waiting = self.heal is not None
        self.settle(end, again=False)
        last = self.last
        if not waiting and last and last.text("source") != last.text("target"):
            self.offences.append(Offence("ends unequal, although it had healed", last))


def bound_s(heal: Record) -> float:
    """How long this heal may take."""
    rate = heal.number("rate", SLOWEST_RATE) or SLOWEST_RATE
    return BASE_S + heal.whole("backlog") / rate


def judge(history: Sequence[Record]) -> Verdict:
    """See the module."""
    links: dict[str, _Link] = defaultdict(_Link)
    for record in of_kind(history, "heal", "digest"):
        link = links[record.text("link")]
        if record.what == "heal":
            link.healed(record)
        else:
            link.compared(record)
    for name, link in links.items():
        link.ended(_end(history, name))
    took = [took_s for link in links.values() for took_s in link.took_s]
    offences = [offence for link in links.values() for offence in link.offences]
    notes = _notes(links.values())
    figure = "no figure"
    if took:
        p50, p99 = quantile(took, 0.5), quantile(took, 0.99)
        figure = f"p50 {p50:.2f} s, p99 {p99:.2f} s, max {max(took):.2f} s"
    return conclude(PROMISE, len(took), offences, figure, notes)


def _end(history: Sequence[Record], name: str) -> Record:
    """The last record on the clock of this link's heals: only there its waiting can be measured."""
    clocks = {r.c for r in history if r.what == "heal" and r.text("link") == name}
    return next((r for r in reversed(history) if r.c in clocks), history[-1])


def _notes(links: Collection[_Link]) -> list[str]:
    interrupted = sum(link.interrupted for link in links)
    empty = sum(link.empty for link in links)
    notes = []
    if interrupted:
        notes.append(
            f"{interrupted} heals left out: cut again, or the end, before their time was up"
        )
    if empty:
        notes.append(f"{empty} heals left out: both sides were empty")
    return notes
