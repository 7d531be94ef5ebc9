"""What happened in a run that broke a promise, in at most thirty lines for a person.

The schedule, what the links said, the way of the key that offends, and the promise. Everything else is in the history.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from isthmus.chaos.history import Record
from isthmus.chaos.simulation.run import Outcome

LONGEST = 30
WIDEST = 150


def story(outcome: Outcome) -> str:
    """Of a failed run."""
    schedule = outcome.schedule
    head = [
        f"seed {schedule.seed} of world {schedule.world}: {len(schedule.faults)} faults in "
        f"{schedule.lasts_s:g} virtual seconds; replay: "
        f"isthmus simulate --world {schedule.world} --seeds {schedule.seed}"
    ]
    ending = [line for failure in outcome.failures[:3] for line in failure.splitlines()[:5]]
    room = LONGEST - len(head) - len(ending)
    middle = [_line(one) for one in _telling(outcome)]
    if len(middle) > room:
        dropped = len(middle) - room + 1
        middle = [
            *middle[: room // 2],
            f"  ... {dropped} lines ...",
            *middle[-(room - room // 2 - 1) :],
        ]
    return "\n".join(line[:WIDEST] for line in (*head, *middle, *ending))


def _telling(outcome: Outcome) -> Iterable[Record]:
    """Faults, ends of links, and the way of the offending key."""
    keys = _offending(outcome)
    names = ("store", "key", "chain", "link")
    for record in outcome.history.records:
        if record.what == "fault":
            yield record
        elif record.what == "step":
            if record.text("name").startswith("link.") and "greeted" not in record.text("name"):
                yield record
        elif record.what not in ("memory", "reader", "fact") and any(
            (name, record.text(name)) in keys for name in names[1:]
        ):
            store = record.text("store")
            if not store or ("store", store) in keys:
                yield record


def _offending(outcome: Outcome) -> set[tuple[str, str]]:
    """Names and values of the fields that the first offences are about."""
    found: set[tuple[str, str]] = set()
    records: Sequence[Record | None] = [
        offence.record for verdict in outcome.verdicts for offence in verdict.offences[:1]
    ]
    for record in records:
        if record is not None:
            found |= {
                (name, record.text(name))
                for name in ("store", "key", "chain", "link")
                if record.has(name)
            }
    return found


def _line(record: Record) -> str:
    fields = " ".join(f"{name}={value}" for name, value in record.fields.items())
    if record.what == "fault":
        fields = f"{record.text('kind')} {record.text('target')} {record.text('detail')}"
        fields = f"{record.text('phase').upper()} {fields}"
    return f"  {record.t:8.3f} {record.who:<18} {record.what:<6} {fields}"
