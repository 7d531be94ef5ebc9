"""The kinds of faults, each a few lines: whom it can hit, how it begins, how it ends (issue 5, point 1).

A kind is registered with :func:`fault_kind`; docs/proving.md shows how a newcomer adds one. ``begin`` says whether
there was anything to hit: ``simulate --stats`` counts hits, not wishes, and a kind that never hits fails the CI's set.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from isthmus.chaos.simulation.schedule import Detail, Fault, Schedule, stream
from isthmus.failpoint import FAILPOINTS

if TYPE_CHECKING:
    from isthmus.chaos.simulation.world import World

Begin = Callable[["World", Fault], bool]
End = Callable[["World", Fault], None]
Draw = Callable[[random.Random], Detail]


def _nothing(world: World, fault: Fault) -> None:
    """A blow has no end."""


def _no_detail(chance: random.Random) -> Detail:
    return {}


@dataclass(frozen=True, slots=True)
class FaultKind:
    """``hits``: the kind of target (line, store, process, site). ``lasts_s``: shortest and longest; (0, 0) for a
    blow. ``weight``: how often it is drawn. ``worlds``: where it means something (empty: everywhere)."""

    name: str
    hits: str
    begin: Begin
    end: End = _nothing
    lasts_s: tuple[float, float] = (0.0, 0.0)
    draw: Draw = _no_detail
    weight: int = 4
    worlds: tuple[str, ...] = field(default=())


KINDS: dict[str, FaultKind] = {}


def fault_kind(kind: FaultKind) -> FaultKind:
    """Make ``kind`` known."""
    KINDS[kind.name] = kind
    return kind


def draw(
    seed: int,
    world: str,
    targets: dict[str, Sequence[str]],
    lasts_s: float,
    *,
    kinds: Sequence[str] | None = None,
    faults: tuple[int, int] = (2, 9),
) -> Schedule:
    """The schedule of ``seed``: some kinds, some faults, none of one kind twice at once on one target."""
    chance = stream(seed, "schedule")
    usable = [
        kind
        for kind in KINDS.values()
        if (not kind.worlds or world in kind.worlds)
        and targets.get(kind.hits)
        and (kinds is None or kind.name in kinds)
    ]
    swarm = chance.sample(usable, min(len(usable), chance.randint(3, 8)))
    drawn: list[Fault] = []
    for _ in range(chance.randint(*faults)):
        kind = chance.choices(swarm, [one.weight for one in swarm])[0]
        fault = _one(kind, chance, targets[kind.hits], lasts_s)
        if not any(_meet(fault, other) for other in drawn):
            drawn.append(fault)
    return Schedule(world, seed, (), lasts_s).with_faults(drawn)


def _one(kind: FaultKind, chance: random.Random, targets: Sequence[str], lasts_s: float) -> Fault:
    for_s = round(chance.uniform(*kind.lasts_s), 2)
    at_s = round(chance.uniform(0.5, max(0.5, lasts_s - for_s - 0.1)), 3)
    return Fault(at_s, kind.name, chance.choice(targets), for_s, kind.draw(chance))


def _meet(one: Fault, other: Fault) -> bool:
    return (
        (one.kind, one.target) == (other.kind, other.target)
        and one.at_s <= other.ends_s
        and other.at_s <= one.ends_s
    )


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


def _way(chance: random.Random) -> Detail:
    return {"way": chance.choice(("up", "down"))}


def _by(*values: float) -> Draw:
    return lambda chance: {"by": chance.choice(values)}


fault_kind(FaultKind("line.cut", "line", _cut, _joined, (0.3, 8.0), weight=8))
fault_kind(FaultKind("line.reset", "line", _reset, weight=6))
fault_kind(FaultKind("line.redial", "line", _redial, weight=6))
fault_kind(FaultKind("line.half-open", "line", _half_open, _opened, (0.3, 8.0), weight=6))
fault_kind(FaultKind("line.one-way", "line", _one_way, _both_ways, (0.3, 8.0), _way, weight=6))
fault_kind(FaultKind("line.stall", "line", _stall, _read_on, (0.3, 8.0), _way))
fault_kind(FaultKind("line.delay", "line", *_set_ways("extra_s"), (0.5, 6.0), _by(0.2, 1.0, 4.0)))
fault_kind(
    FaultKind("line.bandwidth", "line", *_set_ways("bytes_per_s"), (0.5, 6.0), _by(500.0, 5_000.0))
)
for _name in ("drop", "double", "swap"):
    fault_kind(FaultKind(f"line.{_name}", "line", *_dishonest(_name), (0.5, 6.0), _by(0.05, 0.3)))
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
fault_kind(FaultKind("store.slow", "store", _slow, _fast, (0.5, 6.0), _by(0.05, 0.5)))
fault_kind(FaultKind("store.full", "store", _full, _room, (0.5, 4.0)))
fault_kind(FaultKind("store.lost-answers", "store", _deaf, _heard, (0.5, 4.0), _by(0.1, 0.5)))
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


# ---- processes and the machines they are on


def _crash(world: World, fault: Fault) -> bool:
    return world.crash(fault.target, quietly=bool(fault.detail.get("quietly")))


def _restart(world: World, fault: Fault) -> None:
    world.processes[fault.target].start()


def _crash_between(world: World, fault: Fault) -> bool:
    world.processes[fault.target].kill_after(int(fault.detail["steps"]))
    return world.processes[fault.target].alive


def _restart_or_never(world: World, fault: Fault) -> None:
    process = world.processes[fault.target]
    process.kill_after(0)
    process.start()


def _crash_at(world: World, fault: Fault) -> bool:
    world.doom(fault.target, str(fault.detail["point"]))
    return True


def _forget_and_restart(world: World, fault: Fault) -> None:
    world.doom(fault.target, "")
    for process in world.on_machine(fault.target):
        process.start()


def _points(*rooms: str) -> Draw:
    """One of the failpoints of ``rooms``."""
    names = [name for name in FAILPOINTS if name.partition(".")[0] in rooms]
    return lambda chance: {"point": chance.choice(names)}


def _lose_instance(world: World, fault: Fault) -> bool:
    return world.lose_instance(fault.target, float(fault.detail["pick"]))


def _freeze(world: World, fault: Fault) -> bool:
    world.processes[fault.target].freeze()
    return world.processes[fault.target].alive


def _thaw(world: World, fault: Fault) -> None:
    world.processes[fault.target].thaw()


def _suspend(world: World, fault: Fault) -> bool:
    world.clocks[fault.target].suspend()
    for process in world.on_machine(fault.target):
        process.freeze()
    return True


def _resume(world: World, fault: Fault) -> None:
    world.clocks[fault.target].resume()
    for process in world.on_machine(fault.target):
        process.thaw()


def _jump(world: World, fault: Fault) -> bool:
    world.clocks[fault.target].jump(float(fault.detail["by"]))
    return True


def _jump_back(world: World, fault: Fault) -> None:
    world.clocks[fault.target].jump(-float(fault.detail["by"]))


def _drift(world: World, fault: Fault) -> bool:
    world.clocks[fault.target].drift(1 + float(fault.detail["by"]) / 1e6)
    return True


def _steady(world: World, fault: Fault) -> None:
    world.clocks[fault.target].drift(1.0)


fault_kind(
    FaultKind(
        "process.crash", "process", _crash, _restart, (0.2, 5.0),
        lambda c: {"quietly": c.choice((0, 1))}, weight=8,
    )
)  # fmt: skip
fault_kind(
    FaultKind(
        "process.crash-between-steps", "process", _crash_between, _restart_or_never, (0.5, 4.0),
        lambda c: {"steps": c.randint(1, 60)}, weight=8,
    )
)  # fmt: skip
for _name, _hits, _rooms in (
    ("site", "edge", (
        "intake", "placer", "launcher", "configurator", "credentials", "chaining", "healer",
        "reporter", "summarizer",
    )),
    ("tier", "tier", ("global_intake", "global_placer", "wiring")),
):  # fmt: skip
    fault_kind(
        FaultKind(
            f"{_name}.crash-at-failpoint", _hits, _crash_at, _forget_and_restart, (1.0, 6.0),
            _points(*_rooms), weight=16, worlds=("carrier",),
        )
    )  # fmt: skip
fault_kind(
    FaultKind(
        "instance.lost", "edge", _lose_instance,
        draw=lambda c: {"pick": round(c.random(), 3)}, weight=8, worlds=("carrier",),
    )
)  # fmt: skip
fault_kind(FaultKind("process.freeze", "process", _freeze, _thaw, (0.2, 8.0), weight=6))
fault_kind(FaultKind("machine.suspend", "site", _suspend, _resume, (0.5, 8.0)))
fault_kind(
    FaultKind("clock.jump", "site", _jump, _jump_back, (0.5, 8.0), _by(-3600.0, -5.0, 5.0, 3600.0))
)
fault_kind(FaultKind("clock.drift", "site", _drift, _steady, (2.0, 10.0), _by(-1000.0, 1000.0)))
