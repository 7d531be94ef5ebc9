"""One site measured as its users meet it: apply to first packet, heal of a deleted namespace, memory (GOALS).

    python -m isthmus.chaos.bench_site instantiate|heal|memory [--runs N] [--json FILE]
        [--lab FILE --tier TIER --ingress A --egress B]

The witness is the UDP probe of 2 ms. Beside each figure stands a reference of the same run: the same namespaces,
lines, rules and queues made by one shell script, without store, manager or certificates. With ``--lab`` (a LabSpec as
JSON) the same is measured over several sites. It measures and does not judge.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isthmus.chaos.bench_lab import commit
from isthmus.chaos.lab_user import ChainClient, Premises, controllers_ready, premises, until
from isthmus.chaos.memory import by_tier_mb, descendants, pss_kib
from isthmus.deploy.lab.engine import Lab
from isthmus.deploy.lab.spec import LabSite, LabSpec
from isthmus.deploy.world import in_world, world_command
from isthmus.vswitch import NETNS_DIR, Node

FUNCTIONS = (
    {"name": "fw", "type": "firewall", "config": {"default_policy": "accept"}},
    {"name": "nat", "type": "nat", "config": {"address": "203.0.113.10"}},
    {"name": "lim", "type": "limiter", "config": {"rate_kbps": 1_000_000}},
)
SETTLE_S = 5.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """Which lab, which tier is asked, which two circuits the chain joins."""

    spec: LabSpec
    tier: str
    ingress: str
    egress: str

    @classmethod
    def one_site(cls) -> Scenario:
        """One site with one host."""
        site = LabSite(site="milan", attachments=("a1", "a2"))
        return cls(LabSpec(name="bench", tier=False, sites=(site,)), "milan", "a1", "a2")

    def chain(self) -> dict[str, Any]:
        """Firewall, NAT, limiter."""
        return {
            "tenant": "acme",
            "chain": "bench",
            "ingress": {"attachment": self.ingress, **self._site(self.ingress)},
            "egress": {"attachment": self.egress, **self._site(self.egress)},
            "functions": list(FUNCTIONS),
        }

    def _site(self, attachment: str) -> dict[str, str]:
        site = next(site.site for site in self.spec.sites if attachment in site.attachments)
        return {"site": site} if self.spec.tier else {}


@dataclass(slots=True)
class Ground:
    """A running lab and its two customers."""

    lab: Lab
    api: ChainClient
    left: Premises
    right: Premises
    target: str
    scenario: Scenario

    async def apply(self) -> None:
        """Ask for the chain."""
        answer = await self.api.apply(self.scenario.chain())
        answer.raise_for_status()

    async def clear(self) -> None:
        """Take it back until no sandbox is left."""
        await self.api.delete("acme", "bench")

        async def gone() -> bool:
            return not any("i-" in path.name for path in NETNS_DIR.iterdir())

        await until(gone, "every sandbox is gone")

    def cpu_s(self) -> float:
        """CPU seconds of all processes of the lab so far, ended children included."""
        ticks = 0
        for process in self.lab.supervisor.status():
            for pid in descendants(process.pid) if process.pid else ():
                try:
                    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                ticks += sum(int(word) for word in words[11:15])
        return ticks / os.sysconf("SC_CLK_TCK")


async def on_ground(scenario: Scenario, work: Callable[[Ground], Awaitable[dict[str, Any]]]) -> Any:
    """Bring the lab up, do the work, bring it down."""
    with tempfile.TemporaryDirectory(prefix="bs") as name:
        base = Path(name)
        async with AsyncExitStack() as stack:
            lab = await stack.enter_async_context(Lab(scenario.spec, base))
            for site in scenario.spec.sites:
                await controllers_ready(lab, site.site)
            api = await stack.enter_async_context(ChainClient(lab.files.api_socket(scenario.tier)))
            netns = [lab.addresses.customer_netns(a) for a in (scenario.ingress, scenario.egress)]
            left, right = [
                await stack.enter_async_context(premises(place, base)) for place in netns
            ]
            await right.echo()
            target = lab.addresses.customer(scenario.egress)
            return await work(Ground(lab, api, left, right, target, scenario))


async def measure_instantiate(runs: int, scenario: Scenario | None = None) -> dict[str, Any]:
    """Apply to the first answered packet through three functions; the first run warms and is not counted."""

    async def work(ground: Ground) -> dict[str, Any]:
        took: list[float] = []
        cpu: list[float] = []
        bare: list[float] = []
        for run in range(runs + 1):
            bare.append(await bare_setup())
            probe = await ground.left.probe(ground.target, answered=False)
            before = ground.cpu_s()
            began = time.time()
            await ground.apply()
            await ground.api.until("acme", "bench", "running", 60)
            await ground.left.run("ping", "-c", "1", "-W", "5", ground.target)
            report = await probe.finish()
            if run:
                took.append(_first_answer(report) - began)
                cpu.append(ground.cpu_s() - before)
            await ground.clear()
        reference = statistics.median(bare[1:])
        return _document(
            "instantiate",
            [
                _figure("apply to first packet p50", statistics.median(took), "s", "<= 3", 3.0, reference),
                _figure("apply to first packet, slowest", max(took), "s", "<= 3", 3.0, max(bare[1:])),
                _figure("CPU of all processes of the lab", statistics.median(cpu), "s", "", None, None),
            ],
            {"took_s": took, "cpu_s": cpu, "bare_s": bare[1:]},
        )  # fmt: skip

    document: dict[str, Any] = await on_ground(scenario or Scenario.one_site(), work)
    return document


async def measure_heal(runs: int, scenario: Scenario | None = None) -> dict[str, Any]:
    """A function's namespace is deleted under a 2 ms probe: the longest gap between two answers.

    The healer waits before the fourth life of one instance within a minute (G14), so each run has a fresh chain.
    """

    async def work(ground: Ground) -> dict[str, Any]:
        gaps: list[float] = []
        lost: list[int] = []
        bare: list[float] = []
        for run in range(runs + 1):
            bare.append(await bare_setup() * 1000)
            await ground.apply()
            await ground.api.until("acme", "bench", "running", 60)
            probe = await ground.left.probe(ground.target)
            await _lose_and_heal(ground, function=run % len(FUNCTIONS))
            await ground.left.run("ping", "-c", "10", "-i", "0.05", "-W", "2", ground.target)
            report = await probe.finish()
            if run:
                gaps.append(report["longest_gap_ms"])
                lost.append(report["lost"])
            await ground.clear()
        reference = statistics.median(bare[1:])
        return _document(
            "heal",
            [
                _figure("gap after a deleted namespace p50", statistics.median(gaps), "ms", "<= 500", 500.0, reference),
                _figure("gap after a deleted namespace, longest", max(gaps), "ms", "<= 1000", 1000.0, max(bare[1:])),
                _figure("packets lost of 500 a second, p50", statistics.median(lost), "packets", "", None, None),
            ],
            {"gaps_ms": gaps, "lost": lost, "bare_ms": bare[1:]},
        )  # fmt: skip

    document: dict[str, Any] = await on_ground(scenario or Scenario.one_site(), work)
    return document


async def measure_memory(_: int, scenario: Scenario | None = None) -> dict[str, Any]:
    """PSS of a site with a running chain, by process and in all."""

    async def work(ground: Ground) -> dict[str, Any]:
        await ground.apply()
        await ground.api.until("acme", "bench", "running", 60)
        await asyncio.sleep(SETTLE_S)  # until what start-up needed is given back; no fact tells it
        status = ground.lab.supervisor.status()
        each = {
            process.name: round(sum(map(pss_kib, descendants(process.pid))) / 1024, 1)
            for process in status
            if process.pid
        }
        figures = [
            _figure(f"PSS of {tier}", mb, "MB", "<= 350", 350.0, None)
            for tier, mb in by_tier_mb(status).items()
        ]
        return _document("memory", figures, {"pss_mb": each})

    document: dict[str, Any] = await on_ground(scenario or Scenario.one_site(), work)
    return document


async def _lose_and_heal(ground: Ground, function: int) -> None:
    detail = await ground.api.detail("acme", "bench")
    told = detail["status"]["functions"][function]
    netns = next(p.name for p in NETNS_DIR.iterdir() if told["instance"] in p.name)
    await Node(None).run("ip", "netns", "del", netns)

    async def next_life() -> bool:
        now = (await ground.api.detail("acme", "bench"))["status"]
        fresh = now["functions"][function]["incarnation"] > told["incarnation"]
        return bool(fresh and now["phase"] == "running")

    await until(next_life, f"{told['function']} lives again", 60)


def _first_answer(report: dict[str, Any]) -> float:
    arrivals = [sent + rtt for sent, rtt, _ in report["timeline"] if rtt is not None]
    if not arrivals:
        raise RuntimeError("no packet came through although the chain is said to run")
    first_us: int = min(arrivals)
    return float(report["unix_start_s"]) + first_us / 1e6


# ---- the reference

_INSIDE = (
    "echo 1 >/proc/sys/net/ipv4/ip_forward; ip -batch - <<E\nlink set lo up\n"
    "addr add 172.31.{n}.2/30 dev in\naddr add 172.31.{next}.1/30 dev out\n"
    "link set in up\nlink set out up\n{routes}E\n{rules}\n"
)
_RULES = (
    "nft 'table inet b { chain f { type filter hook forward priority 0; policy drop; "
    "ct state established,related accept; iifname in accept; }; }'",
    "nft 'table ip b { chain p { type nat hook postrouting priority 100; "
    "oifname out snat to 172.31.2.1; }; }'",
    "tc qdisc replace dev out root tbf rate 1gbit burst 64kb latency 50ms; "
    "tc qdisc replace dev in root tbf rate 1gbit burst 64kb latency 50ms",
)


def bare_script() -> str:
    """c0 - v0 - v1 - v2 - c1: firewall, NAT, limiter, as a person with a shell would make them."""
    names = ["bc0", "bv0", "bv1", "bv2", "bc1"]
    lines = [f"netns add {name}" for name in names]
    for index, (a, b) in enumerate(itertools.pairwise(names)):
        left = "eth0" if index == 0 else "out"
        right = "eth0" if index == 3 else "in"
        lines.append(f"link add name {left} netns {a} type veth peer name {right} netns {b}")
    ends = (("bc0", "172.31.0.1/30", "172.31.0.2"), ("bc1", "172.31.3.2/30", "172.31.3.1"))
    parts = ["set -e", "ip -batch - <<E\n" + "\n".join(lines) + "\nE"]
    for index, rules in enumerate(_RULES):
        back = f"route add 172.31.0.0/30 via 172.31.{index}.1\n" if index else ""
        onward = f"route add 172.31.3.0/30 via 172.31.{index + 1}.2\n" if index < 2 else ""
        inside = _INSIDE.format(n=index, next=index + 1, routes=back + onward, rules=rules)
        parts.append(f"nsenter --net=/run/netns/bv{index} sh -e <<'S'\n{inside}S")
    for netns, address, gateway in ends:
        inside = f"addr add {address} dev eth0\nlink set eth0 up\nroute add default via {gateway}"
        parts.append(f"ip -n {netns} -batch - <<E\n{inside}\nE")
    parts.append(
        "for i in $(seq 100); do nsenter --net=/run/netns/bc0 "
        "ping -q -c1 -W1 172.31.3.2 >/dev/null && exit 0; done; exit 1"
    )
    return "\n".join(parts) + "\n"


async def bare_setup() -> float:
    """Seconds until the first ping passes through the reference; it is taken away again."""
    root = Node(None)
    began = time.monotonic()
    try:
        await root.run("sh", stdin=bare_script(), timeout_s=60)
        return time.monotonic() - began
    finally:
        await root.ip([f"netns del {name}" for name in ("bc0", "bv0", "bv1", "bv2", "bc1")], force=True)  # fmt: skip


# ---- the document


def _figure(
    name: str, value: float, unit: str, goal: str, bound: float | None, reference: float | None
) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value, 3),
        "unit": unit,
        "goal": goal,
        "met": None if bound is None else value <= bound,
        "reference": None if reference is None else round(reference, 3),
        "ratio": None if not reference else round(value / reference, 2),
    }


def _document(bench: str, figures: list[dict[str, Any]], series: dict[str, Any]) -> dict[str, Any]:
    return {
        "bench": bench,
        "commit": commit(),
        "seed": 0,
        "versions": {"python": platform.python_version(), "kernel": platform.release()},
        "machine": {"cpus": os.cpu_count(), "load": os.getloadavg()[0]},
        "figures": figures,
        "series": series,
    }


MEASURES = {
    "instantiate": measure_instantiate,
    "heal": measure_heal,
    "memory": measure_memory,
}


def main(argv: Sequence[str]) -> int:
    """Starts itself again inside a private world when it is in none."""
    parser = argparse.ArgumentParser(prog="python -m isthmus.chaos.bench_site")
    parser.add_argument("bench", choices=sorted(MEASURES))
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--lab", type=Path, help="a LabSpec as JSON; then also:")
    for option in ("--tier", "--ingress", "--egress"):
        parser.add_argument(option, default="")
    options = parser.parse_args(argv)
    if not in_world():
        again = world_command([sys.executable, "-m", "isthmus.chaos.bench_site", *argv])
        return subprocess.run(again, timeout=3600, check=False).returncode
    scenario = None
    if options.lab is not None:
        spec = LabSpec.model_validate_json(options.lab.read_text())
        scenario = Scenario(spec, options.tier, options.ingress, options.egress)
    document = asyncio.run(MEASURES[options.bench](options.runs, scenario))
    text = json.dumps(document, indent=2) + "\n"
    if options.json is not None:
        options.json.write_text(text)
    for figure in document["figures"]:
        reference = (
            ""
            if figure["ratio"] is None
            else f"  reference {figure['reference']}, ratio {figure['ratio']}"
        )
        print(f"{figure['name']}: {figure['value']} {figure['unit']} {figure['goal']}{reference}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
