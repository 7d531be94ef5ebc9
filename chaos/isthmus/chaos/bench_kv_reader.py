"""One large snapshot in a process of its own: its peak memory is not hidden by what ran before it.

usage: python -m isthmus.chaos.bench_kv_reader PREFIX < settings.json; prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from isthmus.kv.etcd import EtcdStore
from isthmus.kv.settings import EtcdSettings


def status_mb(field_name: str) -> float:
    """A line of this process's status, such as ``VmHWM`` (the peak)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field_name + ":"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"/proc/self/status has no {field_name}")


async def read(settings: EtcdSettings, prefix: str) -> dict[str, float]:
    """Stream the snapshot, dropping each chunk; what it cost."""
    async with EtcdStore.connect(settings) as store:
        await store.status()
        before_mb, cpu_s, wall_s = status_mb("VmRSS"), time.process_time(), time.perf_counter()
        keys = 0
        async for _, entries in store.stream_snapshot(prefix):
            keys += len(entries)
        return {
            "keys": keys,
            "grown_mb": status_mb("VmHWM") - before_mb,
            "cpu_s": time.process_time() - cpu_s,
            "wall_s": time.perf_counter() - wall_s,
        }


if __name__ == "__main__":
    given = EtcdSettings.model_validate_json(sys.stdin.read())
    print(json.dumps(asyncio.run(read(given, sys.argv[1]))))
