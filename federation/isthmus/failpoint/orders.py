"""What a real process is to do at which failpoint: from ``ISTHMUS_FAILPOINTS``, or from a file that it names.

    ISTHMUS_FAILPOINTS="launcher.port_made=kill"
    ISTHMUS_FAILPOINTS="placer.plan_written=2*delay:0.5; wiring.vni_claimed=error@3"
    ISTHMUS_FAILPOINTS="@/run/proving/milan.controllers"

An action is ``kill`` (SIGKILL to itself), ``stop`` (SIGSTOP to itself), ``delay:<seconds>`` or ``error``;
``2*`` bounds how often, ``@3`` lets it pass three times first. A file may change while the process runs, and an order
without ``*`` in it is struck out *before* it is carried out: a process that comes back is not killed for ever.

Exceptions: FailpointRefused (a ValueError: what was ordered cannot be read), FailpointError (what ``error`` raises).
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from isthmus.failpoint.hook import arm
from isthmus.failpoint.table import FAILPOINTS

VARIABLE = "ISTHMUS_FAILPOINTS"
ACTIONS = ("kill", "stop", "delay", "error")
LONGEST_DELAY_S = 600.0

log = logging.getLogger("isthmus.failpoint")


class FailpointRefused(ValueError):
    """This order cannot be read; the message names the part and the fix."""


class FailpointError(Exception):
    """Raised at a failpoint on order."""


@dataclass(slots=True)
class Order:
    """One action at one failpoint. ``times`` None: for ever."""

    name: str
    action: str
    delay_s: float = 0.0
    times: int | None = None
    passes: int = 0

    def text(self) -> str:
        """As it would be written."""
        count = "" if self.times is None else f"{self.times}*"
        delay = f":{self.delay_s:g}" if self.action == "delay" else ""
        return f"{self.name}={count}{self.action}{delay}{f'@{self.passes}' if self.passes else ''}"


def parse(text: str) -> list[Order]:
    """Orders, separated by semicolons or lines; a line that begins with ``#`` is a remark."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    parts = [part.strip() for part in ";".join(lines).split(";")]
    return [_order(part) for part in parts if part]


def _order(part: str) -> Order:
    name, equals, what = (piece.strip() for piece in part.partition("="))
    if not equals:
        raise FailpointRefused(f"{VARIABLE}: {part!r} has no '='; write name=action")
    if name not in FAILPOINTS:
        raise FailpointRefused(
            f"{VARIABLE}: there is no failpoint {name!r}; see: isthmus failpoints"
        )
    count, star, rest = what.rpartition("*")
    action, _, passes = rest.partition("@")
    action, _, delay = action.partition(":")
    if action not in ACTIONS or (action == "delay") != bool(delay):
        raise FailpointRefused(
            f"{VARIABLE}: {name}: {what!r} is no action; there are: kill, stop, delay:<seconds>, "
            "error, each with 2* before it (how often) or @3 behind it (after how many)"
        )
    try:
        delay_s = float(delay or 0)
        order = Order(name, action, delay_s, int(count) if star else None, int(passes or 0))
    except ValueError:
        raise FailpointRefused(f"{VARIABLE}: {name}: {what!r} holds a bad number") from None
    if not 0 <= delay_s <= LONGEST_DELAY_S or order.passes < 0 or (star and (order.times or 0) < 1):
        raise FailpointRefused(f"{VARIABLE}: {name}: a number in {what!r} is out of range")
    return order


def _signal_self(number: int) -> None:
    os.kill(os.getpid(), number)


@dataclass(slots=True)
class Orders:
    """The hook of a real process. ``send`` signals this very process."""

    orders: list[Order] = field(default_factory=list)
    file: Path | None = None
    send: Callable[[int], None] = _signal_self
    _seen: tuple[int, int] | None = None

    def __call__(self, name: str) -> float | None:
        """Carry out what is ordered here."""
        if self.file is not None:
            self._read(self.file)
        for order in self.orders:
            if order.name == name and order.times != 0:
                if order.passes:
                    order.passes -= 1
                    self._write()
                    continue
                return self._act(order)
        return None

    def _act(self, order: Order) -> float | None:
        text = order.text()
        if order.times is not None or self.file is not None:
            order.times = (order.times or 1) - 1
            self._write()
        log.warning("FAILPOINT %s: acting now", text)
        if order.action == "kill":
            self.send(signal.SIGKILL)
        elif order.action == "stop":
            self.send(signal.SIGSTOP)
        elif order.action == "error":
            raise FailpointError(f"ordered at failpoint {order.name}")
        return order.delay_s or None

    def _read(self, path: Path) -> None:
        """Again when it changed; one that is not there orders nothing."""
        try:
            stat = path.stat()
            seen = (stat.st_mtime_ns, stat.st_ino)
            if seen == self._seen:
                return
            self.orders = parse(path.read_text())
        except FileNotFoundError:
            self.orders, seen = [], None
        except (OSError, FailpointRefused) as error:
            log.error("failpoints are NOT armed: %s: %s", path, error)
            self.orders = []
        if self.orders:
            log.warning("FAILPOINTS ARMED: %s", "; ".join(order.text() for order in self.orders))
        self._seen = seen

    def _write(self) -> None:
        """What is left, for our next life."""
        if self.file is None:
            return
        left = "\n".join(order.text() for order in self.orders if order.times != 0)
        fresh = self.file.with_name(f"{self.file.name}.{os.getpid()}")
        fresh.write_text(left)
        fresh.replace(self.file)
        stat = self.file.stat()
        self._seen = (stat.st_mtime_ns, stat.st_ino)


def arm_from_environment(environment: Mapping[str, str] = os.environ) -> Orders | None:
    """Arm what the environment orders, loudly; nothing when it orders nothing. A bad order ends the process."""
    text = environment.get(VARIABLE, "")
    if not text:
        return None
    try:
        orders = Orders(file=Path(text[1:])) if text.startswith("@") else Orders(parse(text))
    except FailpointRefused as refused:
        sys.exit(str(refused))
    log.warning("FAILPOINTS ARMED by %s=%s: this process will misbehave on order", VARIABLE, text)
    arm(orders)
    return orders
