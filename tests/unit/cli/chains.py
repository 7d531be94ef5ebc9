"""What the site does with a chain that a command applied."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tests.live_api import LiveApi

from isthmus.contract import families
from isthmus.contract.chain import (
    Candidate,
    ChainRecord,
    ChainStatus,
    Explanation,
    FunctionSpec,
    FunctionStatus,
    Phase,
    Segment,
    Terminal,
)

SpecFile = Callable[..., str]

NAMES: dict[str, Any] = {"tenant": "acme", "chain": "shop"}


def ageless(text: str) -> str:
    """The text with every age replaced, for a test never depends on how long it took."""
    return re.sub(r"\b[0-9]+s\b", "Ns", text)


def run_chain(live: LiveApi, reason: str = "") -> None:
    """The site's microcontrollers admit the chain and report that it runs."""
    end = Terminal(kind="attachment", name="customer")
    guard = FunctionSpec(name="guard", type="firewall")
    segment = Segment(tenant="acme", chain="shop", left=end, right=end, functions=(guard,))
    live.write(families.SPECS, ChainRecord(segment=segment), **NAMES)
    status = ChainStatus(
        phase=Phase.RUNNING,
        reason=reason,
        path=("milan/h1/guard",),
        connected_hops=2,
        hops=2,
        model_latency_ms=1.25,
        functions=(
            FunctionStatus(
                function="guard",
                type="firewall",
                site="milan",
                host="h1",
                instance="i-0123456789ab",
                incarnation=1,
                phase="running",
                packets_forward=42,
            ),
        ),
    )
    live.write(families.STATUS, status, **NAMES)


def refuse_chain(live: LiveApi) -> None:
    """The placer says no."""
    entry = live.do(live.store.get(families.REQUESTS.key(**NAMES)))
    assert entry is not None
    why = Explanation(
        decision="refused",
        constraint="cpu",
        reason="guard needs 900 millicores, 500 are free",
        candidates=(Candidate(name="h1", verdict="cpu 500 < 900", cost=3.5),),
        nearest_relaxation="cpu_milli 500",
        input_revision=entry.mod_revision,
        figures={"cpu_milli_needed": 900},
    )
    live.write(families.EXPLAIN, why, component="placer", **NAMES)
