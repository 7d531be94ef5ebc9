"""All judges over one history."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from isthmus.chaos.history.errors import HistoryError
from isthmus.chaos.history.promises import VALIDATORS
from isthmus.chaos.history.record import History, Record
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


def judge_file(history: History, only: Sequence[str] | None = None) -> list[Verdict]:
    """As :func:`judge_all`; a promise that the header names must be one."""
    names = history.header.promises if only is None else only
    judge_all((), names)
    return judge_all(history.records, only)


def judge_runs(histories: Sequence[History], only: Sequence[str] | None = None) -> Verdict | None:
    """G13 over all of them together, if there are several and it is asked for."""
    if len(histories) < 2 or (only is not None and "G13" not in only):
        return None
    return judge_all([record for one in histories for record in one.records], ["G13"])[0]


def unkept(history: History, verdicts: Sequence[Verdict], *, asked: bool) -> list[Verdict]:
    """The verdicts that make a run fail: what is broken, and no data for what was ``asked`` for or what its header
    says it is about. A history that keeps nothing at all fails by everything it has no data for."""
    if not asked and not any(verdict.ok for verdict in verdicts):
        return [verdict for verdict in verdicts if verdict.failed]
    return [
        verdict
        for verdict in verdicts
        if verdict.outcome is Outcome.BROKEN
        or (verdict.failed and (asked or verdict.promise.id in history.header.promises))
    ]


def broken(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Those that fail whatever was asked for: broken, not merely without data."""
    return [verdict for verdict in verdicts if verdict.outcome is Outcome.BROKEN]
