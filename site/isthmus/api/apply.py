"""Apply and delete (beside the word about a brake the only things the API writes), each one compare-and-set (G3).

An apply is acknowledged once the request is in this tier's own store; from there intake decides. It is idempotent: an
equal spec changes nothing, and a repeated request whose answer was lost is recognised by its idempotency key.
"""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.api import checks
from isthmus.api.auth import Principal
from isthmus.api.desk import Desk
from isthmus.api.errors import Clash, NotKnown, OverLimit, Refused
from isthmus.api.facts import Fact, fact
from isthmus.api.models import ApplyResult, DeleteResult
from isthmus.contract import Tier, ValueRefused, families, seal
from isthmus.contract.chain import ChainRecord, ChainRequest, ChainSpec
from isthmus.contract.problems import Problem
from isthmus.contract.world import CarriedSegment
from isthmus.kv.port import Compare, Delete, Entry, Put, Target, Txn

ATTEMPTS = 5
"""Races of two callers over one chain are settled by asking again; five lost in a row are a quarrel."""


@dataclass(frozen=True, slots=True)
class Wish:
    """One apply as it came in."""

    spec: ChainSpec
    requested_by: str
    idempotency_key: str
    trace_id: str
    dry_run: bool = False

    @property
    def name(self) -> str:
        """As people write it."""
        return f"{self.spec.tenant}/{self.spec.chain}"


async def apply(desk: Desk, wish: Wish) -> ApplyResult:
    """Write the request for ``wish``, or say that it is there already; raises ApiError leaves."""
    await _check(desk, wish.spec)
    for _ in range(ATTEMPTS):
        entry, current = await _current(desk, wish.spec.tenant, wish.spec.chain)
        if current is not None and current.body.spec == wish.spec:
            return _result(wish, "unchanged", current.revision, current.envelope.generation)
        _check_key(wish, current)
        generation = current.envelope.generation + 1 if current is not None else 1
        result = "updated" if entry is not None else "created"
        value = _sealed(desk, wish, generation)
        if wish.dry_run:
            revision = entry.mod_revision if entry is not None else 0
            return _result(wish, "valid", revision, generation)
        written = await _write(desk, wish, entry, value)
        if written:
            return _result(wish, result, written, generation)
    raise Clash(
        "conflict",
        f"chain {wish.name} is being changed by others",
        fix="look at it with 'isthmus get' and apply again",
    )


async def _check(desk: Desk, spec: ChainSpec) -> None:
    problems: list[Problem] = []
    if desk.tier is Tier.SITE:
        problems += checks.sites_known(spec, desk.tier, desk.name, ())
        problems += checks.types_known(spec, await catalog(desk))
    else:
        problems += checks.sites_known(spec, desk.tier, desk.name, await site_names(desk))
    if problems:
        raise Refused.because(problems)


async def catalog(desk: Desk) -> dict[str, frozenset[str]]:
    """The versions of each VNF type that a site can run."""
    snapshot = await desk.snapshot(families.CATALOG.prefix())
    found: dict[str, frozenset[str]] = {}
    for entry in snapshot.entries:
        parts = families.CATALOG.parse(entry.key)
        if parts is not None:
            found[parts["type"]] = found.get(parts["type"], frozenset()) | {parts["version"]}
    return found


async def site_names(desk: Desk) -> list[str]:
    """The sites that are registered with the global tier."""
    snapshot = await desk.snapshot(families.G_SITES.prefix())
    parsed = (families.G_SITES.parse(entry.key) for entry in snapshot.entries)
    return [parts["site"] for parts in parsed if parts is not None]


