"""Why a chain has no place: the constraint, the number that failed, and what would be enough.

The kernel's verdict is a proof on the residual graph; this module finds out what it rests on by
asking the same exact search narrower questions: on the empty network (``alone`` or ``residual``?),
with all room (capacity, bandwidth or no way at all?), without the pairs (affinity or the sum?).
Each claim in a refusal is the answer to such a search, not a guess; each relaxation has been
placed with the change made (GUARANTEES, "a false impossible is the worst bug").
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from isthmus.placement.compiled import CompiledChain, compile_chain, contradiction, permits
from isthmus.placement.model import (
    Candidate,
    ChainDemand,
    Constraint,
    Placement,
    Refusal,
    RefusalKind,
    Site,
)
from isthmus.placement.usage import Usage

if TYPE_CHECKING:
    from isthmus.placement.online import Found

SHOWN_CANDIDATES = 5


def milliseconds(nanoseconds: float) -> str:
    """Latency as users read it."""
    return f"{nanoseconds / 1e6:.4g} ms"


def contradictory(chain: ChainDemand) -> Refusal:
    """Affinity and anti-affinity name the same pair: impossible anywhere."""
    from isthmus.placement import certificate, relax

    pair = contradiction(chain)
    assert pair is not None, "only called with a contradiction"
    names = [chain.functions[i].name for i in pair]
    return Refusal(
        chain.id,
        "alone",
        "affinity",
        f"affinity: functions {pair[0]} ({names[0]}) and {pair[1]} ({names[1]}) must share a site "
        "by affinity and must not by anti-affinity",
        {"first": pair[0], "second": pair[1]},
        relaxations=(relax.drop_pair(chain, pair),),
        certificate=certificate.pair_certificate(chain),
    )


def too_dear(usage: Usage, chain: ChainDemand, found: Found, limit: float) -> Refusal:
    """The caller's limit on cost is below what the cheapest walk costs."""
    return Refusal(
        chain.id,
        "residual",
        "price",
        f"price: the cheapest place costs {found.bound:.6g} > limit {limit:.6g}",
        {"least_cost": found.bound, "limit": limit},
        certificate={"proof": "price", "limit": limit},
        snapshot=usage.snapshot(),
        work=found.work,
    )


def refuse(
    usage: Usage, compiled: CompiledChain, found: Found, *, work: int, reasons: bool = True
) -> Refusal:
    """The refusal for a search that found no walk."""
    from isthmus.placement import certificate, relax
    from isthmus.placement.online import search

    chain, kernel = compiled.demand, usage.compiled.kernel
    if found.status == kernel.UNDECIDED:
        return _undecided(usage, chain, found)
    compiled = compile_chain(usage.compiled, chain, pruned=False)
    found = search(usage, compiled, usage.state, work=work)
    empty = usage.idle
    alone = search(empty, compiled, empty.state, work=work)
    impossible = alone.status in (kernel.NO_WALK, kernel.TOO_SLOW, kernel.NO_JOINT)
    kind: RefusalKind = "alone" if impossible else "residual"
    where, verdict = (empty, alone) if impossible else (usage, found)
    constraint, text, numbers = diagnose(where, compiled, verdict, work=work)
    return Refusal(
        chain.id,
        kind,
        constraint,
        text,
        numbers,
        candidates=candidates(where, chain) if reasons else (),
        relaxations=relax.relaxations(usage, chain, work=work) if reasons else (),
        certificate=certificate.make(where, compiled, constraint),
        snapshot=where.snapshot(),
        work=found.work + alone.work,
    )


def unasked(chain: ChainDemand, found: Found, *, undecided: bool) -> Refusal:
    """The bare verdict, for callers that did not ask why."""
    kind: RefusalKind = "undecided" if undecided else "residual"
    text = "no place now (the reason was not asked for)"
    return Refusal(chain.id, kind, "work" if undecided else "route", text, work=found.work)


def _undecided(usage: Usage, chain: ChainDemand, found: Found) -> Refusal:
    return Refusal(
        chain.id,
        "undecided",
        "work",
        f"work: no place found with {found.work} labels, and none ruled out; raise work",
        {"labels": found.work},
        snapshot=usage.snapshot(),
        work=found.work,
    )


Diagnosis = tuple[Constraint, str, dict[str, float]]


def diagnose(usage: Usage, compiled: CompiledChain, found: Found, *, work: int) -> Diagnosis:
    """(constraint, sentence, numbers) behind a proof that no walk exists."""
    kernel = usage.compiled.kernel
    if found.status == kernel.NO_WALK:
        return _no_walk(usage, compiled, work)
    if found.status == kernel.TOO_SLOW:
        return _too_slow(usage, compiled)
    return _no_joint(usage, compiled, work)


