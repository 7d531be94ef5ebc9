"""What a judge says: kept, broken, no data, or not judged here yet.

"No data" is a failure: a run that tried nothing has proved nothing. The failure text is the promise itself,
so that nobody has to look up what a number stood for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from isthmus.chaos.history.record import Record

SHOWN_OFFENCES = 3
"""The first ones; what follows is usually their echo."""


class Outcome(Enum):
    """How a promise stands after a history."""

    KEPT = "kept"
    BROKEN = "broken"
    NO_DATA = "no data"
    NOT_JUDGED = "not judged here yet"


@dataclass(frozen=True, slots=True)
class Promise:
    """One row of GUARANTEES.md. ``judged_by`` says what a validator looks at, for a reader of its verdict."""

    id: str
    sentence: str
    bound: str
    judged_by: str


@dataclass(frozen=True, slots=True)
class Offence:
    """One thing that broke a promise, with the record that shows it."""

    what: str
    record: Record | None = None

    def __str__(self) -> str:
        return self.what if self.record is None else f"{self.what}\n      {self.record}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one promise over one history."""

    promise: Promise
    outcome: Outcome
    samples: int
    figure: str = ""
    offences: Sequence[Offence] = ()
    notes: Sequence[str] = ()

    @property
    def ok(self) -> bool:
        """True when there was data and nothing broke the promise."""
        return self.outcome is Outcome.KEPT

    @property
    def failed(self) -> bool:
        """True when broken or without data; a promise that is not judged here is neither."""
        return self.outcome in (Outcome.BROKEN, Outcome.NO_DATA)

    @property
    def text(self) -> str:
        """For a person."""
        promise = self.promise
        head = f"{promise.id} {self.outcome.value}: {promise.sentence}"
        if self.outcome is Outcome.NOT_JUDGED:
            return head
        lines = [
            head,
            f"    {self.samples} samples; {self.figure or 'no figure'}; bound: {promise.bound}",
        ]
        lines += [f"    {note}" for note in self.notes]
        lines += [f"    - {offence}" for offence in self.offences[:SHOWN_OFFENCES]]
        more = len(self.offences) - SHOWN_OFFENCES
        if more > 0:
            lines.append(f"    and {more} more")
        return "\n".join(lines)


Judge = Callable[[Sequence[Record]], Verdict]


def conclude(
    promise: Promise,
    samples: int,
    offences: Sequence[Offence],
    figure: str = "",
    notes: Sequence[str] = (),
) -> Verdict:
    """Broken if anything offends, else no data without samples, else kept."""
    outcome = Outcome.BROKEN if offences else Outcome.KEPT if samples else Outcome.NO_DATA
    return Verdict(promise, outcome, samples, figure, tuple(offences), tuple(notes))


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest of ``values`` (at least one) that ``share`` of them do not exceed."""
    ordered = sorted(values)
    rank = max(1, -(-len(ordered) * share // 1))
    return ordered[int(rank) - 1]


def of_kind(history: Sequence[Record], *kinds: str) -> list[Record]:
    """The records of these kinds, in order."""
    return [record for record in history if record.what in kinds]
