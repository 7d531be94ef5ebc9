"""Short histories for the tests of judges: a recorder whose clock is set by hand."""

from __future__ import annotations

from collections.abc import Sequence

from isthmus.chaos.history import Header, Memory, Recorder
from isthmus.chaos.history.judge import judge_all
from isthmus.chaos.history.record import Record
from isthmus.chaos.history.verdict import Outcome, Verdict

HEADER = Header("simulation", 7, "abc1234", "test")


class Tale:
    """Tell what happened with :attr:`say`; :meth:`judge` asks one judge."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.memory = Memory(HEADER, lambda: self.now_s)

    @property
    def say(self) -> Recorder:
        return self.memory.recorder

    @property
    def records(self) -> Sequence[Record]:
        return self.memory.records

    def at(self, now_s: float) -> Recorder:
        """The recorder, later."""
        self.now_s = now_s
        return self.say

    def judge(self, promise: str) -> Verdict:
        return judge_all(self.records, [promise])[0]

    def kept(self, promise: str) -> Verdict:
        """Must be kept, with data."""
        verdict = self.judge(promise)
        assert verdict.outcome is Outcome.KEPT, verdict.text
        assert verdict.samples > 0
        return verdict

    def broken(self, promise: str, *texts: str) -> Verdict:
        """Must be broken, with each of ``texts`` among the offences; the failure text is the promise."""
        verdict = self.judge(promise)
        assert verdict.outcome is Outcome.BROKEN, verdict.text
        assert verdict.promise.sentence in verdict.text
        told = [offence.what for offence in verdict.offences]
        for text in texts:
            assert any(text in what for what in told), (text, told)
        return verdict

    def no_data(self, promise: str) -> None:
        """Must fail because nothing was tried."""
        verdict = self.judge(promise)
        assert verdict.outcome is Outcome.NO_DATA, verdict.text
        assert verdict.failed
