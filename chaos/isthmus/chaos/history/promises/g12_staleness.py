"""G12: a remote fact older than its age is "unknown", and who uses it says so.

Only facts that *were* too old are samples: a run in which all were fresh has not tried it. A fact without an age
(``ttl_s`` 0) never grows old. One from further in the future than clocks may differ has no known age at all; taken
as known, it would stay known for as long as the source's clock is ahead.
"""

from __future__ import annotations

from collections.abc import Sequence

from isthmus.chaos.history.record import Record
from isthmus.chaos.history.verdict import Offence, Promise, Verdict, conclude, of_kind

PROMISE = Promise(
    "G12",
    'a remote fact older than its age is "unknown", and no decision uses it silently',
    "0",
    "`fact` records whose age was over",
)
SKEW_S = 60.0
"""As certificates get (attack 17), no more."""


def judge(history: Sequence[Record]) -> Verdict:
    """See the module."""
    offences: list[Offence] = []
    samples = 0
    for record in of_kind(history, "fact"):
        age_s = record.number("now") - record.number("as_of")
        ttl_s = record.number("ttl_s")
        if ttl_s <= 0 or -SKEW_S <= age_s <= ttl_s:
            continue
        samples += 1
        if record.text("treated_as") == "known":
            use = "used" if record.flag("used") else "shown"
            old = f"{age_s:.1f} s old, its limit is {ttl_s:.1f} s"
            when = old if age_s > 0 else f"{-age_s:.1f} s in the future"
            offences.append(Offence(f"{use} as known: {when}", record))
    figure = f"{len(offences)} of {samples} stale facts taken as known"
    return conclude(PROMISE, samples, offences, figure)