def _no_walk(usage: Usage, compiled: CompiledChain, work: int) -> Diagnosis:
    from isthmus.placement.online import search

    network = usage.compiled
    sites, kinds = len(network.site_names), len(network.resources)
    chain, query, state = compiled.demand, compiled.query, usage.state
    for stage, members in enumerate(compiled.stages):
        label = function_label(chain, members.members)
        base = stage * sites
        fine = [v for v in range(sites) if compiled.permitted[base + v] and usage.site_up[v]]
        if not fine:
            return _nowhere(usage, chain, label, members.members)
        for r, resource in enumerate(network.resources):
            need = int(query.demand[stage * kinds + r])
            best = max(fine, key=lambda v: state.site_room[r * sites + v])
            room = int(state.site_room[r * sites + best])
            if need > room:
                text = (
                    f"capacity: {label} needs {need} {resource}, the most free at a permitted "
                    f"site is {room} ({network.site_names[best]})"
                )
                return "capacity", text, {"need": need, "most_free": room, "stage": stage}
        if all(query.place_cost[base + v] >= kernel_inf(usage) for v in range(sites)):
            text = f"capacity: no permitted site has room for all resources of {label} at once"
            return "capacity", text, {"stage": stage, "sites": len(fine)}
    roomy = state._replace(link_room=_as_if_idle(usage))
    if search(usage, compiled, roomy, work=work).status == network.kernel.NO_WALK:
        text = (
            f"route: no way from {ends(chain.ingress)} through sites with room to "
            f"{ends(chain.egress)}, whatever the bandwidth"
        )
        return "route", text, {}
    need = int(max(query.bandwidth[: query.stages + 1]))
    widest = max((usage.free_link(link.id) for link in network.links), default=0)
    text = (
        f"bandwidth: no way with {need} kbit/s free on each link from {ends(chain.ingress)} "
        f"to {ends(chain.egress)}"
    )
    return "bandwidth", text, {"need_kbps": need, "widest_link_kbps": widest}


def _nowhere(usage: Usage, chain: ChainDemand, label: str, members: tuple[int, ...]) -> Diagnosis:
    """No site is permitted: or the demand names a resource that no site offers."""
    known = usage.compiled.resources
    for i in members:
        for resource, amount in chain.functions[i].demand.items():
            if amount and resource not in known:
                text = f"capacity: {label} needs {amount} {resource}, no site offers any"
                return "capacity", text, {"need": amount, "most_free": 0}
    count = len(usage.network.sites)
    return "sites", f"sites: none of {count} sites is permitted to {label}", {"sites": count}


def kernel_inf(usage: Usage) -> float:
    """The kernels' infinity."""
    return float(usage.compiled.kernel.INF)


def _as_if_idle(usage: Usage) -> Any:
    """Endless room on each link that is up."""
    return usage.compiled.arrays.ints(-1 if room < 0 else 1 << 58 for room in usage.link_room)


def ends(names: tuple[str, ...]) -> str:
    """``a`` or ``a|b|...``."""
    return "|".join(names[:3]) + ("|..." if len(names) > 3 else "")


def function_label(chain: ChainDemand, members: tuple[int, ...]) -> str:
    """``function 1 (nat)`` or, for a run that must share a site, ``functions 1+2 (nat+ids)``."""
    numbers = "+".join(str(i) for i in members)
    names = "+".join(chain.functions[i].name for i in members)
    return f"function{'s' if len(members) > 1 else ''} {numbers} ({names})"


def fastest_ns(usage: Usage, compiled: CompiledChain, state: Any | None = None) -> float:
    """Least latency of a walk, sums and pairs apart: a proved lower bound; infinite when none."""
    network, kernel = usage.compiled, usage.compiled.kernel
    state = usage.state if state is None else state
    scratch = network.scratch(compiled.query.stages, 1)
    kernel.stage_costs(
        network.graph, state, compiled.query, compiled.permitted, compiled.homes, 0.0
    )
    kernel.backward(
        network.graph, state, compiled.query, scratch, 0.0, 1.0, kernel.INF, scratch.latency_to_go
    )
    start = kernel.best_start(compiled.query, scratch.latency_to_go)
    return float(scratch.latency_to_go[start]) if start >= 0 else float("inf")


def _too_slow(usage: Usage, compiled: CompiledChain) -> Diagnosis:
    fastest, budget = fastest_ns(usage, compiled), float(compiled.query.budget)
    text = (
        f"latency: fastest permitted path {milliseconds(fastest)} > budget {milliseconds(budget)}"
    )
    return "latency", text, {"fastest_ns": fastest, "budget_ns": budget}


