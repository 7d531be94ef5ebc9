"""What the lab tells the kernel: rules that let the wires and the control links through, and nothing else."""

from __future__ import annotations

import re

import pytest

from isthmus.deploy.lab import network
from isthmus.deploy.lab.addresses import Addresses
from isthmus.deploy.lab.spec import GLOBAL, LabLink, LabSite, LabSpec

SPEC = LabSpec(
    sites=(LabSite(site="milan", hosts=2), LabSite(site="paris")),
    links=(LabLink(a="milan", b="paris", latency_us=1),),
)
ADDRESSES = Addresses(SPEC)


def chain(rules: str, name: str) -> list[str]:
    """The lines of one chain."""
    found = re.search(rf"chain {name} \{{(.*?)\n \}}", rules, re.DOTALL)
    assert found is not None
    return [line.strip() for line in found.group(1).splitlines() if line.strip()]


def test_the_wan_forwards_data_wires_only() -> None:
    """Why: any TCP that the wan forwards is a way round the proxy, and a cut would not be one."""
    policy, *accepted = chain(network.wan_rules(ADDRESSES), "forward")
    assert "policy drop" in policy
    assert accepted == ["ip saddr 10.101.0.0/16 ip daddr 10.101.0.0/16 udp dport 4789 accept"]


def test_the_wan_hears_each_site_at_its_own_proxy() -> None:
    """Why: a site that may dial another site's proxy is not cut off when its own is cut."""
    policy, *accepted = chain(network.wan_rules(ADDRESSES), "input")
    assert "policy drop" in policy
    assert [line for line in accepted if "tcp" in line] == [
        'iifname "t1" ip daddr 10.100.1.2 tcp dport 7443 accept',
        'iifname "t2" ip daddr 10.100.2.2 tcp dport 7443 accept',
    ]


@pytest.mark.parametrize("tier", [GLOBAL, "milan"])
def test_a_tier_hears_the_gateways_port_or_nothing(tier: str) -> None:
    """Why: a site dials out and is never dialled (R61); the global tier is dialled at one port."""
    policy, *accepted = chain(network.tier_rules(tier), "input")
    assert "policy drop" in policy
    dialled = [line for line in accepted if "dport" in line]
    assert dialled == (["tcp dport 7443 accept"] if tier == GLOBAL else [])
    _, *forwarded = chain(network.tier_rules(tier), "forward")
    assert not [line for line in forwarded if "tcp" in line]


def test_every_line_to_the_wan_has_its_own_name() -> None:
    """Why: two devices of one name cannot be in one namespace; the second site would not come up."""
    lines = [line for tier in ADDRESSES.tiers for line in network.tier_lines(ADDRESSES, tier)]
    names = re.findall(r"link add name (\S+) netns wan", "\n".join(lines))
    assert names == ["t0", "t1", "t2"]
    assert all(len(name) < 16 for name in names)


def test_the_wan_knows_the_way_to_every_sites_hosts() -> None:
    """Why: without the route VXLAN packets of that site vanish, and only of that site."""
    text = "\n".join(network.wan_lines(ADDRESSES))
    assert "route add 10.101.1.0/24 via 10.100.1.1" in text
    assert "route add 10.101.2.0/24 via 10.100.2.1" in text
    assert "10.101.0.0/24" not in text, "the global tier has no hosts"


def test_a_host_hangs_below_its_site_only() -> None:
    """Why: a host with a second way out could carry what its site does not know of."""
    world, site, host = network.host_lines(ADDRESSES, "milan", "h2")
    assert world[1].startswith("link add name h2 netns milan ")
    assert "addr add 10.101.1.6/30 dev h2" in site
    assert "route add default via 10.101.1.6 dev under" in host
    assert sum("link add" in line for line in [*world, *site, *host]) == 1
