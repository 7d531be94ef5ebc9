"""The documents that the API answers with; OpenAPI is made from them. Revisions are the store's, times UTC seconds."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from isthmus.contract.chain import ChainSpec, Explanation, Phase


class Document(BaseModel):
    """Base of all answers."""

    model_config = ConfigDict(frozen=True)


class ApplyResult(Document):
    """What became of an apply. ``revision`` is the request's: wait until ``observed`` says that it was looked at."""

    result: Literal["created", "updated", "unchanged", "valid"]
    tenant: str
    chain: str
    revision: int
    generation: int
    message: str
    trace_id: str = ""


class DeleteResult(Document):
    """The request is gone; what carries the chain is taken down after that."""

    result: Literal["deleted"] = "deleted"
    tenant: str
    chain: str
    revision: int
    message: str
    trace_id: str = ""


class ChainRow(Document):
    """One chain in a list. ``phase`` is "unknown" when the last report is older than it may be (G12); ``observed``:
    what is shown is about the newest request; ``decision`` "held": a peer's deletion waits for the site's operator."""

    tenant: str
    chain: str
    source: str = "local"
    phase: Phase
    reason: str = ""
    decision: Literal["", "accepted", "refused", "held"] = ""
    observed: bool = False
    revision: int = 0
    generation: int = 0
    functions: tuple[str, ...] = ()
    path: tuple[str, ...] = ()
    connected_hops: int = 0
    hops: int = 0
    model_latency_ms: float | None = None
    latency_budget_ms: float | None = None
    age_s: float | None = None


class ChainList(Document):
    """Chains in order of their names; ``more`` when the limit cut the list: go on with ``after``."""

    revision: int
    chains: tuple[ChainRow, ...]
    more: bool = False


class Explained(Document):
    """One component's reason; ``current`` when it is about the newest request."""

    component: str
    revision: int
    age_s: float
    current: bool
    explanation: Explanation


class RequestView(Document):
    """What was asked for."""

    spec: ChainSpec
    requested_by: str
    generation: int
    revision: int
    as_of: float
    trace_id: str = ""


class ChainDetail(Document):
    """Everything about one chain. ``record`` is the admitted segment (a site) or intent (the global tier), ``plan``
    the plan or placement; tenants get neither, for they name hosts."""

    row: ChainRow
    request: RequestView | None = None
    record: dict[str, Any] | None = None
    plan: dict[str, Any] | None = None
    status: dict[str, Any] | None = None
    explanations: tuple[Explained, ...] = ()


class ExplainView(Document):
    """Why a chain is as it is."""

    tenant: str
    chain: str
    phase: Phase
    reason: str = ""
    explanations: tuple[Explained, ...] = ()


class SiteRow(Document):
    """One site. ``summary`` is None when nothing is known or it is too old to be believed (``state`` "unknown")."""

    site: str
    state: str
    age_s: float | None = None
    reason: str = ""
    spec: dict[str, Any] | None = None
    summary: dict[str, Any] | None = None
    hosts: tuple[dict[str, Any], ...] = ()


class SiteList(Document):
    """The sites a tier knows; a site knows itself."""

    tier: str
    revision: int
    sites: tuple[SiteRow, ...]


class EventView(Document):
    """What happened; ``revision`` orders events and is what a stream resumes from."""

    revision: int
    time: float
    component: str
    kind: str
    subject: str
    message: str
    severity: str


class EventList(Document):
    """The newest events, oldest first."""

    revision: int
    events: tuple[EventView, ...]
    more: bool = False


class StoreView(Document):
    """The store behind the API."""

    version: str
    revision: int
    db_size_bytes: int
    alarms: tuple[str, ...]


class TierStatus(Document):
    """The tier in one look."""

    tier: str
    name: str
    version: str
    health: Literal["ok", "alarm"]
    store: StoreView
    chains: dict[str, int] = Field(description="number of chains in each phase")
    chains_held: int = Field(0, description="deletions by peers that the site's brake holds")
    streams: int
    uptime_s: float


class BrakeRow(Document):
    """The brake for one peer. ``limit``: so many of its chains go at once without asking, known while it holds."""

    peer: str
    state: Literal["ready", "holding", "confirmed"]
    chains: int
    held: int = 0
    chains_held: tuple[str, ...] = ()
    limit: int | None = None
    confirmed_until: float | None = Field(None, description="UTC seconds")
    confirmed_by: str = ""


class BrakeList(Document):
    """The brake of a site, per peer."""

    revision: int
    brakes: tuple[BrakeRow, ...]


class BrakeResult(Document):
    """What became of a word about the brake; ``held`` is how many deletions waited for it."""

    result: Literal["confirmed", "extended", "held", "unchanged"]
    peer: str
    confirmed_until: float | None = Field(None, description="UTC seconds")
    held: int = 0
    revision: int = 0
    message: str


class ErrorDetail(Document):
    """Why not, and what to do."""

    code: str
    message: str
    field: str
    value: str
    fix: str
    path: tuple[str | int, ...] = ()
    trace_id: str = ""


class ErrorBody(Document):
    """The one body of all failures."""

    error: ErrorDetail
