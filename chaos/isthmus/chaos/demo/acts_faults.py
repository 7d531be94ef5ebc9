"""Acts 4 to 7: the partner learns nothing, a site goes on alone, all of Ray is killed, and nothing is left."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from isthmus.chaos.demo import chains, sabotage
from isthmus.chaos.demo.acts_traffic import SERVED
from isthmus.chaos.demo.stage import TENANT, Late, Stage, eventually
from isthmus.chaos.toxics import Toxics
from isthmus.contract.ids import instance_id
from isthmus.deploy.lab.addresses import TOXIPROXY_API
from isthmus.deploy.lab.carrier import PARTNER
from isthmus.deploy.lab.spec import GLOBAL
from isthmus.deploy.lab.wan import link_name
from isthmus.vswitch import Node

CUT_SITE = "milan"
ATTEST_S = 6.0
"""Longer than the beat of 5 s: a link that still passes anything would show it."""
DRAIN_S = 0.5
SENTINEL = "sentinel-3b9f1c"


HEALED = "G14 data plane: a lost function is healed, locally"
HEALED_HERE = "the lost function was healed while the site was cut off"


async def partner(stage: Stage) -> None:
    """Plant sentinels in every scope that is not the partner's; search its store and its wire."""
    stage.facts.act("The partner sees only its own segment")
    planted = await _plant(stage)
    if stage.sabotage == "leak":
        await sabotage.leak(stage, PARTNER, SENTINEL)
    count = sum(len(keys) for keys in planted.values())
    still = json.dumps(await stage.peek(GLOBAL, "dump")).count(SENTINEL)
    stage.facts.note(
        f"{count} sentinels planted in foreign scopes, {still} of them stand in the global store "
        "(its controllers clear what is not theirs)"
    )
    # A change that does cross, after the sentinels: when it has arrived, they would have, too.
    marker = f"/isthmus/v1/outbox/{PARTNER}/wires/w-marker"
    await stage.peek(GLOBAL, "put", marker, '{"marker": 1}')

    async def arrived() -> bool:
        return "/isthmus/v1/remote/global/wires/w-marker" in await stage.peek(PARTNER, "dump")

    await eventually(arrived, "a later change has reached the partner", timeout_s=20)
    store = json.dumps(await stage.peek(PARTNER, "dump"))
    wire = stage.lab.files.path(PARTNER, "tap.jsonl").read_text()
    stage.facts.check(
        "G8 scope: no key outside the scope crosses",
        "no sentinel is in the partner's store or on its wire",
        SENTINEL not in store and SENTINEL not in wire,
        f"searched {len(store)} bytes of store, {len(wire)} bytes of frames",
    )
    foreign = [
        name for name in ("office", "web", "tight") if re.search(rf"\b{name}\b", store + wire)
    ]
    stage.facts.check(
        "G8 scope: no key outside the scope crosses",
        "the partner knows of no other chain than the one it serves",
        not foreign and "swiss" in store,
        f"found: {', '.join(foreign) or 'only swiss'}",
    )
    # One stands in a mirror, written there behind the link's back: it would differ from its source for ever.
    for tier, keys in planted.items():
        await stage.peek(tier, "delete", *keys)


async def _plant(stage: Stage) -> dict[str, list[str]]:
    """Sentinels in every scope that is not the partner's; the keys by the tier they stand in."""
    others = [site.site for site in stage.lab.spec.sites if site.site != PARTNER]
    above = [
        "requests/local/acme/sentinel", "intents/acme/sentinel", "placements/acme/sentinel",
        "explain/placer/acme/sentinel", "status/acme/sentinel", "wires/w-sentinel",
        "regions/sentinel", f"remote/{others[0]}/summary/chains/acme/sentinel",
        *(f"outbox/{site}/wires/w-sentinel" for site in others),
        *(f"outbox/{PARTNER}x/intents/acme/sentinel", f"outbox/{PARTNER}0/wires/sentinel"),
    ]  # fmt: skip
    at_site = ["summary/peers/other/chains/acme/sentinel", "specs/acme/sentinel"]
    planted = {
        tier: [f"/isthmus/v1/{key}" for key in keys]
        for tier, keys in {GLOBAL: above, **dict.fromkeys(others, at_site)}.items()
    }
    value = json.dumps({"schema": "Sentinel/1", "body": {"text": SENTINEL}})
    for tier, keys in planted.items():
        await stage.peek(tier, "put", *(text for key in keys for text in (key, value)))
    return planted


