"""Acts 1 to 3: chains are asked for, one actor dies in the middle, packets pass every function in order."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from functools import partial
from typing import Any

from isthmus.chaos.demo import chains, order, sabotage
from isthmus.chaos.demo.stage import TENANT, Late, Stage, eventually
from isthmus.chaos.lookup import outer_pid
from isthmus.contract import unseal
from isthmus.contract.families import APPLIED, RUNTIME, VNF_STATS
from isthmus.contract.ids import instance_id
from isthmus.contract.instance import Applied, InstanceRuntime, InstanceStats
from isthmus.deploy.lab.spec import GLOBAL

SERVED = (chains.WEB_PORT, chains.BLOCKED_PORT)


async def apply_all(stage: Stage) -> None:
    """Ask for every chain; the actor that places them is killed while it does."""
    stage.facts.act("Chains are asked for, and the placement actor is killed -9 in the middle")
    await eventually(partial(all_alive, stage), "every site is heard of", timeout_s=60)
    address = stage.lab.addresses.customer
    specs = [chains.impossible(address), *chains.carried(address)]
    if stage.sabotage == "swap-order":
        specs = [sabotage.swapped(s) if s["chain"] == "web" else s for s in specs]
    acknowledged = []
    for index, spec in enumerate(specs):
        answer = await stage.apply(spec)
        acknowledged.append(spec["chain"])
        functions = " -> ".join(function["name"] for function in spec["functions"])
        stage.facts.note(
            f"apply {spec['chain']}: {spec['ingress']['attachment']} -> {functions} -> "
            f"{spec['egress']['attachment']} (acknowledged at revision {answer['revision']})"
        )
        if index == 1:
            stage.facts.note(await _kill_placement(stage))
    for name in acknowledged[1:]:
        found = await stage.phase(name, "running", timeout_s=90)
        path = " -> ".join(found["row"]["path"])
        stage.facts.check("G3 no acknowledged intent lost", f"{name} runs: {path}", True)
    await _refusal(stage, str(acknowledged[0]))


async def all_alive(stage: Stage) -> bool:
    """Has every site spoken? A chain asked for before may rightly be placed elsewhere."""
    told = json.dumps(await stage.peek(GLOBAL, "dump"))
    return all(f"remote/{site.site}/summary/site" in told for site in stage.lab.spec.sites)


async def _kill_placement(stage: Stage) -> str:
    """Kill the process that places chains; says which it was."""
    health = stage.lab.files.path(GLOBAL, "health/placement.json")

    async def known() -> dict[str, Any] | None:
        if not health.exists():
            return None
        told: dict[str, Any] = json.loads(health.read_text())
        return told if told.get("components") else None

    told = await eventually(known, "the placement group is up", timeout_s=90)
    if stage.lab.spec.runtime == "ray":
        pid = outer_pid(int(told["pid"]), "ray::ControllerGroup")
        if pid is None:
            raise Late("the placement actor's process was not found")
        os.kill(pid, signal.SIGKILL)
        return (
            f"kill -9 {pid}: Ray's placement actor; Ray restarts it, it finds its work in the store"
        )
    stage.lab.supervisor.kill("global.controllers", signal.SIGKILL)
    return "kill -9 of the global controllers (in process); the supervisor restarts them"


async def _refusal(stage: Stage, name: str) -> None:
    found = await stage.phase(name, "refused", timeout_s=60)
    reason = str(found["row"]["reason"])
    explained: dict[str, Any] = next(
        (e for e in found.get("explanations", []) if _body(e).get("decision") == "refused"), {}
    )
    said = _body(explained)
    stage.facts.note(f"isthmus explain acme/{name}: {reason}")
    relaxation = said.get("nearest_relaxation", "")
    if relaxation:
        stage.facts.note(f"nearest relaxation: {relaxation}")
    numbers = any(character.isdigit() for character in reason)
    stage.facts.check(
        "explain: a refusal names constraint and number",
        f"{name} is refused for its latency, with the number that failed",
        "latency" in str(said.get("constraint", "")) + reason and numbers,
        str(said.get("constraint", "")),
    )


def _body(document: dict[str, Any]) -> dict[str, Any]:
    inner = document.get("body", document.get("explanation", document))
    return inner if isinstance(inner, dict) else {}


async def traffic(stage: Stage) -> None:
    """HTTP, ping, a refused port, the order, the counters: per chain."""
    stage.facts.act("Real packets pass real functions, in order")
    for spec in chains.carried(stage.lab.addresses.customer):
        await _one_chain(stage, spec)
        if stage.sabotage and stage.facts.failed:
            return  # what follows would suffer from the sabotage itself, not from the promise it broke


async def _one_chain(stage: Stage, spec: dict[str, Any]) -> None:
    name = spec["chain"]
    source, target = (spec[side]["attachment"] for side in ("ingress", "egress"))
    address = stage.lab.addresses.customer(target)
    found = await stage.chain(name)
    stage.facts.note(f"{name}: {source} -> {' -> '.join(found['row']['path'])} -> {target}")
    if stage.sabotage == "no-firewall" and name == "office":
        await sabotage.open_firewall(stage, TENANT, name, "milan")
        await _applied(stage, name)
    async with stage.serving(target, SERVED):
        answer = await stage.customer(source, "get", address, str(chains.WEB_PORT))
        stage.facts.check(
            "R15 chaining: traffic of a chain passes",
            f"{name}: HTTP through the chain answers",
            bool(answer.get("ok")) and answer.get("text") == f"premises {target}",
            f"{answer.get('ms', '-')} ms, the server saw {answer.get('from', answer.get('error'))}",
        )
        hidden = next((f for f in spec["functions"] if f["type"] == "nat"), None)
        if hidden is not None:
            stage.facts.check(
                "R15 chaining: every function of the chain is passed",
                f"{name}: the NAT hides the customer",
                answer.get("from") == hidden["config"]["address"],
                f"server saw {answer.get('from')}",
            )
        refused = await stage.customer(source, "connect", address, str(chains.BLOCKED_PORT))
        stage.facts.check(
            "firewall: what is not allowed does not pass",
            f"{name}: port {chains.BLOCKED_PORT} is refused",
            refused["outcome"] == "refused",
            f"{refused['outcome']} after {refused['ms']} ms, although somebody listens there",
        )
        await _distance(stage, name, source, address, found["row"])
        where = await _instances(stage, spec, found["row"]["path"])
        await _order(stage, spec, where, source, address)
    await _counters(stage, spec, where)


async def _distance(
    stage: Stage, name: str, source: str, address: str, row: dict[str, Any]
) -> None:
    """The round trip against the model's latency and the budget."""
    rtt_ms = await stage.ping(source, address)
    one_way = row.get("model_latency_ms") or 0.0
    budget = row.get("latency_budget_ms") or 0.0
    stage.facts.figure(f"{name}.ping_ms", rtt_ms if rtt_ms is not None else "lost")
    stage.facts.check(
        "R52: a chain keeps its latency budget",
        f"{name}: ping answers within twice the budget",
        rtt_ms is not None and 2 * one_way <= rtt_ms <= 2 * budget,
        f"{rtt_ms} ms there and back; model {one_way} ms and budget {budget} ms one way",
    )


