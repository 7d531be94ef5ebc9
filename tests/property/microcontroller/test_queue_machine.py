"""The work queue against the simplest thing that could be right: sets of names (issue 4, point 6).

Time is virtual: a loop whose clock the machine moves, so that due items come due exactly when it says.
"""

from __future__ import annotations

import asyncio

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from isthmus.chaos.simulation.loop import VirtualLoop
from isthmus.microcontroller.queue import BackOff, WorkQueue

ITEMS = st.sampled_from(["a", "b", "c", "d"])
LIMIT = 3
BACK_OFF = BackOff(first_s=0.05, limit_s=10.0)


class QueueMachine(RuleBasedStateMachine):
    """``owed``: items somebody gave a reason for since they were last handed out. They must come, and only they."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.chance = 0.0
        self.queue = WorkQueue(lambda: self.chance, BACK_OFF, limit=LIMIT)
        self.owed: set[str] = set()
        self.due: dict[str, float] = {}
        self.flying: set[str] = set()
        self.failures: dict[str, int] = {}

    def teardown(self) -> None:
        self.queue.close()
        self.loop.close()

    def known(self) -> set[str]:
        """Items that have a slot."""
        return self.owed | set(self.due) | self.flying

    def run(self, step: str, *arguments: object) -> None:
        """On the loop, as a controller would."""

        async def once() -> None:
            getattr(self.queue, step)(*arguments)

        self.loop.run_until_complete(once())

    @rule(item=ITEMS)
    def add(self, item: str) -> None:
        """A reason to look now replaces one to look later; over the limit a *new* item is refused, loudly."""
        try:
            self.run("add", item)
        except OverflowError:
            assert item not in self.known()
            assert self.queue.held >= LIMIT
            return
        self.due.pop(item, None)
        self.owed.add(item)

    @rule(item=ITEMS, delay_s=st.floats(0.01, 30))
    def add_after(self, item: str, delay_s: float) -> None:
        """The earlier of two reasons counts."""
        try:
            self.run("add_after", item, delay_s)
        except OverflowError:
            assert item not in self.known()
            return
        if item not in self.owed:
            when = self.loop.time() + delay_s
            self.due[item] = min(when, self.due.get(item, when))

    @rule(seconds=st.floats(0.01, 40))
    def time_passes(self, seconds: float) -> None:
        """What is due comes due, however full the queue is."""
        self.loop.run_until_complete(asyncio.sleep(seconds))
        for item in [item for item, when in self.due.items() if when <= self.loop.time()]:
            del self.due[item]
            self.owed.add(item)

    @precondition(lambda self: self.owed - self.flying)
    @rule()
    def get(self) -> None:
        """Something owed that is not in flight is handed out at once: no wake-up is lost."""

        async def take() -> str | None:
            return await asyncio.wait_for(self.queue.get(), 0.001)

        item = self.loop.run_until_complete(take())
        assert item in self.owed
        assert item not in self.flying, "two flights of one item"
        assert item is not None
        self.owed.discard(item)
        self.flying.add(item)

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), failed=st.booleans(), chance=st.floats(0, 1))
    def done(self, data: st.DataObject, failed: bool, chance: float) -> None:
        """A failure comes back after a jittered, growing, bounded delay; a new reason meanwhile shortens it."""
        item = data.draw(st.sampled_from(sorted(self.flying)))
        self.chance = chance
        again = item in self.owed
        delay_s = 0.0

        async def once() -> None:
            nonlocal delay_s
            delay_s = self.queue.done(item, failed=failed)

        self.loop.run_until_complete(once())
        self.flying.discard(item)
        if not failed:
            assert delay_s == 0
            self.failures.pop(item, None)
            return
        self.failures[item] = self.failures.get(item, 0) + 1
        raw = BACK_OFF.first_s if again else min(10.0, 0.05 * 2 ** (self.failures[item] - 1))
        assert raw / 2 <= delay_s <= raw
        self.owed.discard(item)
        when = self.loop.time() + delay_s
        self.due[item] = min(when, self.due.get(item, when))

    @invariant()
    def bounded(self) -> None:
        """Never more names than the limit, whatever was refused, failed or came due."""
        assert len(self.known()) <= LIMIT
        assert self.queue.depth == len(self.flying | self.owed)
        assert self.queue.idle == (not self.flying and not self.owed)
        for item, count in self.failures.items():
            assert self.queue.failures(item) == count

    @invariant()
    def nothing_invented(self) -> None:
        """With nothing owed that could fly, a worker waits."""
        if self.owed - self.flying:
            return

        async def take() -> bool:
            waiting = asyncio.ensure_future(self.queue.get())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            came = waiting.done()
            waiting.cancel()
            return came

        assert not self.loop.run_until_complete(take())


TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
