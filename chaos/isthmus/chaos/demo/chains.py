"""The demo's chains: inside a site, over two sites, ending at the partner, and one that cannot fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from isthmus.chaos.demo.stage import TENANT

WEB_PORT = 8080
BLOCKED_PORT = 5999
PROBE_PORT = 7007
NAT_ADDRESS = "203.0.113.10"


def firewall(name: str, customer: str) -> dict[str, Any]:
    """Lets one customer's web, probe and ping through, says no to one port, drops the rest. It knows the customer by
    the address *before* any NAT, so it only works at its place in the order."""
    source = [f"{customer}/32"]
    return {
        "name": name,
        "type": "firewall",
        "config": {
            "default_policy": "drop",
            "allow_ping": True,
            "rules": [
                {"action": "allow", "protocol": "tcp", "ports": [WEB_PORT], "source": source},
                {"action": "allow", "protocol": "udp", "ports": [PROBE_PORT], "source": source},
                {"action": "deny", "protocol": "tcp", "ports": [BLOCKED_PORT]},
            ],
        },
    }


def nat(name: str, address: str = NAT_ADDRESS) -> dict[str, Any]:
    """Hides the customer's address."""
    return {"name": name, "type": "nat", "config": {"address": address}}


def limiter(name: str, rate_kbps: int = 50_000) -> dict[str, Any]:
    """Bounds the rate both ways."""
    return {"name": name, "type": "limiter", "config": {"rate_kbps": rate_kbps}}


def chain(
    name: str,
    ingress: str,
    egress: str,
    functions: list[dict[str, Any]],
    *,
    budget_ms: float = 50.0,
    **constraints: Any,
) -> dict[str, Any]:
    """A spec as a person would write it; an attachment's name begins with its site's."""
    return {
        "tenant": TENANT,
        "chain": name,
        "ingress": {"site": ingress.rpartition("-")[0], "attachment": ingress},
        "egress": {"site": egress.rpartition("-")[0], "attachment": egress},
        "functions": functions,
        "latency_budget_ms": budget_ms,
        "constraints": constraints,
    }


def carried(address_of: Callable[[str], str]) -> list[dict[str, Any]]:
    """The chains that fit. ``address_of`` gives a customer's address."""
    return [
        chain(
            "office",
            "milan-a",
            "milan-b",
            [firewall("fw", address_of("milan-a")), limiter("limit")],
        ),
        chain(
            "web",
            "milan-c",
            "frankfurt-a",
            [firewall("fw", address_of("milan-c")), nat("nat"), limiter("limit")],
            owners=["carrier"],
            anti_affinity=[["fw", "limit"]],
        ),
        chain(
            "swiss",
            "paris-a",
            "zurich-a",
            [firewall("fw", address_of("paris-a")), nat("nat", "203.0.113.20")],
            anti_affinity=[["fw", "nat"]],
        ),
    ]


def impossible(address_of: Callable[[str], str]) -> dict[str, Any]:
    """Light itself is too slow for this one."""
    return chain(
        "tight",
        "milan-d",
        "paris-b",
        [firewall("fw", address_of("milan-d"))],
        budget_ms=2.0,
    )
