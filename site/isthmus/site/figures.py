"""The site's summary as arithmetic: from facts to members, from members to tellings by the contract's rules (pure).

The summarizer's loop only reads the facts and writes what comes out here. What was told last is read back from the
store, so a restarted summarizer goes on with the same promise and tells nothing twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from isthmus.contract.alarms import Alarm, badness, listed
from isthmus.contract.families import SITE_SUMMARY
from isthmus.contract.figures import Told
from isthmus.contract.instance import HostInventory, SiteSummary
from isthmus.contract.summaries import ALARMS, FREE_SLOTS, HOTTEST, rules_of
from isthmus.federation.summaries import Figure, histogram_of, number, plain, tell

RULES = rules_of(SITE_SUMMARY)
Members = Mapping[str, Mapping[str, Figure]]


@dataclass(frozen=True, slots=True)
class SiteFacts:
    """``used`` is CPU and memory per host that *local* chains hold; ``chains`` are accepted, ``held`` are
    the deletions that the brake holds. ``load`` is CPU per host that chains hold, whoever asked for them; ``alarms``
    are all that are raised, by their kind."""

    hosts: Sequence[HostInventory]
    used: Mapping[str, tuple[int, int]]
    chains: Sequence[str]
    held: Sequence[str]
    price_milli: int
    load: Mapping[str, int] = field(default_factory=dict)
    alarms: Mapping[str, Alarm] = field(default_factory=dict)


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
        FREE_SLOTS: {
            host: histogram_of(RULES[FREE_SLOTS].rule, one.value) for host, one in free_cpu.items()
        },
        HOTTEST: {
            host.host: number(1000 * facts.load.get(host.host, 0) / host.cpu_milli)
            for host in facts.hosts
            if host.cpu_milli
        },
        ALARMS: {name: number(badness(one)) for name, one in facts.alarms.items()},
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


def body(
    facts: SiteFacts, before: SiteSummary | None, now_s: float
) -> tuple[dict[str, Any], dict[str, Told]]:
    """The summarized fields of the site's summary, and their tellings; ``before`` is what it told last."""
    old = before.told if before is not None else {}
    told = tell_all(old, members(facts), now_s)
    alarms = listed(
        told[ALARMS],
        facts.alarms,
        before.alarms if before is not None else (),
        told[ALARMS] is not old.get(ALARMS),
        now_s,
    )
    return {**plain(told), ALARMS: alarms}, told
