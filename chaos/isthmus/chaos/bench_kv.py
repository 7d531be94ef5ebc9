"""``isthmus bench kv``: what our store client costs beside raw grpc.aio stubs (GOALS, row ``kv``).

Everything runs against one etcd of its own, mutual TLS on both sides, in rounds that alternate between
reference and subject so that a noisy machine disturbs both. CPU is that of this process, gRPC's threads
included; it and the ratios count, wall times are told beside them. The raw stubs use the same generated
messages over the same channel options, without a single line of ours in between.

``etcd3`` does not import beside protobuf 4 and later: it is measured by an interpreter of an environment of its own
(:mod:`isthmus.chaos.vendor` builds it once); where that cannot be had the JSON says that it was not, and why.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from isthmus.chaos.bench_kv_rig import (
    VALUE,
    Bench,
    Cost,
    RawStubs,
    Sizes,
    alternating,
    check,
    guarded_etcd,
    in_parallel,
    pss_mb,
    spent,
    versions,
)
from isthmus.chaos.vendor import VendorUnavailable, vendor_python
from isthmus.kv import Put, methods
from isthmus.kv import wire_pb2 as wire
from isthmus.kv.etcd import EtcdStore
from isthmus.kv.mirror import Mirror
from isthmus.kv.ranges import prefix_end
from isthmus.kv.writes import write_batches

__all__ = ["Sizes", "measure"]


# ---- writes


async def measure_puts(bench: Bench) -> None:
    """64 at a time: CPU of one put, ours and raw."""
    count = bench.sizes.puts

    async def ours() -> Cost:
        async with spent() as cost:
            await in_parallel(count, lambda n: bench.store.put(f"bench/put/{n % 500}", VALUE))
        return cost

    async def raw() -> Cost:
        async def one(number: int) -> None:
            key = b"bench/put/%d" % (number % 500)
            await bench.raw.put(wire.PutRequest(key=key, value=VALUE), timeout=5.0)

        async with spent() as cost:
            await in_parallel(count, one)
        return cost

    subject, reference = await alternating(bench.sizes.rounds, ours, raw)
    us = 1e6 / count
    ratio = subject.cpu_s / reference.cpu_s
    bench.row(
        "CPU of one put",
        subject.cpu_s * us,
        "us",
        "<= 1.3 x raw grpc.aio stubs",
        ratio <= 1.3,
        reference.cpu_s * us,
    )
    bench.row("puts", count / subject.wall_s, "1/s", reference=count / reference.wall_s)


async def measure_txns(bench: Bench) -> None:
    """Transactions of 100 puts, eight in flight."""
    count = bench.sizes.txns
    puts = [Put(f"bench/txn/{number}", VALUE) for number in range(count * 100)]

    async def ours() -> Cost:
        async with spent() as cost:
            await write_batches(bench.store, puts)
        return cost

    async def raw() -> Cost:
        numbers = iter(range(count))

        async def work() -> None:
            for number in numbers:
                request = wire.TxnRequest()
                for index in range(number * 100, number * 100 + 100):
                    put = request.success.add().request_put
                    put.key, put.value = b"bench/txn/%d" % index, VALUE
                await bench.raw.txn(request, timeout=5.0)

        async with spent() as cost:
            await asyncio.gather(*(work() for _ in range(8)))
        return cost

    subject, reference = await alternating(bench.sizes.rounds, ours, raw)
    us = 1e6 / (count * 100)
    bench.row(
        "CPU of one put in a transaction of 100",
        subject.cpu_s * us,
        "us",
        reference=reference.cpu_s * us,
    )
    bench.row(
        "puts in transactions of 100",
        count * 100 / subject.wall_s,
        "1/s",
        reference=count * 100 / reference.wall_s,
    )


# ---- snapshots


async def measure_snapshot(bench: Bench, keys: int, goal_s: float) -> None:
    """The whole prefix at one revision, each chunk dropped."""
    prefix = f"bench/snapshot{keys}/"
    await write_batches(
        bench.store, (Put(f"{prefix}{number:07}", VALUE) for number in range(keys)), timeout_s=30
    )

    async def ours() -> Cost:
        seen = 0
        async with spent() as cost:
            async for _, entries in bench.store.stream_snapshot(prefix):
                seen += len(entries)
        check(seen == keys, f"snapshot of {keys} keys had {seen}")
        return cost

    async def raw() -> Cost:
        start = prefix.encode()
        request = wire.RangeRequest(key=start, range_end=prefix_end(start))
        seen = 0
        async with spent() as cost:
            async for message in bench.raw.range_stream(request, timeout=60.0):
                seen += len(message.range_response.kvs)
        check(seen == keys, f"raw snapshot of {keys} keys had {seen}")
        return cost

    subject, reference = await alternating(bench.sizes.rounds, ours, raw)
    bench.row(
        f"snapshot of {keys} keys",
        subject.wall_s,
        "s",
        f"<= {goal_s} s",
        subject.wall_s <= goal_s,
        reference.wall_s,
    )
    bench.row(f"CPU of a snapshot of {keys} keys", subject.cpu_s, "s", reference=reference.cpu_s)


async def measure_snapshot_memory(bench: Bench, keys: int) -> None:
    """Growth of the peak resident size while a large snapshot streams through a fresh process."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "isthmus.chaos.bench_kv_reader",
        f"bench/snapshot{keys}/",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    settings = bench.store.calls.settings.model_dump_json()
    async with asyncio.timeout(120):
        answer, _ = await process.communicate(settings.encode())
    cost = json.loads(answer)
    check(cost["keys"] == keys, f"the reader saw {cost['keys']} of {keys} keys")
    grown_mb = cost["grown_mb"]
    bench.row(
        f"peak memory of a snapshot of {keys} keys", grown_mb, "MB", "<= 40 MB", grown_mb <= 40
    )


