"""The end of a run on real processes: sites go on writing while one looks, and a history has to end somewhere."""

from __future__ import annotations

import asyncio
from typing import cast

from tests.unit.proving.tale import Tale

from isthmus.chaos.history.verdict import Outcome
from isthmus.chaos.proving.eyes import Eyes, Mirror
from isthmus.deploy.lab.engine import Lab
from isthmus.kv.memory import MemoryStore

NO_LAB = cast(Lab, None)  # only asked for what links say of themselves


class World(Tale):
    """One mirror; the test itself is the link."""

    async def open(self) -> Eyes:
        self.source, self.target = MemoryStore(), MemoryStore()
        eyes = Eyes(NO_LAB, {}, self.say)
        eyes.mirrors["paris>global"] = mirror = Mirror(
            "paris>global", self.source, (), self.target, "/mirror/", self.say
        )
        await mirror.start()
        return eyes

    def changes(self, eyes: Eyes, value: str) -> None:
        """At the source, seen at once."""
        eyes.mirrors["paris>global"].held["summary/site"] = value
        self.say.held(
            "store", store="paris>global", verb="put", key="summary/site", value=value, rev=1,
            inc="one",
        )  # fmt: skip

    def arrives(self, eyes: Eyes, value: str) -> None:
        """What crossed is shown."""
        eyes.mirrors["paris>global"].shown["summary/site"] = value
        self.say.shown(
            "reader.paris>global", store="paris>global", peer="reader.paris>global", verb="put",
            key="summary/site", value=value,
        )  # fmt: skip


async def test_the_last_look_waits_for_what_is_under_way() -> None:
    """Why: G6 was called broken over a summary that changed a moment before the run's end (CI, seed 98)."""
    world = World()
    eyes = await world.open()
    world.changes(eyes, "busy")
    closing = asyncio.create_task(eyes.close(30))
    await asyncio.sleep(0)
    assert not closing.done(), "the change is still under way"
    world.arrives(eyes, "busy")
    await closing
    world.kept("G6")
    assert not eyes.mirrors["paris>global"].watching


async def test_what_never_arrives_is_judged_all_the_same() -> None:
    """Why: patience must not hide a link that lost something."""
    world = World()
    eyes = await world.open()
    world.changes(eyes, "busy")
    await eyes.close(0.01)
    assert world.judge("G6").outcome is Outcome.BROKEN
