"""Faults of processes, of the machines they are on, and of their clocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus.chaos.simulation.fault_base import Draw, FaultKind, by, fault_kind
from isthmus.chaos.simulation.schedule import Fault
from isthmus.failpoint import FAILPOINTS

if TYPE_CHECKING:
    from isthmus.chaos.simulation.world import World

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
    FaultKind("clock.jump", "site", _jump, _jump_back, (0.5, 8.0), by(-3600.0, -5.0, 5.0, 3600.0))
)
fault_kind(FaultKind("clock.drift", "site", _drift, _steady, (2.0, 10.0), by(-1000.0, 1000.0)))
