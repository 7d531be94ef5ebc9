"""Does a component keep docs/spec.md? Asked of the store, with the component's own certificate (R10, R46, R47).

It tests that page and nothing else: every finding names the clause it breaks, and a clause that cannot be seen from
outside is not in :data:`CLAUSES`. Nothing is changed on the way, so it runs beside a component at work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from isthmus.contract.envelope import utc_seconds
from isthmus.contract.errors import ContractError, ValueRefused
from isthmus.contract.families import APPLIED, CONFIG, CONFIG_OWNERS
from isthmus.contract.instance import ConfigOwner
from isthmus.contract.judge import Finding, judge_change, judge_entries, judge_function
from isthmus.contract.probes import Prober
from isthmus.contract.registry import read
from isthmus.contract.subject import Kind, Subject
from isthmus.kv.errors import PermissionDenied, Unauthenticated
from isthmus.kv.etcd import EtcdStore
from isthmus.kv.port import Entry
from isthmus.kv.settings import EtcdSettings

CLAUSES: dict[str, str] = {
    "S1": "reaches the store as its own user",
    "K1": "keys keep the grammar",
    "K3": "keys belong to a family, or lie below x/<vendor>/",
    "A1": "its own keys are open to it",
    "A2": "others' keys are closed to its writes",
    "A3": "what it is no reader of is closed to its reads and watches",
    "A4": "wide ranges and neighbours are closed",
    "A5": "a stretched watch is refused",
    "A6": "a nested transaction is refused",
    "V1": "values are envelopes within the limit",
    "V2": "bodies are what the family says",
    "V3": "origin names the writer",
    "V4": "as_of is given and not in the future",
    "V5": "nothing newer is replaced by something older",
    "V7": "schema versions are in reach",
    "V8": "pointers are well formed",
    "T1": "what ages is renewed or deleted",
    "L1": "leadership is bound to a lease",
    "N1": "each configuration is answered",
    "N2": "a refusal leaves in force what was",
    "N3": "the owner in force is named",
    "N4": "state and statistics of this life are published",
    "X1": "the vendor's own keys keep the envelope",
}
"""What is tested, in the order of the page."""

_FUNCTION_ONLY = ("N1", "N2", "N3", "N4")
_POLL_S = 0.1
MAX_FINDINGS = 20
"""Of one clause; a component that gets one thing wrong gets it wrong on every key."""


@dataclass(slots=True)
class Verdict:
    """One clause: ``outcome`` is ``ok``, ``failed`` or ``not-applicable``; ``reason`` says why the last."""

    clause: str
    title: str
    outcome: str = "ok"
    reason: str = ""
    findings: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Report:
    """All clauses, for ``subject``. ``values`` is how many values were judged."""

    subject: Subject
    verdicts: dict[str, Verdict]
    values: int = 0

    @property
    def conforms(self) -> bool:
        """No clause is broken."""
        return all(verdict.outcome != "failed" for verdict in self.verdicts.values())

    def add(self, found: Iterable[Finding]) -> None:
        """File findings under their clauses."""
        for clause, text in found:
            verdict = self.verdicts[clause]
            verdict.outcome = "failed"
            if text not in verdict.findings and len(verdict.findings) < MAX_FINDINGS:
                verdict.findings.append(text)

    def skip(self, clauses: Iterable[str], reason: str) -> None:
        """These say nothing about this subject."""
        for clause in clauses:
            self.verdicts[clause].outcome = "not-applicable"
            self.verdicts[clause].reason = reason

    def as_json(self) -> dict[str, object]:
        """For machines."""
        return {
            "subject": self.subject.user,
            "kind": self.subject.kind.value,
            "tier": self.subject.tier.value,
            "conforms": self.conforms,
            "values": self.values,
            "clauses": [
                {
                    "clause": verdict.clause,
                    "title": verdict.title,
                    "outcome": verdict.outcome,
                    "reason": verdict.reason,
                    "findings": verdict.findings,
                }
                for verdict in self.verdicts.values()
            ],
        }

    def as_text(self) -> str:
        """For people: what failed first, each with its sentences."""
        lines = [f"{self.subject.user} ({self.subject.kind.value}, {self.subject.tier.value} tier)"]
        for verdict in self.verdicts.values():
            mark = {"ok": "ok", "failed": "FAILED", "not-applicable": "-"}[verdict.outcome]
            reason = f" ({verdict.reason})" if verdict.reason else ""
            lines.append(f"  {verdict.clause:<3} {mark:<6} {verdict.title}{reason}")
            lines += [f"             {finding}" for finding in verdict.findings]
        failed = [one.clause for one in self.verdicts.values() if one.outcome == "failed"]
        verdict_line = f"breaks {', '.join(failed)} of docs/spec.md" if failed else "conforms"
        lines.append(f"{self.subject.user}: {verdict_line}; {self.values} values judged")
        return "\n".join(lines)


def empty_report(subject: Subject) -> Report:
    """Every clause, not yet broken; what is not for this kind is said so."""
    report = Report(subject, {clause: Verdict(clause, title) for clause, title in CLAUSES.items()})
    if subject.kind is not Kind.INSTANCE:
        report.skip(_FUNCTION_ONLY, "for network functions")
    if subject.kind is not Kind.VENDOR:
        report.skip(("X1",), "for vendors' own components")
    if subject.role.root:
        report.skip(
            ("A2", "A3", "A4", "A5", "A6"), "it edits users, so the store refuses it nothing"
        )
    return report


async def check(
    subject: Subject,
    settings: EtcdSettings,
    *,
    observe_s: float = 0.0,
    timeout_s: float = 10.0,
    now: Callable[[], float] = utc_seconds,
) -> Report:
    """Judge ``subject`` on the store behind ``settings`` (with its own certificate), over ``observe_s`` seconds.

    Raises StoreError when the store cannot be reached at all.
    """
    report = empty_report(subject)
    async with EtcdStore.connect(settings) as store:
        await store.status(timeout_s=timeout_s)
        if not await _admitted(subject, store, timeout_s):
            text = f"the store does not know this certificate as {subject.user!r}"
            report.add([("S1", f"{text}, or gives it no rights")])
            report.skip([clause for clause in CLAUSES if clause != "S1"], "not let in")
            return report
        await _access(report, Prober(subject, store, settings, timeout_s=timeout_s))
        if subject.kind is Kind.INSTANCE:
            await _function(report, store, timeout_s)
        await _values(report, store, observe_s, timeout_s, now)
    return report


async def _admitted(subject: Subject, store: EtcdStore, timeout_s: float) -> bool:
    """S1: at least one of its own keys can be read."""
    for key in subject.own_keys():
        try:
            await store.get(key, timeout_s=timeout_s)
        except (PermissionDenied, Unauthenticated):
            continue
        return True
    return False


async def _access(report: Report, prober: Prober) -> None:
    probes: dict[str, Callable[[], Awaitable[list[str]]]] = {
        "A1": prober.own_access,
        "A2": prober.foreign_writes,
        "A3": prober.foreign_reads,
        "A4": prober.wide_ranges,
        "A5": prober.stretched_watch,
        "A6": prober.nested_transaction,
    }
    for clause, probe in probes.items():
        if report.verdicts[clause].outcome != "not-applicable":
            report.add((clause, text) for text in await probe())


async def _values(
    report: Report,
    store: EtcdStore,
    observe_s: float,
    timeout_s: float,
    now: Callable[[], float],
) -> None:
    first = await _entries(report.subject, store, timeout_s)
    report.add(judge_entries(report.subject, first, now()))
    report.values = len(first)
    if observe_s > 0:
        await asyncio.sleep(observe_s)
        second = await _entries(report.subject, store, timeout_s)
        report.add(judge_entries(report.subject, second, now()))
        report.add(judge_change({entry.key: entry for entry in first}, second))
        report.values = max(len(first), len(second))


async def _entries(subject: Subject, store: EtcdStore, timeout_s: float) -> list[Entry]:
    found: list[Entry] = []
    for target in subject.writes:
        try:
            if target.endswith("/"):
                found += (await store.snapshot(target, timeout_s=timeout_s)).entries
            elif (entry := await store.get(target, timeout_s=timeout_s)) is not None:
                found.append(entry)
        except PermissionDenied:
            continue  # filed under A1
    return found


async def _function(report: Report, store: EtcdStore, timeout_s: float) -> None:
    """A function may need a moment for its newest configuration: the last look counts."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        try:
            found = list(judge_function(report.subject.name, await _together(report, store)))
        except ContractError:
            return  # the value itself is filed under V1, V2 or V7
        except PermissionDenied as refused:
            report.add([("A1", f"it may not read what it is configured by: {refused}")])
            return
        late = asyncio.get_running_loop().time() >= deadline
        if not found or late:
            report.add(found)
            return
        await asyncio.sleep(_POLL_S)


async def _together(report: Report, store: EtcdStore) -> dict[str, Entry]:
    """Its own keys, its owner's, its configuration's; a configuration that is not its to read is not there."""
    instance = report.subject.name
    own = APPLIED.prefix(instance=instance).rsplit("/", 1)[0] + "/"
    entries = {entry.key: entry for entry in (await store.snapshot(own)).entries}
    owner_key = CONFIG_OWNERS.key(instance=instance)
    owner = "configurator"
    if (entry := await store.get(owner_key)) is not None:
        entries[owner_key] = entry
        held = read(report.subject.tier, owner_key, entry.value).body
        if not isinstance(held, ConfigOwner):
            raise ValueRefused(f"{owner_key}: a ConfigOwner is expected")
        owner = held.owner
    config_key = CONFIG.key(owner=owner, instance=instance)
    if (entry := await store.get(config_key)) is not None:
        entries[config_key] = entry
    return entries
