"""A digest that differs must be answered, also when the next beat comes before the answer went out (G4)."""

from __future__ import annotations

from typing import Any, cast

from isthmus.federation import link_pb2 as pb
from isthmus.federation.filters import DenialLog, ScopeFilter
from isthmus.federation.import_pump import ImportPump
from isthmus.federation.limits import LinkLimits
from isthmus.policy.scopes import Scope


class _Beats:
    """An importer that wants to compare at the first beat, and waits at the second."""

    def __init__(self) -> None:
        self.answers: list[pb.Frame | None] = [pb.Frame(compare=pb.Compare(stream=7)), None]

    def beat(self, frame: pb.Beat) -> pb.Frame | None:
        return self.answers.pop(0)


async def test_a_beat_without_an_answer_does_not_take_one_back() -> None:
    """The loop may be busy storing for longer than a beat: the repair would be put off again and again."""
    sent: list[pb.Frame] = []

    async def send(frame: pb.Frame) -> None:
        sent.append(frame)

    check = ScopeFilter(Scope.mirror("any", ("intents/",)))
    nowhere = cast(Any, None)
    pump = ImportPump(
        nowhere, check, None, LinkLimits(), DenialLog(), send, monotonic_s=lambda: 0.0
    )
    pump.importer = cast(Any, _Beats())
    pump.on_beat(pb.Beat())
    pump.on_beat(pb.Beat())
    assert pump._answer is not None
    assert pump._answer.compare.stream == 7
