"""The world changes: repair what failed, let chains expire, work fragmentation off, preempt.

All on a live :class:`Usage`, all by the exact search for one chain, all bounded: a repair touches
only the chains that lost something, a migration plan moves at most as many as it may, and
preemption happens only when the caller asks for it by name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from isthmus.placement.model import ChainDemand, Placement, Refusal
from isthmus.placement.online import DEFAULT_WORK, place
from isthmus.placement.usage import Usage

REPAIR_GAP = 0.25  # of a chain's cost, some 1 % of its worth: a failed site waits for nobody
TRIED = 24  # chains in the way that are tried for a move, the smallest first


@dataclass(frozen=True)
class Repair:
    """What became of the chains that lost their place."""

    moved: dict[str, Placement] = field(default_factory=dict)
    refused: dict[str, Refusal] = field(default_factory=dict)
    preempted: dict[str, ChainDemand] = field(default_factory=dict)


def by_importance(chains: Iterable[ChainDemand]) -> list[ChainDemand]:
    """Most important first; of equals the smaller (by bandwidth), then by id."""
    return sorted(chains, key=lambda c: (-c.priority, sum(c.bandwidth_kbps), c.id))


def repair(
    usage: Usage,
    lost: Iterable[str],
    *,
    work: int = DEFAULT_WORK,
    preempting: bool = False,
    reasons: bool = False,
    proof: bool = True,
    gap: float = REPAIR_GAP,
) -> Repair:
    """Place the chains ``lost`` (as ``usage.fail_site`` names them) anew, the important first."""
    homeless = [usage.release(chain_id)[0] for chain_id in lost]
    moved: dict[str, Placement] = {}
    refused: dict[str, Refusal] = {}
    victims: dict[str, ChainDemand] = {}
    for chain in by_importance(homeless):
        answer = place(usage, chain, work=work, gap=gap, reasons=reasons, proof=proof)
        if isinstance(answer, Refusal) and preempting:
            plan = preempt(usage, chain, work=work)
            if plan is not None:
                for victim in plan.victims:
                    victims[victim.id] = usage.release(victim.id)[0]
                answer = plan.placement
        if isinstance(answer, Refusal):
            refused[chain.id] = answer
            continue
        usage.apply(chain, answer)
        moved[chain.id] = answer
    for victim in by_importance(victims.values()):
        again = place(usage, victim, work=work, gap=gap, reasons=reasons, proof=proof)
        if isinstance(again, Placement):
            usage.apply(victim, again)
            moved[victim.id] = again
            del victims[victim.id]
        else:
            refused[victim.id] = again
    return Repair(moved, refused, victims)


def expire(usage: Usage, ended: Iterable[str]) -> None:
    """Give back what ended chains took."""
    for chain_id in ended:
        usage.release(chain_id)


@dataclass(frozen=True)
class Preemption:
    """A place for a chain that holds once the victims, all of lower priority, are gone."""

    placement: Placement
    victims: tuple[ChainDemand, ...]


def preempt(usage: Usage, chain: ChainDemand, *, work: int = DEFAULT_WORK) -> Preemption | None:
    """A place for ``chain`` at the expense of chains of lower priority, or None.

    Nobody is preempted in vain: the victims are those that do not fit beside the place found,
    tried from the most important down, and together they weigh less than the chain.
    """
    trial = usage.copy()
    lower = [c for c, _ in usage.placed.values() if c.priority < chain.priority]
    if not lower:
        return None
    stood = {c.id: trial.release(c.id)[1] for c in lower}
    answer = place(trial, chain, work=work, proof=False)
    if isinstance(answer, Refusal):
        return None
    trial.apply(chain, answer)
    victims = [c for c in by_importance(lower) if not _try_apply(trial, c, stood[c.id])]
    if sum(c.priority for c in victims) >= chain.priority:
        return None
    return Preemption(answer, tuple(victims))


def _try_apply(usage: Usage, chain: ChainDemand, placement: Placement) -> bool:
    from isthmus.placement.errors import CapacityExceeded

    try:
        usage.apply(chain, placement)
    except CapacityExceeded:
        return False
    return True


@dataclass(frozen=True)
class Migration:
    """A place for a chain once the listed chains have moved to their new places, in this order."""

    placement: Placement
    moves: tuple[tuple[ChainDemand, Placement], ...]


def admit_by_moving(
    usage: Usage, chain: ChainDemand, *, most: int = 2, work: int = 500
) -> Migration | None:
    """Work fragmentation off: let ``chain`` in by moving at most ``most`` others, or None.

    Finds the walk that lacks least if everything could be overbooked, and moves chains out of its
    way one at a time, the one whose new place costs least more; each move is possible in itself.
    """
    trial = usage.copy()
    moves: list[tuple[ChainDemand, Placement]] = []
    while len(moves) < most:
        wanted = _wanted(trial, chain, work)
        if wanted is None:
            return None
        best = _cheapest_move(trial, chain, wanted, {c.id for c, _ in moves}, work)
        if best is None:
            return None
        moved, there = best
        trial.release(moved.id)
        trial.apply(moved, there)
        moves.append(best)
        answer = place(trial, chain, work=work, proof=False)
        if isinstance(answer, Placement):
            return Migration(answer, tuple(moves))
    return None


def _wanted(usage: Usage, chain: ChainDemand, work: int) -> Placement | None:
    from isthmus.placement.relax import least_overbooked

    return least_overbooked(usage, chain, work=work)


def _cheapest_move(
    usage: Usage, chain: ChainDemand, wanted: Placement, moved: set[str], work: int
) -> tuple[ChainDemand, Placement] | None:
    """The chain in the way whose next best place, away from what is wanted, costs least more."""
    from isthmus.placement.relax import shortage

    changes, _ = shortage(usage, chain, wanted)
    short = {c.what.split(" ", 1)[1] for c in changes}
    best: tuple[float, str, tuple[ChainDemand, Placement]] | None = None
    in_way = []
    for other, stands in usage.placed.values():
        links = {link for hop in stands.hops for link in hop}
        if other.id not in moved and not short.isdisjoint(links.union(stands.sites)):
            in_way.append((other, stands))
    in_way.sort(key=lambda row: (sum(row[0].bandwidth_kbps), row[0].id))
    for other, stands in in_way[:TRIED]:
        usage.release(other.id)
        held = _hold(usage, changes)
        there = place(usage, other, work=work, proof=False)
        _unhold(usage, held)
        usage.apply(other, stands)
        if isinstance(there, Placement):
            row = (there.cost - stands.cost, other.id, (other, there))
            best = row if best is None or row[:2] < best[:2] else best
    return None if best is None else best[2]


def _hold(usage: Usage, changes: Iterable[object]) -> list[tuple[bool, int, int]]:
    """Keep what is short out of reach while another place is sought; (is link, index, amount)."""
    from isthmus.placement.model import Change

    held = []
    for change in changes:
        assert isinstance(change, Change)
        name = change.what.split(" ", 1)[1]
        if change.what.startswith("on "):
            at = usage.compiled.link_index[name]
            amount = max(0, int(usage.link_room[at]))
            usage.link_room[at] -= amount
            usage.touched()
            held.append((True, at, amount))
        else:
            r = usage.compiled.resources.index(change.unit)
            at = r * len(usage.network.sites) + usage.compiled.site_index[name]
            amount = max(0, int(usage.site_room[at]))
            usage.site_room[at] -= amount
            usage.touched()
            held.append((False, at, amount))
    return held


def _unhold(usage: Usage, held: Iterable[tuple[bool, int, int]]) -> None:
    for is_link, at, amount in held:
        if is_link:
            usage.link_room[at] += amount
            usage.touched()
        else:
            usage.site_room[at] += amount
            usage.touched()