async def _instances(
    stage: Stage, spec: dict[str, Any], path: list[str]
) -> dict[str, tuple[str, str]]:
    """Site and namespace of the instance of each function, as the sites' own keys tell."""
    where: dict[str, tuple[str, str]] = {}
    for site in sorted({step.partition("/")[0] for step in path}):
        keys = await stage.peek(site, "dump")
        for key, text in keys.items():
            if RUNTIME.parse(key) is None:
                continue
            runtime = unseal(text.encode(), InstanceRuntime).body
            for function in spec["functions"]:
                if runtime.instance == instance_id(TENANT, spec["chain"], function["name"]):
                    where[function["name"]] = (site, runtime.netns)
    return where


async def _order(
    stage: Stage,
    spec: dict[str, Any],
    where: dict[str, tuple[str, str]],
    source: str,
    address: str,
) -> None:
    """Each function sees the packet one hop older than the one before it."""
    declared = [function["name"] for function in spec["functions"]]
    ready = {name: asyncio.Event() for name in declared}
    watching = {
        name: asyncio.create_task(order.ttl_at(where[name][1], ready[name]))
        for name in declared
        if name in where
    }
    for name in watching:
        await ready[name].wait()
    await stage.ping(source, address, count=3)
    ttls = {name: await task for name, task in watching.items()}
    wanted = {name: 64 - index for index, name in enumerate(declared)}
    seen = ", ".join(f"{name} {ttls.get(name)}" for name in declared)
    stage.facts.check(
        "R15 chaining: functions are passed in the declared order",
        f"{spec['chain']}: packets pass {' before '.join(declared)}",
        ttls == wanted,
        f"time to live seen: {seen}",
    )


async def _counters(stage: Stage, spec: dict[str, Any], where: dict[str, tuple[str, str]]) -> None:
    """What each function counted, as read from its keys."""
    counted: dict[str, InstanceStats] = {}

    async def moved() -> bool:
        dumps = {site: await stage.peek(site, "dump") for site in {s for s, _ in where.values()}}
        for name, (site, _) in where.items():
            keys = dumps[site]
            text = keys.get(VNF_STATS.key(instance=instance_id(TENANT, spec["chain"], name)))
            if text is not None:
                counted[name] = unseal(text.encode(), InstanceStats).body
        return len(counted) == len(spec["functions"]) and all(
            stats.packets_forward and stats.packets_reverse for stats in counted.values()
        )

    try:
        complete = await eventually(moved, "counters", timeout_s=10, every_s=0.5)
    except Late:
        complete = False
    told = "; ".join(
        f"{name} {s.packets_forward} there, {s.packets_reverse} back, {s.packets_dropped} dropped"
        for name, s in counted.items()
    )
    stage.facts.check(
        "R25: functions publish what they did",
        f"{spec['chain']}: every function's counters moved",
        bool(complete),
        told,
    )


async def _applied(stage: Stage, chain: str) -> None:
    """Wait until the sabotaged configuration is in force."""
    key = APPLIED.key(instance=instance_id(TENANT, chain, "fw"))

    async def in_force() -> bool:
        keys = await stage.peek("milan", "dump")
        return unseal(keys[key].encode(), Applied).body.config_generation >= 1_000_000

    await eventually(in_force, "the sabotaged configuration is in force")
