"""Faults of lines and stores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus.chaos.simulation.fault_base import Begin, End, FaultKind, by, either_way, fault_kind
from isthmus.chaos.simulation.schedule import Fault

if TYPE_CHECKING:
    from isthmus.chaos.simulation.world import World

# ---- lines


def _cut(world: World, fault: Fault) -> bool:
    line = world.lines[fault.target]
    hit = bool(line.channels)
    line.cut_now += 1
    line.reset()
    return hit


def _joined(world: World, fault: Fault) -> None:
    world.lines[fault.target].cut_now -= 1


def _half_open(world: World, fault: Fault) -> bool:
    line = world.lines[fault.target]
    line.up.block()
    line.down.block()
    return bool(line.channels)


def _opened(world: World, fault: Fault) -> None:
    line = world.lines[fault.target]
    line.up.unblock()
    line.down.unblock()


def _one_way(world: World, fault: Fault) -> bool:
    world.way(fault).block()
    return bool(world.lines[fault.target].channels)


def _both_ways(world: World, fault: Fault) -> None:
    world.way(fault).unblock()


def _reset(world: World, fault: Fault) -> bool:
    line = world.lines[fault.target]
    hit = bool(line.channels)
    line.reset()
    return hit


def _set_ways(name: str) -> tuple[Begin, End]:
    """Give one property of both ways a value, and take it back."""

    def begin(world: World, fault: Fault) -> bool:
        for way in (world.lines[fault.target].up, world.lines[fault.target].down):
            setattr(way, name, fault.detail["by"])
        return bool(world.lines[fault.target].channels)

    def end(world: World, fault: Fault) -> None:
        for way in (world.lines[fault.target].up, world.lines[fault.target].down):
            setattr(way, name, 0.0)

    return begin, end


def _dishonest(name: str) -> tuple[Begin, End]:
    """A transport that breaks its word, until another one is used."""
    begin, end = _set_ways(name)

    def replaced(world: World, fault: Fault) -> None:
        end(world, fault)
        world.lines[fault.target].reset()

    return begin, replaced


def _stall(world: World, fault: Fault) -> bool:
    world.way(fault).unread += 1
    return bool(world.lines[fault.target].channels)


def _read_on(world: World, fault: Fault) -> None:
    world.way(fault).unread -= 1
    for channel in list(world.lines[fault.target].channels):
        channel.wake()


def _redial(world: World, fault: Fault) -> bool:
    return world.redial(fault.target)


fault_kind(FaultKind("line.cut", "line", _cut, _joined, (0.3, 8.0), weight=8))
fault_kind(FaultKind("line.reset", "line", _reset, weight=6))
fault_kind(FaultKind("line.redial", "line", _redial, weight=6))
fault_kind(FaultKind("line.half-open", "line", _half_open, _opened, (0.3, 8.0), weight=6))
fault_kind(
    FaultKind("line.one-way", "line", _one_way, _both_ways, (0.3, 8.0), either_way, weight=6)
)
fault_kind(FaultKind("line.stall", "line", _stall, _read_on, (0.3, 8.0), either_way))
fault_kind(FaultKind("line.delay", "line", *_set_ways("extra_s"), (0.5, 6.0), by(0.2, 1.0, 4.0)))
fault_kind(
    FaultKind("line.bandwidth", "line", *_set_ways("bytes_per_s"), (0.5, 6.0), by(500.0, 5_000.0))
)
for _name in ("drop", "double", "swap"):
    fault_kind(FaultKind(f"line.{_name}", "line", *_dishonest(_name), (0.5, 6.0), by(0.05, 0.3)))
DISHONEST = frozenset({"line.drop", "line.double", "line.swap"})
"""What no TCP does: the protocol must notice (attack 13)."""


# ---- stores


def _away(world: World, fault: Fault) -> bool:
    world.servers[fault.target].go_away()
    return True


def _back(world: World, fault: Fault) -> None:
    world.servers[fault.target].come_back()


def _slow(world: World, fault: Fault) -> bool:
    world.servers[fault.target].slow_s = float(fault.detail["by"])
    return True


def _fast(world: World, fault: Fault) -> None:
    world.servers[fault.target].slow_s = 0.0


def _full(world: World, fault: Fault) -> bool:
    world.servers[fault.target].full = True
    return True


def _room(world: World, fault: Fault) -> None:
    world.servers[fault.target].full = False


def _deaf(world: World, fault: Fault) -> bool:
    world.servers[fault.target].lost_answers = float(fault.detail["by"])
    return True


def _heard(world: World, fault: Fault) -> None:
    world.servers[fault.target].lost_answers = 0.0


def _rewire(world: World, fault: Fault) -> bool:
    world.servers[fault.target].memory.cut()
    return True


def _compact(world: World, fault: Fault) -> bool:
    world.servers[fault.target].compact(int(fault.detail["keep"]))
    return True


def _backup(world: World, fault: Fault) -> bool:
    world.servers[fault.target].take_backup()
    return True


def _restore(world: World, fault: Fault) -> bool:
    world.servers[fault.target].go_away()
    world.restore(fault.target, bump=int(fault.detail["bump"]))
    return True


fault_kind(FaultKind("store.away", "store", _away, _back, (0.2, 6.0)))
fault_kind(FaultKind("store.slow", "store", _slow, _fast, (0.5, 6.0), by(0.05, 0.5)))
fault_kind(FaultKind("store.full", "store", _full, _room, (0.5, 4.0)))
fault_kind(FaultKind("store.lost-answers", "store", _deaf, _heard, (0.5, 4.0), by(0.1, 0.5)))
fault_kind(FaultKind("store.rewire", "store", _rewire, weight=6))
fault_kind(
    FaultKind("store.compact", "store", _compact, draw=lambda c: {"keep": c.choice((0, 0, 3, 20))})
)
fault_kind(FaultKind("store.backup", "store", _backup, weight=6))
fault_kind(
    FaultKind(
        "store.restore",
        "store",
        _restore,
        _back,
        (0.05, 3.0),
        lambda c: {"bump": c.choice((0, 0, 0, 1000))},
    )
)


def _roll_back(world: World, fault: Fault) -> None:
    world.restore(fault.target, bump=0)


fault_kind(FaultKind("store.rollback", "store", _backup, _roll_back, (0.02, 2.5), weight=8))
