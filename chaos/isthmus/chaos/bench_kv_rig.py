"""What the measurements of ``isthmus bench kv`` stand on: a guarded etcd, both clients, cost and rows."""

from __future__ import annotations

import asyncio
import importlib.metadata
import platform
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isthmus.deploy.etcd_process import EtcdMember, EtcdTls, free_port, run_etcd
from isthmus.identity import Identity, LeafRequest
from isthmus.kv import methods
from isthmus.kv import wire_pb2 as wire
from isthmus.kv.channel import open_channel
from isthmus.kv.etcd import EtcdStore
from isthmus.kv.methods import Method
from isthmus.kv.settings import EtcdSettings
from isthmus.trust.store import Enrolment, enroll

VALUE = b"v" * 200
CONCURRENCY = 64
Rows = list[dict[str, object]]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured. The defaults take about a minute; :meth:`small` is for tests."""

    puts: int = 3000
    txns: int = 300
    keys: int = 50_000
    large_keys: int = 500_000
    rounds: int = 3
    live_events: int = 2000
    mirror_keys: int = 100_000

    @classmethod
    def small(cls) -> Sizes:
        """Enough to see that every figure is produced."""
        return cls(100, 10, 2000, 0, 1, 100, 2000)


@dataclass(slots=True)
class Cost:
    """Of one measured stretch."""

    cpu_s: float
    wall_s: float


@asynccontextmanager
async def spent() -> AsyncIterator[Cost]:
    """Process CPU and wall time of the block."""
    cost = Cost(0.0, 0.0)
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    yield cost
    cost.cpu_s = time.process_time() - cpu_s
    cost.wall_s = time.perf_counter() - wall_s


class RawStubs:
    """What the reference is: generated messages over grpc.aio and nothing else."""

    def __init__(self, settings: EtcdSettings) -> None:
        self.channel: Any = open_channel(settings)
        self.put = self._unary(methods.PUT)
        self.txn = self._unary(methods.TXN)
        self.range = self._unary(methods.RANGE)
        self.range_stream = self.channel.unary_stream(
            methods.RANGE_STREAM.path,
            request_serializer=wire.RangeRequest.SerializeToString,
            response_deserializer=wire.RangeStreamResponse.FromString,
        )
        self.watch = self.channel.stream_stream(
            methods.WATCH.path,
            request_serializer=wire.WatchRequest.SerializeToString,
            response_deserializer=wire.WatchResponse.FromString,
        )

    def _unary(self, method: Method[Any, Any]) -> Any:
        return self.channel.unary_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )


@dataclass(slots=True)
class Bench:
    """Both clients on one server, and the rows measured so far."""

    store: EtcdStore
    raw: RawStubs
    sizes: Sizes
    rows: Rows = field(default_factory=list)
    series: dict[str, object] = field(default_factory=dict)

    def row(
        self,
        name: str,
        value: float,
        unit: str,
        goal: str = "",
        met: bool = True,
        reference: float | None = None,
    ) -> None:
        """One figure, with the reference of the same run."""
        ratio = round(value / reference, 3) if reference else None
        shown = None if reference is None else round(reference, 4)
        self.rows.append(
            {
                "name": name,
                "value": round(value, 4),
                "unit": unit,
                "goal": goal,
                "met": met,
                "reference": shown,
                "ratio": ratio,
            }
        )


async def in_parallel(count: int, one: Callable[[int], Awaitable[object]]) -> None:
    """``count`` calls, CONCURRENCY at a time."""
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            await one(number)

    await asyncio.gather(*(work() for _ in range(CONCURRENCY)))


async def alternating(
    rounds: int, subject: Callable[[], Awaitable[Cost]], reference: Callable[[], Awaitable[Cost]]
) -> tuple[Cost, Cost]:
    """Medians of interleaved rounds; one round of each to warm up."""
    await reference()
    await subject()
    pairs = [(await reference(), await subject()) for _ in range(rounds)]
    return _median([ours for _, ours in pairs]), _median([raw for raw, _ in pairs])


def _median(costs: Sequence[Cost]) -> Cost:
    return Cost(
        statistics.median(cost.cpu_s for cost in costs),
        statistics.median(cost.wall_s for cost in costs),
    )


def check(holds: bool, what: str) -> None:
    if not holds:
        raise RuntimeError(f"bench kv: {what}")


def pss_mb() -> float:
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def versions(etcd: str) -> dict[str, str]:
    names = ("grpcio", "protobuf", "isthmus")
    found = {name: importlib.metadata.version(name) for name in names}
    return found | {"etcd": etcd, "python": platform.python_version()}


@asynccontextmanager
async def guarded_etcd(folder: Path) -> AsyncIterator[EtcdSettings]:
    """An etcd that asks for certificates, and how to reach it."""
    identities = [Identity.of_site("carrier.example", "bench", name) for name in NAMES]
    wanted = [Enrolment(LeafRequest(one), folder / one.component) for one in identities]
    enroll(folder / "authorities", identities[0].trust_domain, wanted, now_s=time.time())
    server, client = (folder / name for name in NAMES)
    tls = EtcdTls(
        ca_file=server / "ca.pem", cert_file=server / "cert.pem", key_file=server / "key.pem"
    )
    member = EtcdMember(
        data_dir=folder / "data",
        client_port=free_port(),
        tls=tls,
        quota_bytes=4 << 30,
        compaction_retention="2000000",
    )
    async with run_etcd(member):
        yield EtcdSettings(
            endpoints=(member.endpoint,),
            ca_file=client / "ca.pem",
            cert_file=client / "cert.pem",
            key_file=client / "key.pem",
            server_name=identities[0].server_name,
        )


NAMES = ("etcd", "bench")
