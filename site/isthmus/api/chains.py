"""Reading chains: one consistent look at the store, turned into rows and details (DESIGN section 7, R43)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from isthmus.api import facts as pure
from isthmus.api.apply import not_known
from isthmus.api.auth import Principal
from isthmus.api.desk import Desk
from isthmus.api.facts import ChainFacts, Fact, fact
from isthmus.api.models import ChainDetail, ChainList, ChainRow, ExplainView, RequestView
from isthmus.contract import Body, Family
from isthmus.contract.chain import ChainRecord, ChainRequest, ChainStatus, Explanation
from isthmus.contract.world import Intent
from isthmus.kv.port import Entry

EXPLAINED_IN_LISTS = 100
"""A list looks up reasons for so many chains that have no believable report; a page shows no more anyway."""


async def rows(desk: Desk, principal: Principal) -> tuple[int, list[ChainRow]]:
    """Every chain the caller may see, by name, and the store's revision."""
    table = desk.families
    values = {} if principal.tenant is None else {"tenant": principal.tenant}
    wanted = (table.requests, table.records, table.status)
    snapshots = await desk.snapshots([family.prefix(**values) for family in wanted])
    gathered = _gather(
        desk, {family.name: item.entries for family, item in zip(wanted, snapshots, strict=True)}
    )
    now = desk.clock()
    unsettled = [key for key, item in sorted(gathered.items()) if not pure.row(item, now).observed]
    for key in unsettled[:EXPLAINED_IN_LISTS]:
        gathered[key] = replace(gathered[key], explanations=await _explanations(desk, *key))
    hide = principal.tenant is not None
    listed = [_shown(pure.row(item, now), hide) for _, item in sorted(gathered.items())]
    return snapshots[0].revision, listed


def _shown(item: ChainRow, hide: bool) -> ChainRow:
    if not hide:
        return item
    return item.model_copy(update={"path": tuple(pure.without_host(step) for step in item.path)})


async def page(desk: Desk, principal: Principal, *, limit: int, after: str) -> ChainList:
    """A page of the list, behind ``after`` (``tenant/chain``)."""
    revision, listed = await rows(desk, principal)
    behind = [item for item in listed if f"{item.tenant}/{item.chain}" > after]
    return ChainList(revision=revision, chains=tuple(behind[:limit]), more=len(behind) > limit)


@dataclass(slots=True)
class _Found:
    request: Fact[ChainRequest] | None = None
    record: Fact[ChainRecord] | Fact[Intent] | None = None
    status: Fact[ChainStatus] | None = None
    explanations: tuple[tuple[str, Fact[Explanation]], ...] = field(default=())


def _gather(desk: Desk, entries: dict[str, tuple[Entry, ...]]) -> dict[tuple[str, str], ChainFacts]:
    table = desk.families
    found: dict[tuple[str, str], _Found] = {}
    for key, entry in _keyed(table.requests, entries[table.requests.name]):
        found.setdefault(key, _Found()).request = fact(entry, ChainRequest)
    for key, entry in _keyed(table.records, entries[table.records.name]):
        found.setdefault(key, _Found()).record = _record(desk, entry)
    for key, entry in _keyed(table.status, entries[table.status.name]):
        found.setdefault(key, _Found()).status = fact(entry, ChainStatus)
    return {
        key: ChainFacts(*key, item.request, item.record, item.status) for key, item in found.items()
    }


def _record(desk: Desk, entry: Entry | None) -> Fact[ChainRecord] | Fact[Intent] | None:
    if desk.families.record_model is ChainRecord:
        return fact(entry, ChainRecord)
    return fact(entry, Intent)


def _keyed(family: Family, entries: Iterable[Entry]) -> Iterable[tuple[tuple[str, str], Entry]]:
    for entry in entries:
        parts = family.parse(entry.key)
        if parts is not None:
            yield (parts["tenant"], parts["chain"]), entry


async def _explanations(
    desk: Desk, tenant: str, chain: str
) -> tuple[tuple[str, Fact[Explanation]], ...]:
    _, found = await desk.gets(desk.explain_keys(tenant, chain))
    return _parsed_explanations(desk, found)


def _parsed_explanations(
    desk: Desk, found: dict[str, Entry]
) -> tuple[tuple[str, Fact[Explanation]], ...]:
    result = []
    for key, entry in found.items():
        parts = desk.families.explain.parse(key)
        item = fact(entry, Explanation)
        if parts is not None and item is not None:
            result.append((parts["component"], item))
    return tuple(result)


async def _look(desk: Desk, tenant: str, chain: str) -> tuple[ChainFacts, Fact[Body] | None]:
    """All about one chain, in one transaction; raises NotKnown."""
    table = desk.families
    names = {"tenant": tenant, "chain": chain}
    keys = [f.key(**names) for f in (table.requests, table.records, table.plans, table.status)]
    _, found = await desk.gets([*keys, *desk.explain_keys(tenant, chain)])
    request, record, plan, status = (found.pop(key, None) for key in keys)
    facts = ChainFacts(
        tenant,
        chain,
        fact(request, ChainRequest),
        _record(desk, record),
        fact(status, ChainStatus),
        _parsed_explanations(desk, found),
    )
    if not facts.known and plan is None:
        raise not_known(tenant, chain)
    planned: Fact[Body] | None = fact(plan, table.plan_model)
    return facts, planned


async def detail(desk: Desk, principal: Principal, tenant: str, chain: str) -> ChainDetail:
    """Everything the caller may know of one chain."""
    facts, plan = await _look(desk, tenant, chain)
    now = desk.clock()
    hide = not principal.is_operator
    return ChainDetail(
        row=_shown(pure.row(facts, now), hide),
        request=_request_view(facts),
        record=None if hide or facts.record is None else facts.record.body.model_dump(mode="json"),
        plan=None if hide or plan is None else plan.body.model_dump(mode="json"),
        status=pure.status_view(facts, now, for_tenant=hide),
        explanations=pure.explained(facts, now),
    )


def _request_view(facts: ChainFacts) -> RequestView | None:
    request = facts.request
    if request is None:
        return None
    return RequestView(
        spec=request.body.spec,
        requested_by=request.body.requested_by,
        generation=request.envelope.generation,
        revision=request.revision,
        as_of=request.envelope.as_of,
        trace_id=request.envelope.trace_id,
    )


async def explain(desk: Desk, tenant: str, chain: str) -> ExplainView:
    """Why one chain is as it is."""
    facts, _ = await _look(desk, tenant, chain)
    now = desk.clock()
    item = pure.row(facts, now)
    return ExplainView(
        tenant=tenant,
        chain=chain,
        phase=item.phase,
        reason=item.reason,
        explanations=pure.explained(facts, now),
    )
