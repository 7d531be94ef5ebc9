"""All judges over one history."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from isthmus.chaos.history.errors import HistoryError
from isthmus.chaos.history.promises import VALIDATORS
from isthmus.chaos.history.record import Record
from isthmus.chaos.history.verdict import Outcome, Verdict


class UnknownPromise(HistoryError):
    """There is no such promise."""


def judge_all(history: Sequence[Record], only: Iterable[str] | None = None) -> list[Verdict]:
    """A verdict for each promise, or for those in ``only``; raises UnknownPromise."""
    names = list(VALIDATORS) if only is None else list(only)
    for name in names:
        if name not in VALIDATORS:
            known = ", ".join(VALIDATORS)
            raise UnknownPromise(f"there is no promise {name!r}; there are: {known}")
    return [VALIDATORS[name](history) for name in names]


def broken(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Those that fail whatever was asked for: broken, not merely without data."""
    return [verdict for verdict in verdicts if verdict.outcome is Outcome.BROKEN]
