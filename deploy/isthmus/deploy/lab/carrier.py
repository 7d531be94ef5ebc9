"""The demo's carrier: three cities of a real network and a partner, with their real distances.

The network is Bics of the Internet Topology Zoo (CC BY 4.0; ``isthmus/deploy/topologies/README.md``). Owners,
prices and capacities are ours.
"""

from __future__ import annotations

from typing import Literal

from isthmus.deploy.lab.spec import LabLink, LabSite, LabSpec
from isthmus.deploy.topology import load

NETWORK = "Bics"
PARTNER = "zurich"
PARTNER_DOMAIN = "helvetia.example"
COUNTRIES = {"Italy": "it", "Germany": "de", "France": "fr", "Switzerland": "ch"}
CITIES = ("Milan", "Frankfurt", "Paris", "Zurich")
PRICES = {"milan": 1000, "frankfurt": 1100, "paris": 1200, "zurich": 1500}


def carrier(runtime: Literal["ray", "in-process"] = "in-process", *, taps: bool = False) -> LabSpec:
    """Milan, Frankfurt, Paris; Zurich belongs to a partner with an authority and a policy of its own."""
    network = load(NETWORK)
    sites = []
    for city in CITIES:
        name = city.lower()
        place = network.cities[city]
        partner = name == PARTNER
        sites.append(
            LabSite(
                site=name,
                owner="helvetia" if partner else "carrier",
                **({"trust_domain": PARTNER_DOMAIN} if partner else {}),
                country=COUNTRIES[place.country],
                region="alps" if name in ("milan", PARTNER) else "north",
                latitude=place.latitude,
                longitude=place.longitude,
                price_milli=PRICES[name],
                attachments=tuple(f"{name}-{letter}" for letter in "abcdef"),
                tenants=("acme",) if partner else (),
            )
        )
    links = tuple(
        LabLink(a=a.lower(), b=b.lower(), latency_us=latency, capacity_kbps=1_000_000)
        for (a, b), latency in sorted(_direct(network.contract(CITIES)).items())
    )
    return LabSpec(
        name="carrier",
        sites=tuple(sites),
        links=links,
        runtime=runtime,
        taps=taps,
        attribution="Bics, Internet Topology Zoo, CC BY 4.0",
    )


def _direct(links: dict[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    """Without the links that a way over a third city undercuts: the wan takes the shortest way, so should the model."""
    both = {**links, **{(b, a): latency for (a, b), latency in links.items()}}
    return {
        (a, b): latency
        for (a, b), latency in links.items()
        if all(
            both.get((a, c), 1 << 60) + both.get((c, b), 1 << 60) >= latency
            for c in CITIES
            if c not in (a, b)
        )
    }
