"""After a restore two leaders can have the same epoch: the fence must tell them apart (G2'; found by exploring)."""

from __future__ import annotations

import pytest

from isthmus.contract import Stamp
from isthmus.contract.instance import Leadership
from isthmus.kv.memory import MemoryStore
from isthmus.microcontroller.clock import Surroundings
from isthmus.microcontroller.errors import NotLeader
from isthmus.microcontroller.leadership import try_to_lead
from isthmus.microcontroller.state import State
from isthmus.microcontroller.writer import Writer

LEADER, TARGET = "/isthmus/v1/leaders/placer", "/isthmus/v1/plans/t/c"


async def test_a_leader_from_before_a_restore_is_fenced_off() -> None:
    """The backup knows no leader; the next one gets the revision that the first one had."""
    store, surroundings = MemoryStore(), Surroundings(now=lambda: 0.0)
    backup = store.backup()
    writers, epochs = [], []
    for name in ("a", "b"):
        stamp = Stamp(origin="placer", incarnation=name)
        fence = await try_to_lead(store, LEADER, 0, stamp, surroundings)
        assert fence is not None
        epochs.append(fence.epoch)
        writers.append(Writer(store, State(), stamp, surroundings, fence))
        if name == "a":
            store.restore(backup)
    assert epochs[0] == epochs[1], "the test needs the same epoch twice"
    with pytest.raises(NotLeader):
        await writers[0].put(TARGET, Leadership(holder="a"))
    assert await writers[1].put(TARGET, Leadership(holder="b"))
