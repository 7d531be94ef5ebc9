"""The site's summary as arithmetic: from facts to members, from members to tellings by the contract's rules (pure).

The summarizer's loop only reads the facts and writes what comes out here. What was told last is read back from the
store, so a restarted summarizer goes on with the same promise and tells nothing twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from isthmus.contract.families import SITE_SUMMARY
from isthmus.contract.figures import Told
from isthmus.contract.instance import HostInventory
from isthmus.contract.summaries import rules_of
from isthmus.federation.summaries import Figure, number, tell

RULES = rules_of(SITE_SUMMARY)
Members = Mapping[str, Mapping[str, Figure]]


@dataclass(frozen=True, slots=True)
class SiteFacts:
    """``used`` is CPU and memory per host that *local* chains hold; ``chains`` are accepted, ``held`` are
    the deletions that the brake holds."""

    hosts: Sequence[HostInventory]
    used: Mapping[str, tuple[int, int]]
    chains: Sequence[str]
    held: Sequence[str]
    price_milli: int


def members(facts: SiteFacts) -> dict[str, dict[str, Figure]]:
    """What each summarized field is made of."""
    none = (0, 0)
    free_cpu = {
        host.host: number(max(0, host.cpu_milli - facts.used.get(host.host, none)[0]))
        for host in facts.hosts
    }
    free_memory = {
        host.host: number(max(0, host.memory_mib - facts.used.get(host.host, none)[1]))
        for host in facts.hosts
    }
    return {
        "cpu_milli_total": {host.host: number(host.cpu_milli) for host in facts.hosts},
        "cpu_milli_free": free_cpu,
        "memory_mib_total": {host.host: number(host.memory_mib) for host in facts.hosts},
        "memory_mib_free": free_memory,
        "largest_free_cpu_milli": free_cpu,
        "hosts_up": {host.host: number(1) for host in facts.hosts},
        "chains": {key: number(1) for key in facts.chains},
        "chains_held": {key: number(1) for key in facts.held},
        "price_milli": {"operator": number(facts.price_milli)},
    }


def tell_all(before: Mapping[str, Told], now: Members, now_s: float) -> dict[str, Told]:
    """For every rule of the site's summary: what was told before while it still holds, else a new telling."""
    return {
        field: tell(summary.rule, before.get(field), now[field], now_s)
        for field, summary in RULES.items()
    }


def values(told: Mapping[str, Told]) -> dict[str, int]:
    """The plain fields, for readers that know of no bound."""
    return {field: round(one.values[0]) for field, one in told.items()}
