"""What crosses to a peer, key by key, and what is held back and why (issue: federation lens).

It asks the store that exports, with the very filter that the link uses, so it cannot tell another story than the wire.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from pydantic import BaseModel, ConfigDict

from isthmus.contract.envelope import utc_seconds
from isthmus.contract.scopes import ExportRoot
from isthmus.federation.filters import Denial, DenialLog, ExportFilter, KeyCheck
from isthmus.federation.terms import FlowGate
from isthmus.kv.port import Entry, KeyValueStore
from isthmus.policy.keys import ROOT

AGREEMENT = "export:agreement-"
"""How the codes begin that an agreement holds keys back by; the others are the scope's."""


class Crossing(BaseModel):
    """One key that crosses: as it is called here and there, and its size."""

    model_config = ConfigDict(frozen=True)

    source: str
    relative: str
    bytes: int
    revision: int


class Lens(BaseModel):
    """``held_back`` are keys below the export roots that the scope stops; ``outside`` counts keys by family that no
    root covers (only those the asker may read)."""

    model_config = ConfigDict(frozen=True)

    peer: str
    crossing: tuple[Crossing, ...]
    held_back: tuple[Denial, ...]
    held_back_total: int
    outside: dict[str, int]
    agreement: str = ""
    held_back_by_agreement: int = 0

    @property
    def total_bytes(self) -> int:
        """Keys and values of a first copy."""
        return sum(len(one.relative) + one.bytes for one in self.crossing)


async def lens(
    store: KeyValueStore,
    peer: str,
    roots: tuple[ExportRoot, ...],
    check: KeyCheck,
    *,
    everything: bool = False,
    terms: FlowGate | None = None,
    agreement: str = "",
    utc_s: Callable[[], float] = utc_seconds,
) -> Lens:
    """Look at what crosses to ``peer``; with ``terms`` under an agreement, which is called ``agreement``.
    ``everything``: count what lies outside, too (needs the right to read all)."""
    denials = DenialLog()
    filter_ = ExportFilter(roots, terms or check, denials, values=terms, utc_s=utc_s)
    crossing: list[Crossing] = []
    for lane, root in enumerate(roots):
        for entry in await _entries(store, root.source):
            relative = filter_.relative(lane, entry.key)
            if relative is not None and filter_.value_passes(entry.key, entry.value):
                crossing.append(
                    Crossing(
                        source=entry.key,
                        relative=relative,
                        bytes=len(entry.value),
                        revision=entry.mod_revision,
                    )
                )
    outside: Counter[str] = Counter()
    if everything:
        inside = {one.source for one in crossing}
        for entry in await _entries(store, ROOT):
            if entry.key not in inside:
                outside[entry.key[len(ROOT) :].split("/", 1)[0]] += 1
    return Lens(
        peer=peer,
        crossing=tuple(crossing),
        held_back=tuple(denials.newest),
        held_back_total=denials.total("export"),
        held_back_by_agreement=sum(
            count for reason, count in denials.counts.items() if reason.startswith(AGREEMENT)
        ),
        agreement=agreement,
        outside=dict(outside),
    )


async def _entries(store: KeyValueStore, source: str) -> tuple[Entry, ...]:
    if source.endswith("/"):
        return (await store.snapshot(source)).entries
    entry = await store.get(source)
    return () if entry is None else (entry,)
