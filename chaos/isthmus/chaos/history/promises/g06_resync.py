"""G6: after compaction or a restore the mirror is exactly the source's set, and was never blank on the way.

On the way: a key that disappears from a mirror must have disappeared at its source, since what the reader saw of
it. At the end: the same keys with the same values; so a history must end when the links had time to become equal
(G4 judges that). A reader that was announced (`reader`) and shown nothing is missing everything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from isthmus.chaos.history.record import Record
from isthmus.chaos.history.timeline import Walk, unjudgeable, walks
from isthmus.chaos.history.verdict import Offence, Promise, Verdict, conclude

PROMISE = Promise(
    "G6",
    "compaction, restore from backup: exactly the source's set, no blanking on the way",
    "0 missing, 0 ghosts, 0 blanked",
    "`shown` deletes against the source's; the sets at the end",
)


def judge(history: Sequence[Record]) -> Verdict:
    """See the module."""
    offences: list[Offence] = []
    samples = 0
    blanked = 0
    for (store, peer), walk in sorted(walks(history).items()):
        blanks = list(_blanked(walk))
        blanked += len(blanks)
        offences += blanks
        offences += _at_the_end(f"{store} at {peer}", walk)
        samples += len(walk.timeline.now.keys() | walk.shown.keys())
        samples += sum(record.text("verb") == "delete" for record in walk.last.values())
    figure = f"{blanked} blanked, {len(offences) - blanked} missing or ghosts"
    return conclude(PROMISE, samples, offences, figure, unjudgeable(history))


def _blanked(walk: Walk) -> Iterator[Offence]:
    for misstep in walk.missteps:
        if misstep.record.text("verb") == "delete" and not misstep.repeated:
            yield Offence("blanked: the source had not deleted it", misstep.record)


def _at_the_end(where: str, walk: Walk) -> Iterator[Offence]:
    now, shown = walk.timeline.now, walk.shown
    for key in sorted(now.keys() | shown.keys()):
        last = walk.last.get(key)
        if key not in shown:
            yield Offence(f"missing: {key} of {where} is {now[key]}, and is not shown", last)
        elif key not in now:
            yield Offence(f"ghost: {key} of {where} is shown, and does not exist", last)
        elif now[key] != shown[key]:
            text = f"missing: {key} of {where} is {now[key]}, shown is {shown[key]}"
            yield Offence(text, last)
