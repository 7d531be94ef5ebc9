"""A refusal is answered: the part of a chain that a site or a peer refuses goes elsewhere (issue 7; pure).

What was refused is remembered in the placement itself, in the same write as the answer to it: a restart or another
leader knows it, and no death lies between. Each site has a back-off of its own, so two that refuse are never asked in
turn at once. Nothing is moved that carries its packets, whatever its site would decide about it today.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from isthmus.contract import Envelope
from isthmus.contract.chain import (
    EXPLAINED_CANDIDATES,
    Candidate,
    ChainStatus,
    Explanation,
    Phase,
    Segment,
)
from isthmus.contract.quarantine import CONSTRAINT as QUARANTINED
from isthmus.contract.world import PlacedSegment, Placement, SiteRefusal

FIRST_S, LONGEST_S = 30.0, 600.0
"""A site is asked again after so long; twice as long each time it refuses again, never longer."""
PATIENCE_S = 15.0
"""A site that took this very part and lost its room may have it back: its hosts come back after a restart."""
KEPT = 16
"""So many sites in their back-off, and no other is tried for this chain until one of them is over."""
SAID_BYTES = 240
"""Of a reason that is remembered; the whole one is in the site's report."""
BELOW = "refused below"
"""In an explanation: not our sums decided, but who was asked to carry it."""
WHATEVER = frozenset(
    {
        "attachment", "attachment-taken", "delegation", "loop", "name", "peer", "revoked", "vni",
        "wire", QUARANTINED,
    }
)  # fmt: skip
"""Refusals of the chain as such: the same site would refuse its end without the functions, too."""
EPOCH = "epoch"
"""Not a refusal to carry it: the site remembers a newer decision, and is told a newer one (see epochs)."""

Place = tuple[str, str]
"""A site, and the name of the chain's segment there."""


@dataclass(frozen=True, slots=True)
class Said:
    """``site`` refuses its part of the placement in force. ``bare``: a part without functions."""

    site: str
    constraint: str
    reason: str
    bare: bool = False


def refusal(
    placed: PlacedSegment, epoch: int, told: Envelope[ChainStatus], *, since: bool
) -> Said | None:
    """What a site's report says against ``placed``, of the placement with ``epoch``; None: nothing, or not of this one.

    ``since``: told after it was placed. That is all there is to know of a site of the version before, which tells no
    epoch with a refusal."""
    status, refused = told.body, told.body.refused
    bare = not placed.segment.functions
    if refused is None:
        if status.phase is Phase.REFUSED and status.epoch in (0, epoch) and since:
            return Said(placed.site, "", status.reason, bare)
        return None
    if refused.epoch != epoch or refused.constraint == EPOCH:
        return None
    taken = status.phase is not Phase.REFUSED and status.epoch == epoch
    patient = 0 <= told.as_of - refused.since_s < PATIENCE_S
    if taken and (patient or _carries_all(status)):
        return None
    return Said(placed.site, refused.constraint, refused.reason or status.reason, bare)


def _carries_all(status: ChainStatus) -> bool:
    return (
        0 < status.hops == status.connected_hops
        and all(one.phase == "running" for one in status.functions)
    )  # fmt: skip


def back_off_s(times: int) -> float:
    """How long a site is left alone that refused ``times`` times in a row."""
    return float(min(LONGEST_S, FIRST_S * 2 ** min(times - 1, 16)))


def active(one: SiteRefusal, now: float) -> bool:
    """Is it left alone now? A clock that was far ahead once must not exclude a site for as long."""
    return now < one.until_s <= now + LONGEST_S


def noted(
    memory: Iterable[SiteRefusal], said: Iterable[Said], epoch: int, now: float
) -> tuple[SiteRefusal, ...]:
    """The memory with what the sites say of the placement with ``epoch``; each refusal of it counts once. What is long
    over is forgotten, and so is the oldest that is over where there are too many."""
    kept = {
        one.site: one for one in memory if one.epoch == epoch or now < one.until_s + LONGEST_S
    }  # fmt: skip
    for one in said:
        before = kept.get(one.site)
        if before is not None and before.epoch == epoch:
            continue
        times = before.times + 1 if before is not None else 1
        kept[one.site] = SiteRefusal(
            site=one.site,
            epoch=epoch,
            times=times,
            until_s=now + back_off_s(times),
            constraint=one.constraint[:64],
            reason=one.reason[:SAID_BYTES],
            whole=one.bare or one.constraint in WHATEVER,
        )
    over = sorted(
        (one for one in kept.values() if one.epoch != epoch and not active(one, now)),
        key=lambda one: (one.until_s, one.site),
    )
    for old in over[: max(0, len(kept) - KEPT)]:
        del kept[old.site]
    return tuple(kept[site] for site in sorted(kept))


