"""``isthmus bench federation-copy | federation-follow | federation-fanin`` (GOALS): what a link costs, and beside what.

Two etcds with fsync, the shipped gateway and site link over real mutual TLS with scopes at both ends, in one process:
its CPU is that of both ends together. References of the same run: ``etcdctl make-mirror`` and a bare batched
writer. Lag is measured by values that carry the moment they were written, on one clock.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from isthmus.chaos.bench_federation_rig import (
    ARRIVED,
    HUB,
    MIRRORED,
    OUTBOX,
    NotMeasured,
    Report,
    Rig,
    Sizes,
    enroll,
    fill,
    gateway_settings,
    link_settings,
    linked,
    make_mirror,
    mirroring,
    pss_bytes,
    rig,
    there,
    true,
    until,
)
from isthmus.chaos.bench_kv_rig import Cost, spent
from isthmus.federation import (
    synced_key,
)
from isthmus.federation.dialer import SiteLink
from isthmus.federation.gateway import Gateway
from isthmus.federation.mains import calm_collector
from isthmus.federation.run import real_clocks
from isthmus.kv.memory import MemoryStore
from isthmus.kv.port import Put
from isthmus.kv.writes import write_batches

__all__ = ["Sizes", "copy", "fanin", "follow", "follow_at", "p99_of"]


async def copy(folder: Path, sizes: Sizes | None = None) -> dict[str, Any]:
    """The first copy of all keys, from nothing to the marker."""
    sizes = sizes or Sizes()
    calm_collector()  # as the shipped main programs do
    report = Report("federation-copy")
    async with rig(folder) as world:
        await fill(world.hub, OUTBOX, sizes.keys)
        async with spent() as ours, linked(world):
            await until(lambda: there(world.site, synced_key(HUB)), "the copy is complete")
        held = await world.site.snapshot(ARRIVED)
        if len(held.entries) != sizes.keys:
            raise NotMeasured(f"{len(held.entries)} of {sizes.keys} keys arrived")
        async with spent() as bare:
            await fill(world.site, "/isthmus/v1/bench/", sizes.keys)
        mirror_s = await make_mirror(world, sizes) if sizes.mirror_reference else None
    us = 1e6 * ours.cpu_s / sizes.keys
    report.row("CPU of one key, both ends together", us, "us", "<= 40", us <= 40)
    share = bare.wall_s / ours.wall_s
    goal = ">= 0.25 of the destination's own batched writes"
    report.row("keys per second", sizes.keys / ours.wall_s, "1/s", goal, share >= 0.25,
               sizes.keys / bare.wall_s)  # fmt: skip
    if mirror_s is not None:
        times = mirror_s / ours.wall_s
        report.row("times faster than etcdctl make-mirror", times, "x", ">= 15", times >= 15)
    return report.document(sizes)


async def follow(folder: Path, sizes: Sizes | None = None) -> dict[str, Any]:
    """Steady changes: how late they are, and whether lateness grows."""
    sizes = sizes or Sizes()
    report = Report("federation-follow")
    reference = await _mirror_lags(folder / "mirror", sizes) if sizes.mirror_reference else {}
    async with rig(folder) as world, linked(world):
        await until(lambda: there(world.site, synced_key(HUB)), "the link stands")
        for rate in sizes.rates:
            cost, arrived = await follow_at(world, rate, sizes.follow_s)
            lags, p99 = sorted(arrived), p99_of(arrived) * 1e3
            judged = rate <= 1000
            goal = "<= 250" if judged else ""
            met = p99 <= 250 if judged else None
            report.row(f"lag p99 at {rate}/s", p99, "ms", goal, met, reference.get(rate))
            report.row(f"lag p50 at {rate}/s", lags[len(lags) // 2] * 1e3, "ms")
            early, late = _halves(arrived)
            drift_ms = (late - early) * 1e3
            report.row(f"drift at {rate}/s", drift_ms, "ms", "none (<= 100)", drift_ms <= 100)
            report.row(f"CPU of one change at {rate}/s", 1e6 * cost.cpu_s / len(lags), "us")
            step = max(1, len(arrived) // 200)
            report.series[f"lags_ms_{rate}"] = [round(lag * 1e3, 2) for lag in arrived[::step]]
    return report.document(sizes)


async def _mirror_lags(folder: Path, sizes: Sizes) -> dict[int, float]:
    """The p99 of ``etcdctl make-mirror``, ms by rate; what comes over 10 s after the last change is left out."""
    found: dict[int, float] = {}
    folder.mkdir()
    async with rig(folder) as world, mirroring(world):
        await world.hub.put(f"{OUTBOX}first", b"0")
        await until(lambda: there(world.site, f"{MIRRORED}first"), "make-mirror stands")
        for rate in sizes.rates:
            _, lags = await follow_at(world, rate, sizes.follow_s, MIRRORED, patience_s=10.0)
            found[rate] = p99_of(lags) * 1e3
    return found


def p99_of(lags: list[float]) -> float:
    """The lag that 99 of 100 do not exceed."""
    return sorted(lags)[int(len(lags) * 0.99)]


def _halves(lags: list[float]) -> tuple[float, float]:
    """Median lag of the first and of the last third, in order of arrival."""
    third = max(1, len(lags) // 3)
    first, last = sorted(lags[:third]), sorted(lags[-third:])
    return first[len(first) // 2], last[len(last) // 2]


async def follow_at(
    world: Rig, rate: int, seconds: float, seen: str = ARRIVED, patience_s: float = 0.0
) -> tuple[Cost, list[float]]:
    """The lags of what arrives below ``seen``, in order. With ``patience_s`` what comes later is not waited for."""
    lags: list[float] = []

    async def look() -> None:
        async for batch in world.site.watch(seen):
            now = time.time()
            lags.extend(now - float(e.entry.value) for e in batch.events if e.entry is not None)

    looking = asyncio.create_task(look())
    await asyncio.sleep(0.3)
    sent = 0
    async with spent() as cost:
        began = time.monotonic()
        while (passed := time.monotonic() - began) < seconds:
            due = int(passed * rate) - sent
            if due > 0:
                moment = repr(time.time()).encode()
                puts = [Put(f"{OUTBOX}t/{(sent + n) % 5000}", moment) for n in range(due)]
                await write_batches(world.hub, puts)
                sent += due
            await asyncio.sleep(0.005)
        with suppress(*((NotMeasured,) if patience_s else ())):
            everything = "the last changes arrive"
            await until(lambda: true(len(lags) >= sent * 0.999), everything, patience_s or 30)
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)
    return cost, lags


async def fanin(folder: Path, sizes: Sizes | None = None) -> dict[str, Any]:
    """Many hollow sites (in-memory stores, real links) on one gateway: memory, idle cost, lag under changes."""
    sizes = sizes or Sizes()
    report = Report("federation-fanin")
    await _fanin(report, folder, sizes)
    growth = []
    for count in sizes.growth_sites:
        fewer = replace(
            sizes, sites=count, fanin_changes_per_s=sizes.growth_changes_per_s, follow_s=5.0
        )
        one = Report(f"{count} sites")
        place = folder / f"of-{count}"
        place.mkdir()
        await _fanin(one, place, fewer)
        growth.append({"sites": count, **{row["name"]: row["value"] for row in one.figures}})
    report.series[f"growth, {sizes.growth_changes_per_s} changes/s of each site"] = growth
    return report.document(sizes)


async def _fanin(report: Report, folder: Path, sizes: Sizes) -> None:
    names = [f"s{number}" for number in range(sizes.sites)]
    authority = enroll(folder, names)
    hub = MemoryStore()
    settings = gateway_settings(folder, authority, names, "127.0.0.1:0", None)
    gateway = Gateway(settings, hub, real_clocks())
    await gateway.start()
    before = pss_bytes()
    stores = {name: MemoryStore() for name in names}
    links: list[asyncio.Task[None]] = []
    try:
        for name in names:
            one = link_settings(folder, authority, name, f"127.0.0.1:{gateway.port}", None)
            link = SiteLink(one, stores[name], real_clocks(), jitter=random.Random(name).random)
            links.append(asyncio.create_task(_dial(link, len(links) / sizes.dials_per_s)))
        began = time.monotonic()
        await until(lambda: true(all(link.synced for link in gateway.status())), "all synced", 300)
        report.row("all links synced after", time.monotonic() - began, "s")
        both = (pss_bytes() - before) / len(names)
        goal = "<= 2097152 (both ends, in one process)"
        report.row("memory of one site", both, "bytes", goal, both <= 2 * 1024 * 1024)
        await _idle(report, gateway, len(names))
        await _under_changes(report, hub, stores, sizes)
    finally:
        for task in links:
            task.cancel()
        await asyncio.gather(*links, return_exceptions=True)
        await gateway.stop()


async def _dial(link: SiteLink, after_s: float) -> None:
    await asyncio.sleep(after_s)
    await link.run()


async def _idle(report: Report, gateway: Gateway, sites: int) -> None:
    """What an idle link carries and costs (frames; TLS and TCP add about as much again)."""

    def carried() -> int:
        return sum(link.bytes_sent + link.bytes_received for link in gateway.status())

    first, seconds = carried(), 10.0
    async with spent() as cost:
        await asyncio.sleep(seconds)
    bits = (carried() - first) * 8 / seconds / sites
    report.row("frames of an idle site", bits, "bit/s", "<= 1000 on the interface", bits <= 500)
    report.row("CPU of an idle site, both ends", 1e6 * cost.cpu_s / seconds / sites, "us/s")


async def _under_changes(
    report: Report, hub: MemoryStore, stores: dict[str, MemoryStore], sizes: Sizes
) -> None:
    lags: list[float] = []

    async def look() -> None:
        async for batch in hub.watch("/isthmus/v1/remote/"):
            now = time.time()
            for event in batch.events:
                if "/summary/chains/" in event.key and event.entry is not None:
                    lags.append(now - float(event.entry.value))

    looking = asyncio.create_task(look())
    sent, began = 0, time.monotonic()
    async with spent() as cost:
        while (passed := time.monotonic() - began) < sizes.follow_s:
            while sent < passed * sizes.fanin_changes_per_s * len(stores):
                name = f"s{sent % len(stores)}"
                key = f"/isthmus/v1/summary/peers/{HUB}/chains/t/c{sent // len(stores) % 100}"
                await stores[name].put(key, repr(time.time()).encode())
                sent += 1
            await asyncio.sleep(0.002)
        await until(lambda: true(len(lags) >= sent * 0.99), "the last changes arrive", 60)
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)
    lags.sort()
    p99 = lags[int(len(lags) * 0.99)]
    what = f"{len(stores)} sites x {sizes.fanin_changes_per_s}/s"
    report.row(f"lag p99, {what}", p99, "s", "<= 2", p99 <= 2)
    report.row("CPU of one change, both ends", 1e6 * cost.cpu_s / len(lags), "us")
