"""The wan of a lab: one toxiproxy for every control link, one relay for the distance of the data links (DESIGN 8)."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx

from isthmus.deploy.lab.addresses import CONTROL_PORT, TOXIPROXY_API, Addresses
from isthmus.deploy.lab.spec import GLOBAL, LabSpec

TIMEOUT_S = 5.0


class WanError(Exception):
    """The wan's proxy did not do what it was told; says what it said."""


def link_name(site: str) -> str:
    """The proxy of a site's control link."""
    return f"{site}.gateway"


def proxies(addresses: Addresses) -> list[dict[str, Any]]:
    """Every control link as toxiproxy wants it: fixed ports, so that a restarted proxy is the same proxy."""
    return [
        {
            "name": link_name(site.site),
            "listen": f"{addresses.wan(site.site)}:{CONTROL_PORT}",
            "upstream": f"{addresses.tier(GLOBAL)}:{CONTROL_PORT}",
            "enabled": True,
        }
        for site in addresses.spec.sites
    ]


async def populate(addresses: Addresses) -> None:
    """Create the proxies and read back that they are there; raises WanError."""
    wanted = proxies(addresses)
    async with httpx.AsyncClient(
        base_url=f"http://{TOXIPROXY_API}", timeout=TIMEOUT_S, trust_env=False
    ) as client:
        answer = await client.post("/populate", json=wanted)
        if answer.status_code not in (200, 201):
            raise WanError(f"toxiproxy refused its proxies: {answer.text[:200]}")
        there = (await client.get("/proxies")).json()
    for proxy in wanted:
        found = there.get(proxy["name"])
        if found is None or not found["enabled"] or found["listen"] != proxy["listen"]:
            raise WanError(f"toxiproxy has no living proxy {proxy['name']} (has: {sorted(there)})")


async def answers() -> bool:
    """Does the proxy's console answer?"""
    try:
        async with httpx.AsyncClient(
            base_url=f"http://{TOXIPROXY_API}", timeout=1.0, trust_env=False
        ) as client:
            return (await client.get("/version")).status_code == 200
    except httpx.HTTPError:
        return False


def distances_us(spec: LabSpec) -> dict[tuple[str, str], int]:
    """One-way latency between any two sites over the shortest way along the links."""
    far = 1 << 60
    names = [site.site for site in spec.sites]
    best = {(a, b): 0 if a == b else far for a in names for b in names}
    for link in spec.links:
        for a, b in ((link.a, link.b), (link.b, link.a)):
            best[a, b] = min(best[a, b], link.latency_us)
    for middle, a, b in itertools.product(names, names, names):
        best[a, b] = min(best[a, b], best[a, middle] + best[middle, b])
    return {pair: us for pair, us in best.items() if pair[0] != pair[1] and us < far}


def relay_config(spec: LabSpec, addresses: Addresses, path: Path) -> Path:
    """The relay's file: each pair of sites with its delay."""
    delays = [
        {"from": addresses.hosts_net(a), "to": addresses.hosts_net(b), "delay_us": us}
        for (a, b), us in sorted(distances_us(spec).items())
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"port": 4789, "delays": delays}, indent=2) + "\n")
    return path


def site_devices(addresses: Addresses) -> Iterable[tuple[str, str]]:
    """Namespace and device where packets must be finished before they enter the wan."""
    for site in addresses.spec.sites:
        yield site.site, "wan"
        for host in site.host_names:
            yield addresses.host_netns(site.site, host), "under"
