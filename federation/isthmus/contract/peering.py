"""What a tier and a site have in common when a peer asks them to carry something (DESIGN 4 and 5, attack 19; pure).

Both decide for themselves: who may ask for whom, under which names, with which epoch; and both hold a peer's deletions
when too many of its chains would end at once. The rules are here, below both, so that a tier that stands for its sites
treats a peer exactly as each of them would.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from isthmus.contract.chain import Explanation, Segment
from isthmus.contract.quarantine import CONSTRAINT as QUARANTINED

BRAKE = "brake"


class Refused(Exception):
    """This request cannot be admitted; the message names field, value and fix."""

    def __init__(self, constraint: str, message: str) -> None:
        super().__init__(message)
        self.constraint = constraint


@dataclass(frozen=True, slots=True)
class Delegation:
    """What a peer may ask of us: its chains' tenants (empty: all), and the largest share of them that it may delete at
    once (the brake); fewer than ``brake_floor`` are never held. ``revoked``: nothing any more."""

    peer: str
    tenants: tuple[str, ...] = ()
    brake_share: float = 0.5
    brake_floor: int = 3
    revoked: bool = False

    def covers(self, tenant: str) -> bool:
        """May the peer ask for chains of ``tenant`` at all?"""
        return not self.revoked and (not self.tenants or tenant in self.tenants)


def by_claim(
    delegations: Sequence[Delegation], tenant: str, holder: str, doubted: Set[str] = frozenset()
) -> list[Delegation]:
    """In which order wishes under one name are heard when several peers have one: who may not ask for ``tenant`` last
    (else it would hide the wish of who may), and ``holder``, whose chain is carried already, first (else any peer of
    the same tenant could take it over by asking for its name). Who is ``doubted`` (quarantined) and carried for no name
    here may ask for nothing new either, so it hides nobody."""

    def claim(one: Delegation) -> tuple[bool, bool]:
        other = one.peer != holder
        return not one.covers(tenant) or (other and one.peer in doubted), other

    return sorted(delegations, key=claim)


def check_names(segment: Segment, tenant: str, chain: str) -> None:
    """The value must be about the chain its key names: a peer's intent may say anything (attack 6)."""
    if (segment.tenant, segment.chain) != (tenant, chain):
        raise Refused(
            "name",
            f"the request at {tenant}/{chain} is about {segment.tenant}/{segment.chain}; "
            "ask for it under its own name",
        )
    names = [function.name for function in segment.functions]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise Refused("name", f"functions: name {doubled[0]!r} is used twice; give each its own")


def check_delegation(
    delegation: Delegation, segment: Segment, in_force: Segment | None, doubt: str | None = None
) -> None:
    """May this peer ask for this tenant, and is it not older than what it asked for before (attack 14)? ``doubt``: what
    we hold of it is quarantined (G9): what stands stays, but nothing new or changed is taken."""
    peer = delegation.peer
    if delegation.revoked:
        raise Refused("revoked", f"{peer} may ask for nothing here any more; talk to the operator")
    if delegation.tenants and segment.tenant not in delegation.tenants:
        raise Refused("delegation", f"{peer} may not ask for tenant {segment.tenant!r} here")
    if in_force is not None and segment.epoch < in_force.epoch:
        raise Refused(
            "epoch", f"epoch {segment.epoch} is older than {in_force.epoch}, which is in force"
        )
    if doubt is not None and segment != in_force:
        raise Refused(
            QUARANTINED,
            f"{peer} is {doubt}; nothing new or changed is taken from it until its link is good again",
        )


def admitted(peer: str, functions: int, doubt: str | None) -> Explanation:
    """Why it is carried; under a ``doubt`` about the peer also why it is carried on."""
    if doubt is None:
        reason = f"admitted for {peer}: {functions} functions"
        return Explanation(decision="accepted", source=peer, reason=reason)
    return Explanation(
        decision="accepted",
        source=peer,
        constraint=QUARANTINED,
        reason=f"{peer} is {doubt}; what stands for it goes on as it is until its link is good "
        "again, or an operator decides",
    )


@dataclass(frozen=True, slots=True)
class Load:
    """``peer`` wants ``ending`` of its ``chains`` deleted; up to ``limit`` go without asking. ``unlisted``: it did
    not ask, it is in our settings no more."""

    peer: str
    ending: int
    chains: int
    limit: int
    unlisted: bool = False

    @property
    def over(self) -> bool:
        """Too many at once?"""
        return self.ending > self.limit

    def __str__(self) -> str:
        if self.unlisted:
            return (
                f"brake: {self.peer} is not in the settings any more, and {self.chains} chains are carried for it; "
                f"list it again, list it with \"revoked\": true, or confirm: 'isthmus brake confirm {self.peer}'"
            )
        return (
            f"brake: {self.peer} wants {self.ending} of its {self.chains} chains deleted at once, "
            f"the limit is {self.limit}; confirm at the site: 'isthmus brake confirm {self.peer}'"
        )

    def explanation(self) -> Explanation:
        """For each held chain. The reason has no numbers: its tenant reads it, and others' chains are not told."""
        return Explanation(
            decision="held",
            source=self.peer,
            constraint=BRAKE,
            reason=f"{self.peer} may not ask for anything here any more; it goes on until an operator decides"
            if self.unlisted
            else f"{self.peer} wants it deleted together with many others; it goes on until the "
            "peer thinks again, or an operator of the site confirms",
            figures={
                "chains_ending": float(self.ending),
                "chains": float(self.chains),
                "limit": float(self.limit),
            },
        )


def load(
    delegation: Delegation, carried: Mapping[str, Segment], wished: Set[str], new: Iterable[Segment]
) -> Load:
    """What the peer wants now. ``carried`` is what we carry for it by ``<tenant>/<chain>``, ``wished`` what it asks
    for, ``new`` the segments of that which we do not carry yet.

    Who was cut off while customers came and went gets all of it at once: a chain whose circuits go to a successor is
    replaced, not lost, and must make room."""
    taken_over = {name for segment in new for name in circuits(segment)}
    ending = [
        item
        for item, segment in carried.items()
        if item not in wished and not taken_over.issuperset(circuits(segment) or ("",))
    ]
    limit = max(delegation.brake_floor, int(len(carried) * delegation.brake_share))
    return Load(delegation.peer, len(ending), len(carried), limit)


def unlisted(peer: str, chains: int) -> Load:
    """All that is carried for a peer that left our settings ends at once: by a word of its operator's (``revoked``), or
    by a slip of ours, which must not empty a site or a tier."""
    usual = Delegation(peer)
    limit = max(usual.brake_floor, int(chains * usual.brake_share))
    return Load(peer, chains, chains, limit, unlisted=True)


def circuits(segment: Segment) -> list[str]:
    """The attachments a segment ends at."""
    return [end.name for end in (segment.left, segment.right) if end.kind == "attachment"]
