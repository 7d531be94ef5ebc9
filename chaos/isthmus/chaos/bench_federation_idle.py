"""``isthmus bench federation-idle``: what an idle site costs on the wire, by the counters of its interface (GOALS).

One hollow site (an in-memory store behind the shipped link) in a network namespace of its own, joined to the gateway by
a veth pair: whatever crosses it is the link, with TLS, HTTP/2, TCP, IP and Ethernet. Both ways are added up.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isthmus.chaos.bench_federation_rig import (
    NotMeasured,
    Report,
    Sizes,
    enroll,
    gateway_settings,
    link_settings,
    true,
    until,
)
from isthmus.federation.dialer import SiteLink
from isthmus.federation.gateway import Gateway
from isthmus.federation.run import real_clocks
from isthmus.federation.settings import load_site
from isthmus.kv.memory import MemoryStore

SITE, INTERFACE = "hollow", "idle0"
OURS, THEIRS = "10.77.0.1", "10.77.0.2"
BEATS = 6
"""Of five seconds; a whole number, so that no beat falls out or comes twice."""
_NETWORK = f"""
ip link set lo up
ip netns add {SITE}
ip link add {INTERFACE} type veth peer name up0 netns {SITE}
ip address add {OURS}/30 dev {INTERFACE}
ip link set {INTERFACE} up
ip -n {SITE} address add {THEIRS}/30 dev up0
ip -n {SITE} link set up0 up
"""


@dataclass(frozen=True, slots=True)
class _Counted:
    wire_bytes: int
    packets: int
    frame_bytes: int


async def idle(folder: Path, sizes: Sizes | None = None) -> dict[str, Any]:
    """Of one linked site that has nothing to tell; runs in a world."""
    for line in _NETWORK.strip().splitlines():
        await _run(*line.split())
    report = Report("federation-idle")
    bundle = enroll(folder, [SITE])
    settings = gateway_settings(folder, bundle, [SITE], f"{OURS}:0", None)
    gateway = Gateway(settings, MemoryStore(), real_clocks())
    await gateway.start()
    dialled = f"{OURS}:{gateway.port}"
    file = folder / "site.json"
    file.write_text(link_settings(folder, bundle, SITE, dialled, None).model_dump_json())
    site = await asyncio.create_subprocess_exec(
        "ip", "netns", "exec", SITE, sys.executable, "-m", __name__, str(file)
    )
    try:
        await until(lambda: true(all(one.synced for one in gateway.status())), "linked", 60)
        beat_s = settings.limits.beat_s
        await asyncio.sleep(2 * beat_s)  # the last of the greeting and of the first copy
        first, began = _counted(gateway), time.monotonic()
        await asyncio.sleep(BEATS * beat_s)
        last, seconds = _counted(gateway), time.monotonic() - began
    finally:
        site.kill()
        await site.wait()
        await gateway.stop()
    bits = (last.wire_bytes - first.wire_bytes) * 8 / seconds
    report.row("interface of an idle site, both ways", bits, "bit/s", "<= 1000", bits <= 1000)
    report.row("frames of it", (last.frame_bytes - first.frame_bytes) * 8 / seconds, "bit/s")
    report.row("packets", (last.packets - first.packets) / seconds, "1/s")
    return report.document(sizes or Sizes())


def _counted(gateway: Gateway) -> _Counted:
    folder = Path(f"/sys/class/net/{INTERFACE}/statistics")
    rx, tx, rxp, txp = (
        int((folder / name).read_text())
        for name in ("rx_bytes", "tx_bytes", "rx_packets", "tx_packets")
    )
    (link,) = gateway.status()
    return _Counted(rx + tx, rxp + txp, link.bytes_sent + link.bytes_received)


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(*command)
    if await process.wait() != 0:
        raise NotMeasured(f"{' '.join(command)}: failed")


async def _hollow(file: Path) -> None:
    await SiteLink(load_site(file), MemoryStore(), real_clocks(), jitter=random.random).run()


if __name__ == "__main__":
    asyncio.run(_hollow(Path(sys.argv[1])))
