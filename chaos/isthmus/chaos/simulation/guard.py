"""While a run lasts, real time and unseeded randomness are out of reach: who asks for them is told off (G13).

Code that takes its clock and its chance as arguments never notices. What was bound before (a default argument
``now=time.time``) is not seen here; the comparison of traces between two processes is for that.
"""

from __future__ import annotations

import os
import random
import secrets
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from isthmus.chaos.simulation.loop import RealWorld

FORBIDDEN: tuple[tuple[Any, str], ...] = (
    *(
        (time, name)
        for name in (
            "time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns",
            "clock_gettime", "clock_gettime_ns", "sleep",
        )
    ),
    *(
        (random, name)
        for name in ("random", "randint", "randrange", "choice", "choices", "shuffle", "uniform")
    ),
    *((secrets, name) for name in ("token_hex", "token_bytes", "token_urlsafe", "randbits")),
    (os, "urandom"),
    (uuid, "uuid4"),
    (uuid, "uuid1"),
)  # fmt: skip


_leaks: list[str] = []
"""What was asked for in the present run; an exception alone may be swallowed by who asked."""


def _refuse(module: Any, name: str) -> Callable[..., Any]:
    def refuse(*_: object, **__: object) -> Any:
        text = f"{module.__name__}.{name} was called in a simulated run"
        _leaks.append(text)
        raise RealWorld(text)

    return refuse


_REFUSALS = [(module, name, _refuse(module, name)) for module, name in FORBIDDEN]


@contextmanager
def no_real_world() -> Iterator[list[str]]:
    """See the module. Yields the list of what was asked for."""
    _leaks.clear()
    before = [(module, name, getattr(module, name)) for module, name in FORBIDDEN]
    for module, name, refusal in _REFUSALS:
        setattr(module, name, refusal)
    try:
        yield _leaks
    finally:
        for module, name, honest in before:
            setattr(module, name, honest)