def _no_joint(usage: Usage, compiled: CompiledChain, work: int) -> Diagnosis:
    from isthmus.placement.online import search

    chain, kernel = compiled.demand, usage.compiled.kernel
    free = compile_chain(usage.compiled, replace(chain, affinity=(), anti_affinity=()))
    found = search(usage, free, usage.state, work=work)
    pairs = len(chain.affinity) + len(chain.anti_affinity)
    if pairs and found.status in (kernel.OPTIMAL, kernel.WITHIN_GAP):
        text = (
            f"affinity: no way keeps all {pairs} affinity and anti-affinity pairs within room "
            "and budget; without them there is one"
        )
        return "affinity", text, {"pairs": pairs}
    text = (
        "joint: each function and each hop fits by itself, but no way fits them together "
        "(functions that meet on a site, or hops that share a link, need the sum)"
    )
    return "joint", text, {}


def candidates(usage: Usage, chain: ChainDemand) -> tuple[Candidate, ...]:
    """The five sites that came nearest, each with what stood against it, and counts of the rest."""
    rows = [(_against(usage, chain, site), site.name) for site in usage.network.sites]
    rows.sort(key=lambda row: (row[0][0], row[1]))
    shown = [Candidate(name, text) for (_, text), name in rows[:SHOWN_CANDIDATES]]
    rest: dict[str, int] = {}
    for (_, text), _name in rows[SHOWN_CANDIDATES:]:
        word = text.split(":")[0]
        rest[word] = rest.get(word, 0) + 1
    if rest:
        text = ", ".join(f"{count} {word}" for word, count in sorted(rest.items()))
        shown.append(Candidate("(others)", text))
    return tuple(shown)


def _against(usage: Usage, chain: ChainDemand, site: Site) -> tuple[float, str]:
    """(how many functions cannot stand here, the first reason with its numbers)."""
    failed, first = 0, ""
    up = usage.site_up[usage.compiled.site_index[site.name]]
    for i, function in enumerate(chain.functions):
        reason = "" if up else "down: drained or failed"
        if not reason and not permits(chain, function, site):
            reason = "policy: " + policy_reason(chain, i, site)
        for resource, amount in function.demand.items():
            if not reason and amount:
                known = resource in usage.compiled.resources
                free = usage.free(site.name, resource) if known else 0
                if amount > free:
                    reason = f"room: {function.name} needs {amount} {resource}, {free} free"
        if reason:
            failed += 1
            first = first or reason
    return failed, first or "fits: has room for each function alone"


def policy_reason(chain: ChainDemand, i: int, site: Site) -> str:
    """Which rule keeps function ``i`` off a site."""
    function = chain.functions[i]
    if chain.countries is not None and site.country not in chain.countries:
        return f"country {site.country or '?'} is not among {', '.join(sorted(chain.countries))}"
    if chain.owners is not None and site.owner not in chain.owners:
        return f"owner {site.owner or '?'} is not among {', '.join(sorted(chain.owners))}"
    if chain.regions is not None and site.region not in chain.regions:
        return f"region {site.region or '?'} is not among {', '.join(sorted(chain.regions))}"
    if site.name in chain.forbidden_sites:
        return "forbidden to the chain"
    if not function.features <= site.features:
        return f"lacks {', '.join(sorted(function.features - site.features))}"
    return "not an allowed site"


def runner_up(
    usage: Usage, chain: ChainDemand, placement: Placement, *, work: int = 20_000
) -> Placement | None:
    """The cheapest placement that differs in at least one site (the price of the second best).

    ``usage`` must not hold the chain itself. Each function in turn is kept off its site, so the
    best of these answers is the true second best in terms of sites.
    """
    from isthmus.placement.online import place

    best: Placement | None = None
    everywhere = frozenset(usage.compiled.site_names)
    for i, (function, site) in enumerate(zip(chain.functions, placement.sites, strict=True)):
        others = (function.allowed_sites or everywhere) - {site}
        moved = replace(function, allowed_sites=others)
        functions = (*chain.functions[:i], moved, *chain.functions[i + 1 :])
        found = place(usage, replace(chain, functions=functions), work=work, proof=False)
        if isinstance(found, Placement) and (best is None or found.cost < best.cost):
            best = found
    return best


def why(chain: ChainDemand, placement: Placement, second: Placement | None) -> str:
    """One sentence for an accepted chain."""
    text = f"{chain.id}: {' > '.join(placement.sites) or 'path only'}, cost {placement.cost:.6g}"
    text += f", {milliseconds(placement.latency_ns)}"
    if chain.latency_budget_ns is not None:
        text += f" of {milliseconds(chain.latency_budget_ns)}"
    if second is None:
        return text + "; no other sites would do"
    extra = second.cost - placement.cost
    return text + f"; runner-up {' > '.join(second.sites)} costs {extra:.6g} more"