async def cut(stage: Stage) -> None:
    """Cut a site's control link, silently and losslessly; it goes on, heals, admits; then the link returns."""
    stage.facts.act(f"{CUT_SITE}'s control link is cut; the site goes on by itself")
    toxics = Toxics(TOXIPROXY_API)
    link = link_name(CUT_SITE)
    address = stage.lab.addresses.customer("milan-b")
    async with stage.serving("milan-b", SERVED), stage.probing("milan-a", address) as probe:
        if stage.sabotage != "fake-cut":
            await toxics.cut(link)
        await _attest(stage)
        if stage.sabotage == "no-heal":
            await stage.lab.supervisor.stop(f"{CUT_SITE}.controllers")
        healed_s = await _lose_instance(stage)
        if healed_s is None:
            # Named at once: what follows would only suffer from it and hide which promise it was.
            stage.facts.require(HEALED, HEALED_HERE, False, "no new life of it within 20 s")
        await _admit_locally(stage)
        stage.facts.check(
            "G1 autonomy: a cut-off site goes on",
            "a packet through the chain answers while the site is cut off",
            await stage.ping("milan-a", address, count=2) is not None,
        )
    stage.facts.figure("heal_namespace_ms", probe.longest_gap_ms)
    stage.facts.check(
        HEALED,
        HEALED_HERE,
        0 <= probe.longest_gap_ms <= 5000,
        f"longest gap {probe.longest_gap_ms:.0f} ms, {probe.lost} of {probe.sent} packets lost",
    )
    await _converge(stage, partial(toxics.heal, link))


async def _attest(stage: Stage) -> None:
    """The far side's own count of bytes received says whether the cut is real."""
    # What was on its way before the cut may still be counted: begin with a count taken well after it.
    before = await _received(stage, since=time.time() + DRAIN_S)
    await asyncio.sleep(ATTEST_S)
    after = await _received(stage, since=0.0)
    stage.facts.require(
        "the cut is real: nothing passes a cut link",
        f"the gateway received nothing from {CUT_SITE} for {ATTEST_S:.0f} s",
        after == before,
        f"{after - before} bytes received meanwhile",
    )


async def _received(stage: Stage, *, since: float) -> int:
    """Bytes the gateway has received over the cut link, as it counted them at ``since`` (UTC seconds) or later."""

    async def told() -> dict[str, Any] | None:
        document = json.loads(stage.lab.files.path(GLOBAL, "links.json").read_text())
        link: dict[str, Any] = next(x for x in document["links"] if x["peer"] == CUT_SITE)
        return link if link["as_of"] >= since else None

    return int((await eventually(told, "the gateway tells of its links"))["bytes_received"])


async def _lose_instance(stage: Stage) -> float | None:
    """Delete a running function's namespace; seconds until the chain is whole again in a new life, or None."""
    function = (await _status(stage, "office"))["functions"][0]
    instance, life = function["instance"], function["incarnation"]
    dump = await stage.peek(CUT_SITE, "dump")
    runtime = next(
        json.loads(text)["body"]
        for key, text in dump.items()
        if "/runtime/" in key and key.endswith(instance)
    )
    await Node(None).run("ip", "netns", "del", runtime["netns"])
    stage.facts.note(f"deleted the namespace of {function['function']} (life {life}) under traffic")
    began = time.monotonic()

    async def renewed() -> bool:
        status = await _status(stage, "office")
        ahead = status["functions"][0]["incarnation"] > life
        return bool(ahead and status["phase"] == "running")

    try:
        await eventually(renewed, "a new life runs", timeout_s=20)
    except Late:
        return None
    return time.monotonic() - began


async def _status(stage: Stage, chain: str) -> dict[str, Any]:
    document = await stage.chain(chain, CUT_SITE)
    status = document.get("status") or {}
    body: dict[str, Any] = status.get("body", status)
    return body


