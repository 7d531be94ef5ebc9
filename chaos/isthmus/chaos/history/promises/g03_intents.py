"""G3: what was acknowledged takes effect or is reported failed; nothing is lost, nothing done twice.

The asks of one chain are a register. An ask without an answer may have happened or not, at any time from then on;
two that overlap may have happened in either order, unless their revisions tell. So the end state must be explained by
*some* ask that no acknowledged ask is certainly behind. Then: a put is running or says why not, a delete is gone.
Whoever runs an older version than the acknowledged one has lost an intent, too; and so has who says "pending" for ever.
The end state must have been looked at *after* the last answer, or nothing is known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from isthmus.chaos.history.record import Record
from isthmus.chaos.history.verdict import Offence, Promise, Verdict, conclude, of_kind

PROMISE = Promise(
    "G3",
    "an acknowledged intent takes effect or is reported failed",
    "0 lost, 0 doubled",
    "`ask` records against the last `effect` of each chain",
)
GONE = "gone"
UNSETTLED = frozenset({"pending", "unknown", "deleting"})
"""Neither in effect nor failed."""
Chain = tuple[str, str]


@dataclass(slots=True)
class _Ask:
    """One operation: its records so far."""

    sent: Record
    answer: Record | None = None

    @property
    def phase(self) -> str:
        return "unknown" if self.answer is None else self.answer.text("phase")

    @property
    def may_have_happened(self) -> bool:
        return self.phase != "refused"

    @property
    def revision(self) -> int:
        return 0 if self.answer is None else self.answer.whole("revision")

    def certainly_before(self, other: _Ask) -> bool:
        """True when ``other``, acknowledged, took place after this one."""
        if self.phase != "acked" or self.answer is None:
            return False
        if self.revision and other.revision:
            return self.revision < other.revision
        return self.answer.n < other.sent.n


def judge(history: Sequence[Record]) -> Verdict:
    """See the module."""
    asks = _asks(history)
    effects: dict[Chain, Record] = {}
    for record in of_kind(history, "effect"):
        effects[record.text("tier"), record.text("chain")] = record
    offences = list(_twice(history))
    samples = 0
    for chain, operations in sorted(asks.items()):
        acked = [ask for ask in operations if ask.phase == "acked"]
        samples += len(acked)
        offences += _settled(operations, acked, effects.get(chain))
    figure = f"{samples} acknowledged on {len(asks)} chains, {len(offences)} lost or doubled"
    return conclude(PROMISE, samples, offences, figure)


def _asks(history: Sequence[Record]) -> dict[Chain, list[_Ask]]:
    operations: dict[str, _Ask] = {}
    chains: dict[Chain, list[_Ask]] = defaultdict(list)
    for record in of_kind(history, "ask"):
        op = record.text("op")
        known = operations.get(op)
        if known is None:
            known = operations[op] = _Ask(record)
            chains[record.text("tier"), record.text("chain")].append(known)
        if record.text("phase") != "sent" and known.phase != "acked":
            known.answer = record
    return chains


def _twice(history: Sequence[Record]) -> Iterator[Offence]:
    """One idempotency key, two revisions: the repeated ask was done again."""
    done: dict[tuple[str, str, str], int] = {}
    for record in of_kind(history, "ask"):
        revision = record.whole("revision")
        if record.text("phase") != "acked" or not record.has("key") or not revision:
            continue
        name = (record.text("tier"), record.text("chain"), record.text("key"))
        if done.setdefault(name, revision) != revision:
            yield Offence(f"done twice: first at revision {done[name]}, then again", record)


def _settled(
    operations: Sequence[_Ask], acked: Sequence[_Ask], effect: Record | None
) -> Iterator[Offence]:
    """What is wrong with the end state of one chain."""
    if not acked:
        if effect is not None:
            yield from _unasked(operations, effect)
        return
    last = max(acked, key=lambda ask: ask.answer.n if ask.answer else 0)
    if effect is None or (last.answer is not None and effect.n < last.answer.n):
        yield Offence("acknowledged, and nobody looked at it afterwards", last.answer)
        return
    happened = [ask for ask in operations if ask.may_have_happened]
    possible = [ask for ask in happened if not any(ask.certainly_before(later) for later in acked)]
    # Revisions that run in a circle (the tier's store was restored in between) tell nothing: then any ask may stand.
    possible = possible or happened
    faults = [_explains(ask, effect) for ask in possible]
    if all(faults):
        yield Offence(str(faults[-1]), effect)
    yield from _doubled(effect)


def _unasked(operations: Sequence[_Ask], effect: Record) -> Iterator[Offence]:
    """A chain that runs although everything asked was refused."""
    wanted = any(ask.may_have_happened for ask in operations)
    if effect.text("phase") == "running" and not wanted:
        yield Offence("refused, and done nevertheless", effect)
    yield from _doubled(effect)


def _explains(ask: _Ask, effect: Record) -> str:
    """Why ``effect`` is not what ``ask`` leads to; empty when it is."""
    phase, asked = effect.text("phase"), ask.sent.text("verb")
    if asked == "delete":
        return "" if phase == GONE else f"lost: the delete was acknowledged, and it is {phase}"
    if phase == GONE:
        return "lost: acknowledged, and it is gone"
    if phase in UNSETTLED:
        return f"lost: acknowledged, and still {phase} at the end"
    if phase != "running":
        told = effect.text("reason")
        return "" if told else f"lost: acknowledged, it is {phase} and nobody says why"
    seen = effect.whole("revision")
    if ask.revision and seen and seen < ask.revision:
        return f"lost: acknowledged at revision {ask.revision}, it still runs that of {seen}"
    return ""


def _doubled(effect: Record) -> Iterator[Offence]:
    count = effect.whole("count", 1)
    wanted = 0 if effect.text("phase") == GONE else 1
    if effect.has("count") and count > wanted:
        yield Offence(f"doubled: its instances exist {count} times", effect)
