"""G8: no key outside the scope crosses, either way, each end sufficient alone.

A sample is a planted sentinel that was searched. Where a judge would lie: a search proves nothing in a run in which
nothing was tried, so there must be denials, too; and a key that was refused for where it lies (not for its size, age
or number, which pass) must not be shown to that peer's readers at any time.
"""

from __future__ import annotations

from collections.abc import Sequence

from isthmus.chaos.history.record import Record
from isthmus.chaos.history.verdict import Offence, Promise, Verdict, conclude, of_kind

PROMISE = Promise(
    "G8",
    "no key outside the scope crosses, either way, each end sufficient alone",
    "0",
    "`sentinel` records (none found); `denial` records (something was tried)",
)
FOR_GOOD = frozenset(
    {
        "key-refused",
        "scope-denied",
        "meta-denied",
        "root-denied",
        "verb-unknown",
        "agreement-denied",
    }
)
"""Refusals that no later moment changes."""


def judge(history: Sequence[Record]) -> Verdict:
    """See the module."""
    searched = of_kind(history, "sentinel")
    denials = of_kind(history, "denial")
    offences = [
        Offence(f"a planted value was found in the {record.text('where')}", record)
        for record in searched
        if record.flag("found")
    ]
    refused = {
        (record.text("peer"), record.text("key"))
        for record in denials
        if record.text("reason") in FOR_GOOD
    }
    offences += [
        Offence("it was refused, and crossed all the same", record)
        for record in of_kind(history, "shown")
        if (record.text("peer"), record.text("key")) in refused
    ]
    ways = {record.text("direction") for record in denials}
    notes = [f"nothing was tried {way}wards" for way in ("in", "out") if way not in ways]
    figure = f"{len(searched)} searches, {len(denials)} refusals, {len(offences)} leaks"
    return conclude(PROMISE, len(searched) if denials else 0, offences, figure, notes)
