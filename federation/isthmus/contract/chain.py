"""Service chains: what a customer asks for, and what a site is asked to carry of it (R42, R52, DESIGN sections 4, 7).

A :class:`ChainSpec` is what a person writes. The tier that admits it turns it into a :class:`Segment` per site:
an ordered run of functions between two terminals, each an attachment of a customer or a wire to another site. A
site never learns more of a chain than its own segment.

The same models are read in two ways. A *stored* value may come from a newer writer, so fields that this reader does
not know are carried along at every depth (R11): that is what the models do by themselves. What a *person* writes may
be misspelt, so there unknown fields are refused at every depth: that is :meth:`ChainSpec.written`. A model that
refused by itself would make every stored request of a newer version unreadable to an older intake.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from isthmus.contract.envelope import Body, Envelope

Name = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$", min_length=1, max_length=63)
]
"""One segment of a key: lower-case ASCII letters, digits, ``. _ -``, at most 63."""


class Partition(StrEnum):
    """What a chain does when its site is cut off (DESIGN section 7)."""

    AUTONOMOUS = "autonomous"
    EXCLUSIVE = "exclusive"
    REPLICATED = "replicated"


class Resources(Body):
    """What one instance needs: thousandths of a core, MiB."""

    cpu_milli: int = Field(default=100, ge=1, le=1_000_000)
    memory_mib: int = Field(default=64, ge=1, le=16_777_216)


class FunctionSpec(Body):
    """One network function of a chain. ``config`` is opaque to the manager (R36); its VNF type's schema checks it."""

    name: Name
    type: Name
    version: Name = "1"
    config: dict[str, Any] = Field(default_factory=dict)
    resources: Resources = Resources()


class Endpoint(Body):
    """Where a chain begins or ends: an attachment circuit at a site (``site`` empty: the site that is asked)."""

    site: Name | None = None
    attachment: Name


class Constraints(Body):
    """Where the functions may be. Empty lists mean: anywhere. Pairs name functions of the chain."""

    sites: tuple[Name, ...] = ()
    countries: tuple[Name, ...] = ()
    owners: tuple[Name, ...] = ()
    affinity: tuple[tuple[Name, Name], ...] = ()
    anti_affinity: tuple[tuple[Name, Name], ...] = ()


class ChainSpec(Body):
    """A chain as a person declares it; read a person's text with :meth:`written`."""

    tenant: Name
    chain: Name
    ingress: Endpoint
    egress: Endpoint
    functions: tuple[FunctionSpec, ...] = Field(min_length=1, max_length=32)
    bandwidth_kbps: int = Field(default=10_000, ge=1, le=400_000_000)
    latency_budget_ms: float = Field(default=1_000.0, gt=0, le=60_000)
    priority: int = Field(default=1, ge=0, le=1_000)
    partition: Partition = Partition.AUTONOMOUS
    constraints: Constraints = Constraints()

    @classmethod
    def written(cls, text: str) -> Self:
        """The chain in a person's JSON ``text``: strict types, unknown fields refused at every depth.

        Raises pydantic's ValidationError; :func:`isthmus.contract.problems.refusals` puts it in words.
        """
        return cls.model_validate_json(text, strict=True, extra="forbid")

    @model_validator(mode="after")
    def _consistent(self) -> ChainSpec:
        names = [function.name for function in self.functions]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"functions: name {doubled[0]!r} is used twice; give each its own")
        for kind in ("affinity", "anti_affinity"):
            for pair in getattr(self.constraints, kind):
                missing = [name for name in pair if name not in names]
                if missing:
                    raise ValueError(
                        f"constraints.{kind}: {missing[0]!r} is no function of this chain "
                        f"(there are: {', '.join(names)})"
                    )
        return self


class ChainRequest(Body):
    """What the API writes for an ``apply``; its deletion is the request to remove the chain."""

    spec: ChainSpec
    requested_by: str = ""


class Terminal(Body):
    """An end of a segment: a customer's attachment, or a wire to the next site."""

    kind: Literal["attachment", "wire"]
    name: Name