def excluded(memory: Iterable[SiteRefusal], now: float) -> frozenset[str]:
    """Where no function of the chain may go now."""
    return frozenset(one.site for one in memory if active(one, now))


def asked_too_early(
    memory: Sequence[SiteRefusal], segments: Iterable[PlacedSegment], now: float
) -> str | None:
    """Why this placement may not be tried yet; None: it may. A site in its back-off may still be asked for less: the
    bare end of the chain, where it refused functions."""
    alone = {one.site: one for one in memory if active(one, now)}
    if len(alone) >= KEPT:
        return f"{len(alone)} sites refused it already"
    for placed in segments:
        one = alone.get(placed.site)
        if one is not None and (one.whole or placed.segment.functions):
            return f"the chain cannot do without {placed.site}"
    return None


def is_waiting(explained: Explanation | None) -> bool:
    """Was this said of a chain that nobody takes?"""
    return (
        explained is not None
        and explained.decision == "refused"
        and explained.constraint == BELOW
    )  # fmt: skip


def still(
    memory: Sequence[SiteRefusal],
    current: Placement,
    explained: Explanation | None,
    now: float,
) -> bool:
    """Is this what was said last, with nobody to ask again yet?"""
    return (
        tuple(memory) == current.refusals
        and is_waiting(explained)
        and all(active(one, now) for one in memory)
    )


def wait_s(memory: Iterable[SiteRefusal], now: float) -> float:
    """Until the next site may be asked again."""
    return min((one.until_s - now for one in memory if active(one, now)), default=FIRST_S)


def waiting(
    memory: Sequence[SiteRefusal], epoch: int, because: Explanation, now: float
) -> Explanation:
    """Who refused, why there is no other, and when it is tried again."""
    shown = sorted(
        (one for one in memory if active(one, now) or one.epoch == epoch),
        key=lambda one: (one.epoch != epoch, one.site),
    )
    texts = [f"site {one.site} refused: {one.reason}" for one in shown]
    texts.append(f"no other permitted site, because {because.reason}")
    return because.model_copy(
        update={
            "constraint": BELOW,
            "reason": "; ".join(texts),
            "candidates": (*candidates(shown, now), *because.candidates)[:EXPLAINED_CANDIDATES],
        }
    )


def candidates(memory: Iterable[SiteRefusal], now: float) -> tuple[Candidate, ...]:
    """The sites that refused, for an explanation."""
    return tuple(
        Candidate(
            name=one.site,
            verdict=f"refused {one.times} times, asked again after {back_off_s(one.times):.0f} s: "
            f"{one.reason}",
        )
        for one in memory
        if active(one, now)
    )


def held(
    placement: Placement, told: Mapping[Place, Segment], reports: Mapping[Place, ChainStatus]
) -> frozenset[str]:
    """Make before break: the sites where all that was told of this chain is left as it is for now.

    Where an older placement still carries, nothing is told or taken away until the other sites of this one have taken
    their parts and run the functions. If they refuse, nothing was broken for them. The whole site waits: a second part
    there may need the circuit that the first one has. Only for a chain that was refused somewhere: any other change is
    what its owner asked for."""
    if not placement.refusals:
        return frozenset()
    carrying = frozenset(
        place[0]
        for place, segment in told.items()
        if segment.epoch < placement.epoch and _carries_older(reports.get(place), placement.epoch)
    )
    ready = all(
        _taken(reports.get((one.site, one.segment.chain)), one.segment, placement.epoch)
        for one in placement.segments
        if one.site not in carrying
    )
    return frozenset() if ready else carrying


def _carries_older(status: ChainStatus | None, epoch: int) -> bool:
    return status is not None and status.epoch < epoch and status.connected_hops > 0


def _taken(status: ChainStatus | None, segment: Segment, epoch: int) -> bool:
    if status is None or status.epoch != epoch or status.refused is not None:
        return False
    running = {one.function for one in status.functions if one.phase == "running"}
    return status.phase is not Phase.REFUSED and running >= {one.name for one in segment.functions}
