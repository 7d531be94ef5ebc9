"""HiGHS, silent and bounded: the one place where a solver of it is made.

``highspy.Highs()`` prints its banner in the constructor, before any option can be set: it comes from
the Python wrapper's ``enableCallbacks`` (highspy 1.16; found when it stood in the output of commands
that print JSON). The class below that wrapper prints nothing and has all that is used here.

Nodes bound the work, so that the same work gives the same bytes. Time bounds it only where the
caller has a limit, and by the caller's own clock: :func:`solver` asks ``stop`` wherever HiGHS can be
interrupted. (A net of 30 s by the wall was 2 s of work on a loaded machine, and cut answers short.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Stop = Callable[[], bool]


def solver(stop: Stop | None = None, **options: float) -> Any:
    """A solver on one thread that says nothing and ends soon after ``stop`` says so."""
    import highspy

    made: Any = highspy.Highs.__bases__[0]()
    settings: dict[str, float] = {
        "output_flag": False,
        "log_to_console": False,
        "threads": 1,
        "random_seed": 1,
    }
    for name, value in (settings | options).items():
        made.setOptionValue(name, value)
    if stop is not None:
        kinds = highspy.cb.HighsCallbackType

        def ask(kind: Any, message: Any, said: Any, answer: Any, data: Any) -> None:
            answer.user_interrupt = stop()

        made.setCallback(ask, None)
        for kind in (kinds.kCallbackMipInterrupt, kinds.kCallbackSimplexInterrupt):
            made.startCallback(kind)
    return made
