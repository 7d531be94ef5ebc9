"""Reading chains: one consistent look at the store, turned into rows and details (DESIGN section 7, R43)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from isthmus.api import facts as pure
from isthmus.api.apply import not_known
from isthmus.api.auth import Principal
from isthmus.api.desk import Desk
from isthmus.api.facts import ChainFacts, Fact, fact
from isthmus.api.models import ChainDetail, ChainList, ChainRow, ExplainView, RequestView
from isthmus.api.veil import Veil, veil_for, without_host
from isthmus.contract import Family, families
from isthmus.contract.chain import (
    ChainPlan,
    ChainRecord,
    ChainRequest,
    ChainStatus,
    Explanation,
    Phase,
)
from isthmus.contract.world import Intent, Placement
from isthmus.kv.port import Entry

EXPLAINED_IN_LISTS = 100
"""A list looks up reasons for so many chains that have no believable report; a page shows no more anyway."""


PATIENCE = 200
"""So many chains are read between two looks at other callers: some 20 ms."""

Key = tuple[str, str]


@dataclass(slots=True)
class _Bytes:
    """What the store holds about one chain, not read yet: a page reads only its own."""

    request: Entry | None = None
    record: Entry | None = None
    status: Entry | None = None


async def page(desk: Desk, principal: Principal, *, limit: int, after: str) -> ChainList:
    """So many chains that the caller may see, by name, behind ``after`` (``tenant/chain``)."""
    revision, found = await _known(desk, principal)
    tenant, _, chain = after.partition("/")
    names = sorted(key for key in found if key > (tenant, chain))
    rows: list[ChainRow] = []
    explained = 0
    for key in names[:limit]:
        facts = _facts(desk, key, found[key])
        if not pure.row(facts, desk.clock()).observed and explained < EXPLAINED_IN_LISTS:
            facts = replace(facts, explanations=await _explanations(desk, *key))
            explained += 1
        elif len(rows) % PATIENCE == 0:
            await asyncio.sleep(0)
        rows.append(pure.row(facts, desk.clock()))
    veil = await veil_for(desk, principal)
    shown = tuple(_shown(row, veil) for row in await _placed(desk, rows))
    return ChainList(revision=revision, chains=shown, more=len(names) > limit)


async def count(desk: Desk, principal: Principal) -> dict[str, int]:
    """How many chains are in each phase, as last reported."""
    _, found = await _known(desk, principal)
    counted = {phase.value: 0 for phase in Phase}
    for number, (key, stored) in enumerate(found.items()):
        facts = ChainFacts(*key, status=fact(stored.status, ChainStatus))
        counted[pure.reported(facts, desk.clock())[0].value] += 1
        if number % PATIENCE == 0:
            await asyncio.sleep(0)
    return counted


async def _known(desk: Desk, principal: Principal) -> tuple[int, dict[Key, _Bytes]]:
    """Every chain that a request, a record or a report speaks of, and what a tier carries for peers; the revision."""
    table = desk.families
    values = {} if principal.tenant is None else {"tenant": principal.tenant}
    wanted = [table.requests, table.records, table.status]
    wanted += [table.carried] if table.carried is not None else []
    requests, records, statuses, *more = await desk.snapshots([f.prefix(**values) for f in wanted])
    found: dict[Key, _Bytes] = {}
    for key, entry in _keyed(table.requests, requests.entries):
        found.setdefault(key, _Bytes()).request = entry
    await asyncio.sleep(0)
    for carried in more:
        for key, entry in _keyed(families.G_SEGMENTS, carried.entries):
            found.setdefault(key, _Bytes()).record = entry
    for key, entry in _keyed(table.records, records.entries):
        found.setdefault(key, _Bytes()).record = entry
    await asyncio.sleep(0)
    for key, entry in _keyed(table.status, statuses.entries):
        found.setdefault(key, _Bytes()).status = entry
    return requests.revision, found


def _facts(desk: Desk, key: Key, stored: _Bytes) -> ChainFacts:
    return ChainFacts(
        *key,
        fact(stored.request, ChainRequest),
        _record(desk, stored.record),
        fact(stored.status, ChainStatus),
    )


async def _placed(desk: Desk, rows: Sequence[ChainRow]) -> list[ChainRow]:
    """The rows, those of which no report may be believed with the path that is ordered for them."""
    keys = {
        (row.tenant, row.chain): desk.families.plans.key(tenant=row.tenant, chain=row.chain)
        for row in rows
        if row.phase is Phase.UNKNOWN
    }
    if not keys:
        return list(rows)
    _, found = await desk.gets(tuple(keys.values()))
    return [
        row
        if (key := keys.get((row.tenant, row.chain))) is None
        else row.model_copy(
            update={"path": pure.placed_path(_plan(desk, found.get(key)), desk.name)}
        )
        for row in rows
    ]


def _plan(desk: Desk, entry: Entry | None) -> Fact[ChainPlan] | Fact[Placement] | None:
    if desk.families.plan_model is ChainPlan:
        return fact(entry, ChainPlan)
    return fact(entry, Placement)


def _shown(item: ChainRow, veil: Veil | None) -> ChainRow:
    if veil is None:
        return item
    path = tuple(without_host(step) for step in item.path)
    return item.model_copy(update={"path": path, "reason": veil.text(item.reason)})


def _record(desk: Desk, entry: Entry | None) -> Fact[ChainRecord] | Fact[Intent] | None:
    if desk.families.record_model is ChainRecord:
        return fact(entry, ChainRecord)
    if entry is not None and families.G_SEGMENTS.parse(entry.key) is not None:
        return pure.carried(entry)
    return fact(entry, Intent)


def _keyed(family: Family, entries: Iterable[Entry]) -> Iterable[tuple[Key, Entry]]:
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


async def _look(
    desk: Desk, tenant: str, chain: str
) -> tuple[ChainFacts, Fact[ChainPlan] | Fact[Placement] | None]:
    """All about one chain, in one transaction; raises NotKnown."""
    table = desk.families
    names = {"tenant": tenant, "chain": chain}
    keys = [f.key(**names) for f in (table.requests, table.records, table.plans, table.status)]
    keys += [table.carried.key(**names)] if table.carried is not None else []
    _, found = await desk.gets([*keys, *desk.explain_keys(tenant, chain)])
    request, record, plan, status, *carried = (found.pop(key, None) for key in keys)
    planned = _plan(desk, plan)
    facts = ChainFacts(
        tenant,
        chain,
        fact(request, ChainRequest),
        _record(desk, record or next(iter(carried), None)),
        fact(status, ChainStatus),
        _parsed_explanations(desk, found),
        pure.placed_path(planned, desk.name),
    )
    if not facts.known and plan is None:
        raise not_known(tenant, chain)
    return facts, planned


async def detail(desk: Desk, principal: Principal, tenant: str, chain: str) -> ChainDetail:
    """Everything the caller may know of one chain."""
    facts, plan = await _look(desk, tenant, chain)
    now = desk.clock()
    veil = await veil_for(desk, principal)
    hide = veil is not None
    return ChainDetail(
        row=_shown(pure.row(facts, now), veil),
        request=_request_view(facts),
        record=None if hide or facts.record is None else facts.record.body.model_dump(mode="json"),
        plan=None if hide or plan is None else plan.body.model_dump(mode="json"),
        status=pure.status_view(facts, now, veil),
        explanations=pure.explained(facts, now, veil),
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


async def explain(desk: Desk, principal: Principal, tenant: str, chain: str) -> ExplainView:
    """Why one chain is as it is."""
    facts, _ = await _look(desk, tenant, chain)
    now = desk.clock()
    veil = await veil_for(desk, principal)
    item = _shown(pure.row(facts, now), veil)
    return ExplainView(
        tenant=tenant,
        chain=chain,
        phase=item.phase,
        reason=item.reason,
        explanations=pure.explained(facts, now, veil),
    )