class WireRef(Body):
    """A wire that ends here: its id, its VXLAN network identifier, its UDP port."""

    wire: Name
    vni: int = Field(ge=1, lt=2**24)
    udp_port: int = Field(default=4789, ge=1, le=65535)


class Segment(Body):
    """What one site carries of a chain. ``epoch`` is the fencing token of this placement; an older one is refused."""

    tenant: Name
    chain: Name
    functions: tuple[FunctionSpec, ...] = ()
    left: Terminal
    right: Terminal
    wires: tuple[WireRef, ...] = ()
    bandwidth_kbps: int = Field(default=10_000, ge=1)
    priority: int = 1
    partition: Partition = Partition.AUTONOMOUS
    affinity: tuple[tuple[Name, Name], ...] = ()
    anti_affinity: tuple[tuple[Name, Name], ...] = ()
    epoch: int = Field(default=0, ge=0)
    trail: tuple[Name, ...] = ()
    """Opaque marks of the tiers that passed it on: one that finds its own refuses, so no segment goes round."""


class SegmentIntent(Body):
    """The global tier's wish for one site (``outbox/<site>/intents/``, arriving as ``remote/<peer>/intents/``)."""

    segment: Segment


class WirePeer(Body):
    """The other end of a wire: all that two sites ever learn of each other (never MACs, names, addresses of VNFs)."""

    wire: Name
    vni: int = Field(ge=1, lt=2**24)
    address: str
    udp_port: int = Field(default=4789, ge=1, le=65535)
    heard_at: float = 0.0
    """Upwards only: when packets last came over the wire, UTC seconds of this end's clock; 0: none was seen. It
    vouches for a site whose own link is silent."""


class ChainRecord(Body):
    """A segment admitted by the site's intake, and where it came from (``local`` or the name of a peer)."""

    segment: Segment
    source: Name = "local"
    request_revision: int = 0


class Hop(Body):
    """One step of a plan between two terminals; each names the host it is on."""

    left: HopEnd
    right: HopEnd
    local_wire: WireRef | None = None


class HopEnd(Body):
    """``instance`` ends name the leg (``in``/``out``); attachments and wires have none."""

    host: Name
    kind: Literal["attachment", "wire", "instance"]
    name: Name
    leg: Literal["", "in", "out"] = ""


class PlannedFunction(Body):
    """Which instance serves a function, where, in which life."""

    function: Name
    type: Name
    version: Name
    instance: Name
    host: Name
    incarnation: int = Field(ge=1)


class ChainPlan(Body):
    """The placer's answer for one segment: instances on hosts, and the hops to be patched in order."""

    epoch: int = 0
    functions: tuple[PlannedFunction, ...] = ()
    hops: tuple[Hop, ...] = ()
    wires: tuple[WireRef, ...] = ()
    bandwidth_kbps: int = 10_000


class Phase(StrEnum):
    """Where a chain stands, in the words of ``isthmus get``."""

    PENDING = "pending"
    RUNNING = "running"
    DEGRADED = "degraded"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class FunctionStatus(Body):
    """One function of a chain as last seen; counters are packets since the instance's current life began."""

    function: Name
    type: Name = "unknown"
    site: str = ""
    host: str = ""
    instance: str = ""
    incarnation: int = 0
    phase: str = "pending"
    packets_forward: int = 0
    packets_reverse: int = 0
    packets_dropped: int = 0


class RefusedRequest(Body):
    """Which request of the peer that asks was refused: its epoch, why (in words that the peer may read), and since when
    by the refuser's own clock. What the report is of beside it stands, and may be older."""

    epoch: int = Field(ge=0)
    constraint: str = ""
    reason: str = ""
    since_s: float = 0.0