async def measure_etcd3(bench: Bench, python: Path) -> None:
    """The published client, in its own process: its figures stand beside ours as references."""
    settings = bench.store.calls.settings
    host, _, port = settings.endpoints[0].rpartition(":")
    given = {
        "host": host,
        "port": int(port),
        "server_name": settings.expected_server_name,
        "puts": bench.sizes.puts,
        "prefix": f"bench/snapshot{bench.sizes.keys}/",
    }
    files = {name: str(getattr(settings, name)) for name in ("ca_file", "cert_file", "key_file")}
    process = await asyncio.create_subprocess_exec(
        str(python),
        str(Path(__file__).with_name("bench_kv_etcd3.py")),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(180):
        answer, _ = await process.communicate(json.dumps(given | files).encode())
    told = json.loads(answer)
    check(told["snapshot_keys"] == bench.sizes.keys, "etcd3 did not see every key")
    figures = {row["name"]: row["value"] for row in bench.rows}
    for name, ours, unit, theirs in (
        ("CPU of one put, beside etcd3", "CPU of one put", "us", "put_cpu_us"),
        ("puts, beside etcd3", "puts", "1/s", "puts_per_s"),
        (
            "CPU of a snapshot, beside etcd3",
            f"CPU of a snapshot of {bench.sizes.keys} keys",
            "s",
            "snapshot_cpu_s",
        ),
    ):
        bench.row(name, float(str(figures[ours])), unit, reference=told[theirs])


# ---- watches


async def measure_replay(bench: Bench) -> None:
    """History of 500 revisions of 100 events, read from its beginning."""
    events = min(bench.sizes.keys, 50_000)
    first = await bench.store.put("bench/replay/begin", b"")
    await write_batches(
        bench.store, (Put(f"bench/replay/{number:06}", VALUE) for number in range(events))
    )

    async def ours() -> Cost:
        seen = 0
        watch = bench.store.watch("bench/replay/", start_revision=first)
        async with spent() as cost:
            async for batch in watch:
                seen += len(batch.events)
                if seen > events:
                    break
        await watch.aclose()
        return cost

    async def raw() -> Cost:
        start = b"bench/replay/"
        create = wire.WatchCreateRequest(
            key=start, range_end=prefix_end(start), start_revision=first
        )
        seen = 0
        call = bench.raw.watch()
        async with spent() as cost:
            await call.write(wire.WatchRequest(create_request=create))
            while seen <= events:
                seen += len((await call.read()).events)
        call.cancel()
        return cost

    subject, reference = await alternating(bench.sizes.rounds, ours, raw)
    us = 1e6 / events
    cpu_us = subject.cpu_s * us
    bench.row(
        "CPU of one batched event", cpu_us, "us", "<= 5 us", cpu_us <= 5, reference.cpu_s * us
    )
    rate = events / subject.wall_s
    bench.row("replay", rate, "events/s", ">= 60,000", rate >= 60_000, events / reference.wall_s)


async def measure_fan_out(bench: Bench) -> None:
    """20 subscribers of one mirror: watches opened, and CPU per event with 1 and with 20."""
    count = bench.sizes.live_events
    mirror = Mirror(bench.store, "bench/live/")
    calls = bench.store.counters.calls
    running = asyncio.create_task(mirror.run())
    try:
        await mirror.wait_synced(10)
        delays_s: list[float] = []
        sent_s: dict[str, float] = {}

        def note(keys: Sequence[str]) -> None:
            now_s = time.perf_counter()
            delays_s.extend(now_s - sent_s.pop(key) for key in keys if key in sent_s)

        mirror.subscribe(note)
        one = await _live(bench, mirror, count, sent_s)
        # One stands now; whoever wrote between the snapshot and it made it be opened anew.
        watches = calls[methods.WATCH.path] - 1
        for _ in range(19):
            mirror.subscribe(lambda keys: None)
        twenty = await _live(bench, mirror, count, {})
        opened = calls[methods.WATCH.path] - watches
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    bench.row("watches of 20 subscribers", opened, "watches", "1", opened == 1)
    bench.row(
        "CPU of a put seen by 20 subscribers",
        twenty.cpu_s / count * 1e6,
        "us",
        reference=one.cpu_s / count * 1e6,
    )
    delays_s.sort()
    bench.series["delivery_ms"] = {
        "p50": round(1e3 * delays_s[len(delays_s) // 2], 2),
        "p99": round(1e3 * delays_s[int(len(delays_s) * 0.99)], 2),
        "samples": len(delays_s),
    }


async def _live(bench: Bench, mirror: Mirror, count: int, sent_s: dict[str, float]) -> Cost:
    async def one(number: int) -> None:
        key = f"bench/live/{number}"
        sent_s[key] = time.perf_counter()
        await bench.store.put(key, VALUE)

    async with spent() as cost:
        for start in range(0, count, 8):
            await asyncio.gather(*(one(n) for n in range(start, min(count, start + 8))))
        last = await bench.store.put("bench/live/last", b"")
        await mirror.wait_revision(last, 30)
    return cost


async def measure_mirror(bench: Bench) -> None:
    """PSS that a mirror adds."""
    keys, prefix = bench.sizes.mirror_keys, "bench/mirror/"
    await write_batches(
        bench.store, (Put(f"{prefix}{number:07}", VALUE) for number in range(keys)), timeout_s=30
    )
    before_mb = pss_mb()
    mirror = Mirror(bench.store, prefix)
    running = asyncio.create_task(mirror.run())
    await mirror.wait_synced(60)
    check(len(mirror.entries) == keys, "the mirror is whole")
    bench.row(f"PSS of a mirror of {keys} keys of 200 bytes", pss_mb() - before_mb, "MB")
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def measure(
    folder: Path,
    sizes: Sizes | None = None,
    *,
    commit: str = "",
    etcd3_python: Path | None = None,
) -> dict[str, Any]:
    """Measure everything in ``folder`` (an empty directory); the JSON of GOALS.md as a dict."""
    chosen = sizes or Sizes()
    async with guarded_etcd(folder) as settings:
        store, raw = EtcdStore.connect(settings), RawStubs(settings)
        try:
            bench = Bench(store, raw, chosen)
            await _measure_all(bench)
            try:
                if etcd3_python is None:
                    etcd3_python = await asyncio.to_thread(vendor_python)
                await measure_etcd3(bench, etcd3_python)
            except VendorUnavailable as problem:
                bench.series["not measured"] = f"etcd3: {problem}"
            status = await store.status()
        finally:
            await store.aclose()
            await raw.channel.close()
    return {
        "bench": "kv",
        "commit": commit,
        "seed": 0,
        "versions": versions(status.version),
        "machine": {"cpus": os.cpu_count(), "load": os.getloadavg()[0], "sizes": repr(chosen)},
        "figures": bench.rows,
        "series": bench.series,
    }


async def _measure_all(bench: Bench) -> None:
    sizes = bench.sizes
    await measure_puts(bench)
    await measure_txns(bench)
    await measure_snapshot(bench, sizes.keys, 0.15)
    await measure_replay(bench)
    await measure_fan_out(bench)
    await measure_mirror(bench)
    large = sizes.large_keys or sizes.keys
    if sizes.large_keys:
        await measure_snapshot(bench, large, 1.5)
    await measure_snapshot_memory(bench, large)
