"""G5: nobody sees time run backwards; etcd's words for it are Ordered, Unique and Resumable.

Per reader and key, what is shown must be a way forward through what the source held. Values decide, since a reader
of a mirror cannot see the source's revisions; where revisions were recorded, they must rise within one incarnation,
and an incarnation that was left must not come back. A restore of the source is a step forward, back to an old
state. Resumable: what was skipped at a reconnect is missing at the end, which G6 counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from isthmus.chaos.history.record import Record
from isthmus.chaos.history.timeline import Misstep, unjudgeable, walks
from isthmus.chaos.history.verdict import Offence, Promise, Verdict, conclude, of_kind

PROMISE = Promise(
    "G5",
    "per (peer, incarnation) revisions only rise; nobody sees time run backwards",
    "0",
    "`shown` records against the order of `held`",
)


def judge(history: Sequence[Record]) -> Verdict:
    """See the module."""
    offences: list[Offence] = []
    samples = 0
    for walk in walks(history).values():
        samples += walk.steps
        offences += [Offence(_broken(m), m.record) for m in walk.missteps if _is_order(m)]
    offences += _revisions(history)
    offences.sort(key=lambda offence: offence.record.n if offence.record else 0)
    figure = f"{len(offences)} of {samples} shown changes"
    return conclude(PROMISE, samples, offences, figure, unjudgeable(history))


def _is_order(misstep: Misstep) -> bool:
    return misstep.repeated or misstep.record.text("verb") == "put"


def _broken(misstep: Misstep) -> str:
    if misstep.repeated:
        return "broke Unique: the same change is shown twice"
    if misstep.known:
        return "broke Ordered: the key went back in time"
    return "broke Ordered: the source never held this value for this key"


def _revisions(history: Sequence[Record]) -> Iterator[Offence]:
    """What recorded revisions and incarnations say."""
    newest: dict[tuple[str, str, str, str], int] = {}
    left: dict[tuple[str, str], list[str]] = {}
    for record in of_kind(history, "shown"):
        if not record.has("inc"):
            continue
        store, peer, inc = (record.text(name) for name in ("store", "peer", "inc"))
        known = left.setdefault((store, peer), [inc])
        if inc in known[:-1]:
            yield Offence(f"broke Ordered: incarnation {inc} had been left", record)
        elif inc != known[-1]:
            known.append(inc)
        if record.has("rev"):
            name = (store, peer, inc, record.text("key"))
            before, now = newest.get(name, 0), record.whole("rev")
            if now <= before:
                yield Offence(f"broke Ordered: revision {now} after {before}", record)
            newest[name] = max(before, now)