class ChainStatus(Body):
    """Periodic report of a chain (R43). ``path`` lists ``site/host/function`` in order of the packets."""

    phase: Phase = Phase.PENDING
    reason: str = ""
    source: str = "local"
    epoch: int = 0
    path: tuple[str, ...] = ()
    functions: tuple[FunctionStatus, ...] = ()
    model_latency_ms: float | None = None
    latency_budget_ms: float | None = None
    connected_hops: int = 0
    hops: int = 0
    request_revision: int = 0
    refused: RefusedRequest | None = None
    """To a peer: the refusal of what it asked for last, so that it takes it elsewhere."""


CONFIRMED_AHEAD_S = 60.0
"""So far may the clock of who confirms be ahead of who reads: beyond it the word is not believed."""


class Confirmation(Body):
    """An operator's word at a site: deletions by one peer take effect, however many, for ``for_s`` seconds from when it
    was given (the envelope's ``as_of``). An hour at most: a brake that stays off is none (attack 19)."""

    for_s: int = Field(default=300, ge=1, le=3600)
    confirmed_by: str = ""

    @staticmethod
    def until_utc_s(word: Envelope[Confirmation] | None, now: float) -> float | None:
        """When the word ends, UTC seconds; None when none is in force at ``now``."""
        if word is None or word.as_of > now + CONFIRMED_AHEAD_S:
            return None
        ends = word.as_of + word.body.for_s
        return ends if now < ends else None


class AgreedVersion(Body):
    """The newest version of the export agreement with a peer that was ever in force here: an older one, however well
    signed, gives back what was taken away since (issue 7)."""

    version: int = Field(ge=1)
    title: str = Field("", description="for people")


EXPLAINED_BYTES = 640
"""Of one text of an explanation, as JSON; five candidates of two short texts, eight figures: below 4 KiB in all."""
EXPLAINED_CANDIDATES, EXPLAINED_FIGURES = 5, 8


class Candidate(Body):
    """One place that was looked at, and the number that decided about it."""

    name: str
    verdict: str
    cost: float | None = None

    @classmethod
    def runner_up(cls, places: Sequence[str], cost: float, extra_cost: float) -> Candidate:
        """The second best of an accepted chain: its places in order of the functions, and what it would cost."""
        verdict = f"runner-up, costs {extra_cost:.6g} more"
        return cls(name=" > ".join(places), verdict=verdict, cost=round(cost, 6))

    @field_validator("name", "verdict", mode="before")
    @classmethod
    def _short_text(cls, value: object) -> object:
        return _cut(value, 120)


class Explanation(Body):
    """Why a decision fell as it did: counts per constraint, best candidates, nearest relaxation. Told within 4 KiB
    (DESIGN section 4): what is longer is cut here, since no decision may fail for the length of its reasons.

    ``held``: a peer wants the chain deleted, and the site's brake waits for an operator's :class:`Confirmation`."""

    decision: Literal["accepted", "refused", "held"]
    source: Name = "local"
    constraint: str = ""
    reason: str
    candidates: tuple[Candidate, ...] = ()
    nearest_relaxation: str = ""
    input_revision: int = 0
    epoch: int = Field(
        0, description="of the peer's request it is about; 0: a user's, or a writer of before"
    )
    input_hash: str = ""
    figures: dict[str, float] = Field(default_factory=dict)

    @field_validator("constraint", "reason", "nearest_relaxation", mode="before")
    @classmethod
    def _short_text(cls, value: object) -> object:
        return _cut(value, EXPLAINED_BYTES)

    @field_validator("candidates", mode="after")
    @classmethod
    def _few(cls, value: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
        return value[:EXPLAINED_CANDIDATES]

    @field_validator("figures", mode="after")
    @classmethod
    def _few_figures(cls, value: dict[str, float]) -> dict[str, float]:
        return dict(list(value.items())[:EXPLAINED_FIGURES])


def _cut(text: object, limit_bytes: int) -> object:
    """``text`` as JSON within ``limit_bytes``, its end marked when some is left out."""
    if not isinstance(text, str) or len(json.dumps(text)) <= limit_bytes:
        return text
    while len(json.dumps(text)) > limit_bytes - 3:
        text = text[: len(text) * 9 // 10]
    return f"{text}..."


Hop.model_rebuild()