async def _admit_locally(stage: Stage) -> None:
    """A new chain through the cut-off site's own API."""
    spec = chains.chain(
        "annex",
        "milan-e",
        "milan-f",
        [chains.firewall("fw", stage.lab.addresses.customer("milan-e"))],
    )
    began = time.monotonic()
    try:
        await stage.apply(spec, CUT_SITE)
        await stage.phase("annex", "running", tier=CUT_SITE, timeout_s=20)
        worked = await stage.ping("milan-e", stage.lab.addresses.customer("milan-f"), count=2)
    except Late:
        worked = None
    stage.facts.check(
        "G1 autonomy: a cut-off site goes on",
        "a new chain was admitted and carries packets while the site is cut off",
        worked is not None,
        f"{time.monotonic() - began:.1f} s from apply to ping",
    )


async def _converge(stage: Stage, heal: Callable[[], Awaitable[None]]) -> None:
    """Heal the link; the time until both stores' digests agree, both ways, as two onlookers tell it."""
    async with stage.digests(CUT_SITE, GLOBAL) as site, stage.digests(GLOBAL, CUT_SITE) as above:
        await heal()
        began = time.monotonic()

        async def equal() -> bool:
            return bool(
                site
                and above
                and site["export"] == above["import"]
                and above["export"] == site["import"]
            )

        try:
            ok = await eventually(equal, "digests agree", timeout_s=30, every_s=0.05)
        except Late:
            ok = False
        took_s = time.monotonic() - began
    stage.facts.figure("converge_s", round(took_s, 2))
    stage.facts.check(
        "G4 convergence: after a heal the mirrors equal their source",
        "the link is back and both stores' digests agree, both ways",
        bool(ok),
        f"{took_s:.1f} s after the heal; {site.get('export', '')[:12]}",
    )


async def without_global(stage: Stage) -> None:
    """Kill everything that runs the global microcontrollers; packets go on; it comes back from the store."""
    what = "all of Ray" if stage.lab.spec.runtime == "ray" else "the global controllers"
    stage.facts.act(f"{what}: killed -9; back from etcd")
    address = stage.lab.addresses.customer("frankfurt-a")
    health = stage.lab.files.path(GLOBAL, "health/placement.json")
    async with stage.serving("frankfurt-a", SERVED), stage.probing("milan-c", address) as probe:
        killed_at = time.time()
        began = time.monotonic()
        stage.lab.supervisor.kill("global.controllers", signal.SIGKILL)
        health.unlink(missing_ok=True)
        spec = chains.chain(
            "late",
            "paris-c",
            "frankfurt-b",
            [chains.firewall("fw", stage.lab.addresses.customer("paris-c"))],
        )
        await stage.apply(spec)
        stage.facts.note("a chain is asked for while it is dead (the API is no part of it)")
        await stage.phase("late", "running", timeout_s=120)
        back_s = time.monotonic() - began
    stage.facts.figure("global_back_s", round(back_s, 1))
    stage.facts.check(
        "sites and packets do not need the global tier",
        "packets over two sites went on meanwhile",
        probe.sent > 500 and probe.lost * 200 <= probe.sent and probe.longest_gap_ms <= 250,
        f"{probe.sent} packets, {probe.lost} lost, longest gap {probe.longest_gap_ms:.0f} ms",
    )
    stage.facts.check(
        "G3 no acknowledged intent lost",
        "the chain asked for meanwhile runs; everything came back from etcd",
        health.exists() and health.stat().st_mtime > killed_at,
        f"{back_s:.1f} s after the kill",
    )


async def farewell(stage: Stage) -> None:
    """Delete every chain; what is left at the sites is nothing."""
    stage.facts.act("Every chain is deleted; nothing is left of them")
    for name in ("office", "web", "swiss", "tight", "late"):
        await stage.api().delete(f"/v1/chains/{TENANT}/{name}")
    await stage.api(CUT_SITE).delete(f"/v1/chains/{TENANT}/annex")
    known = {instance_id(TENANT, "office", "fw")}

    async def clean() -> bool:
        left = [
            name for name in (await Node(None).run("ip", "netns", "list")).split() if "@" in name
        ]
        return not left and not known & {
            key.rsplit("/", 1)[1]
            for key in await stage.peek(CUT_SITE, "dump")
            if "/runtime/" in key
        }

    try:
        ok = await eventually(clean, "instances are gone", timeout_s=30)
    except Late:
        ok = False
    stage.facts.check("no leftovers", "no instance, device or key of a chain is left", bool(ok))