async def _current(
    desk: Desk, tenant: str, chain: str
) -> tuple[Entry | None, Fact[ChainRequest] | None]:
    """The stored request; refuses a chain that another tier owns."""
    key = desk.families.requests.key(tenant=tenant, chain=chain)
    at_site = desk.tier is Tier.SITE
    carried = families.SPECS if at_site else families.G_SEGMENTS
    record_key = carried.key(tenant=tenant, chain=chain)
    _, found = await desk.gets((key, record_key))
    if key not in found:
        entry = found.get(record_key)
        record: Fact[ChainRecord] | Fact[CarriedSegment] | None
        record = fact(entry, ChainRecord) if at_site else fact(entry, CarriedSegment)
        if record is not None and record.body.source != "local":
            raise Clash(
                "not-ours",
                f"chain {tenant}/{chain} is carried here for '{record.body.source}'",
                field="chain",
                value=chain,
                fix=f"change it at '{record.body.source}', or choose another name",
            )
    return found.get(key), fact(found.get(key), ChainRequest)


def _check_key(wish: Wish, current: Fact[ChainRequest] | None) -> None:
    """The same idempotency key for another spec: one of the two callers is mistaken."""
    if current is not None and current.envelope.idempotency_key == wish.idempotency_key:
        raise Clash(
            "idempotency-key-reused",
            f"this Idempotency-Key was used for another spec of {wish.name}",
            field="Idempotency-Key",
            value=wish.idempotency_key,
            fix="use a fresh key for each change",
        )


def _sealed(desk: Desk, wish: Wish, generation: int) -> bytes:
    request = ChainRequest(spec=wish.spec, requested_by=wish.requested_by)
    try:
        return seal(
            request,
            desk.stamp,
            as_of=desk.clock(),
            generation=generation,
            trace_id=wish.trace_id,
            idempotency_key=wish.idempotency_key,
        )
    except ValueRefused as error:
        raise OverLimit(
            "too-large",
            f"chain {wish.name} is too large: {error}",
            field="functions",
            fix="make the config of its functions smaller",
        ) from None


async def _write(desk: Desk, wish: Wish, entry: Entry | None, value: bytes) -> int:
    """The revision of the write, or 0 when somebody was faster."""
    key = desk.families.requests.key(tenant=wish.spec.tenant, chain=wish.spec.chain)
    known = entry.mod_revision if entry is not None else 0
    compare = Compare(key, Target.MOD_REVISION, known)
    result = await desk.txn(Txn((compare,), (Put(key, value),)))
    return result.revision if result.succeeded else 0


def _result(wish: Wish, result: str, revision: int, generation: int) -> ApplyResult:
    messages = {
        "created": f"chain {wish.name} created",
        "updated": f"chain {wish.name} existed with another spec: updated to generation {generation}",
        "unchanged": f"chain {wish.name} is already so: nothing changed",
        "valid": f"chain {wish.name} is valid; nothing was written (dry run)",
    }
    return ApplyResult.model_validate(
        {
            "result": result,
            "tenant": wish.spec.tenant,
            "chain": wish.spec.chain,
            "revision": revision,
            "generation": generation,
            "message": messages[result],
            "trace_id": wish.trace_id,
        }
    )


async def delete(
    desk: Desk, tenant: str, chain: str, *, principal: Principal, trace_id: str
) -> DeleteResult:
    """Take the request back; raises NotKnown when there is none, Clash when it is another tier's."""
    key = desk.families.requests.key(tenant=tenant, chain=chain)
    for _ in range(ATTEMPTS):
        entry, _request = await _current(desk, tenant, chain)
        if entry is None:
            raise not_known(tenant, chain)
        compare = Compare(key, Target.MOD_REVISION, entry.mod_revision)
        result = await desk.txn(Txn((compare,), (Delete(key),)))
        if result.succeeded:
            message = f"chain {tenant}/{chain} deleted by {principal.name}; it is being taken down"
            return DeleteResult(
                tenant=tenant,
                chain=chain,
                revision=result.revision,
                message=message,
                trace_id=trace_id,
            )
    raise Clash(
        "conflict",
        f"chain {tenant}/{chain} is being changed by others",
        fix="look at it with 'isthmus get' and delete again",
    )


def not_known(tenant: str, chain: str) -> NotKnown:
    """The same words for a chain that does not exist and for one of another tenant (attack 21)."""
    return NotKnown(
        "not-found",
        f"there is no chain {tenant}/{chain} here",
        field="chain",
        value=chain,
        fix="list the chains with 'isthmus get chains'",
    )
