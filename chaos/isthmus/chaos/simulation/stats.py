"""What a run has really exercised, counted, so that coverage cannot lie (issue 5, point 3).

Four tables: hits per fault kind, per failpoint, per protocol transition, and samples that each promise was judged on: a
judge without samples has judged nothing. ``simulate --stats`` prints them over all seeds; what is expected of a world
and was never hit is named, and fails the CI's set.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

TABLES = ("faults", "failpoints", "transitions", "judged")


@dataclass(slots=True)
class Stats:
    """Counters by name."""

    faults: Counter[str] = field(default_factory=Counter)
    failpoints: Counter[str] = field(default_factory=Counter)
    transitions: Counter[str] = field(default_factory=Counter)
    judged: Counter[str] = field(default_factory=Counter)
    steps: int = 0
    virtual_s: float = 0.0
    records: int = 0

    def add(self, other: Stats) -> None:
        """Another run's."""
        for table in TABLES:
            getattr(self, table).update(getattr(other, table))
        self.steps += other.steps
        self.virtual_s += other.virtual_s
        self.records += other.records

    def zeros(self, expected: Mapping[str, Iterable[str]]) -> list[str]:
        """``table name`` of everything expected that was never hit."""
        return [
            f"{table} {name}"
            for table, names in expected.items()
            for name in sorted(names)
            if not getattr(self, table)[name]
        ]

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            **{table: dict(sorted(getattr(self, table).items())) for table in TABLES},
            "steps": self.steps,
            "virtual_s": round(self.virtual_s, 3),
            "records": self.records,
        }


def tables(stats: Stats, expected: Mapping[str, Iterable[str]]) -> str:
    """For people; a zero stands out."""
    lines = []
    for table in TABLES:
        found: Counter[str] = getattr(stats, table)
        names = sorted({*found, *expected.get(table, ())})
        if names:
            lines.append(f"{table}:")
        for name in names:
            lines.append(f"  {name:<36}{found[name]:>10}{'' if found[name] else '   NEVER'}")
    lines.append(
        f"{stats.steps} steps, {stats.virtual_s:.0f} virtual seconds, {stats.records} records"
    )
    return "\n".join(lines)
