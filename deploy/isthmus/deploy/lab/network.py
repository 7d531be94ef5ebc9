"""Builds the lab's namespaces and lines: a cut is a cut, because there is no other way out (DESIGN section 8).

Each tier reaches the outside by one veth to ``wan``. The wan forwards only the data wires between hosts; control
passes through toxiproxy and nowhere else. Nothing here is undone by hand: the world dies with the lab.
"""

from __future__ import annotations

from collections.abc import Iterable

from isthmus.deploy.lab.addresses import (
    CONSOLE,
    CONTROL_PORT,
    HOSTS_NET,
    TOXIPROXY_API,
    VXLAN_PORT,
    WAN,
    Addresses,
)
from isthmus.deploy.lab.spec import GLOBAL, LabSpec
from isthmus.vswitch import Node

ROOT = Node(None)


def tier_lines(addresses: Addresses, tier: str) -> list[str]:
    """``ip -batch`` lines, run in the world's own namespace, that join a tier to the wan."""
    number = addresses.number(tier)
    return [
        f"netns add {tier}",
        f"link add name t{number} netns {WAN} mtu 1500 type veth peer name wan netns {tier} mtu 1500",
    ]


def inside_tier_lines(addresses: Addresses, tier: str) -> list[str]:
    """Lines run in the tier's namespace."""
    return [
        "link set lo up",
        f"addr add {addresses.tier(tier)}/30 dev wan",
        "link set wan up",
        f"route add default via {addresses.wan(tier)} dev wan",
    ]


def wan_lines(addresses: Addresses) -> list[str]:
    """Lines run in the wan once every tier is joined."""
    lines = [
        "link set lo up",
        f"addr add {TOXIPROXY_API.split(':')[0]}/30 dev lab",
        "link set lab up",
    ]
    for tier in addresses.tiers:
        number = addresses.number(tier)
        lines += [f"addr add {addresses.wan(tier)}/30 dev t{number}", f"link set t{number} up"]
        if tier != GLOBAL:
            lines.append(f"route add {addresses.hosts_net(tier)} via {addresses.tier(tier)}")
    return lines


def host_lines(
    addresses: Addresses, site: str, host: str
) -> tuple[list[str], list[str], list[str]]:
    """Lines for a host: in the world, in the site, in the host itself."""
    netns = addresses.host_netns(site, host)
    return (
        [
            f"netns add {netns}",
            f"link add name {host} netns {site} mtu 1500 type veth peer name under netns {netns} mtu 1500",
        ],
        [f"addr add {addresses.host_gateway(site, host)}/30 dev {host}", f"link set {host} up"],
        [
            "link set lo up",
            f"addr add {addresses.host(site, host)}/30 dev under",
            "link set dev under up",
            f"route add default via {addresses.host_gateway(site, host)} dev under",
        ],
    )


def wan_rules(addresses: Addresses) -> str:
    """Only data wires between hosts are forwarded; only the lab's console and each tier's own control link are heard.

    A tier that could dial the proxy of another would not be cut off when its own is cut.
    """
    control = "\n".join(
        f'  iifname "t{addresses.number(tier)}" ip daddr {addresses.wan(tier)} '
        f"tcp dport {CONTROL_PORT} accept"
        for tier in addresses.tiers
        if tier != GLOBAL
    )
    return f"""table inet lab {{
 chain forward {{ type filter hook forward priority 0; policy drop;
  ip saddr {HOSTS_NET} ip daddr {HOSTS_NET} udp dport {VXLAN_PORT} accept
 }}
 chain input {{ type filter hook input priority 0; policy drop;
  iif lo accept
  iifname "lab" accept
  ct state established,related accept
  ip protocol icmp accept
{control}
  udp dport {VXLAN_PORT} accept
 }}
}}
"""


def tier_rules(tier: str) -> str:
    """A tier hears nobody from outside; the global tier hears the gateway's port."""
    gateway = f"tcp dport {CONTROL_PORT} accept\n" if tier == GLOBAL else ""
    return f"""table inet lab {{
 chain input {{ type filter hook input priority 0; policy drop;
  iif lo accept
  ct state established,related accept
  ip protocol icmp accept
  {gateway}
 }}
 chain forward {{ type filter hook forward priority 0; policy drop;
  ip saddr {HOSTS_NET} ip daddr {HOSTS_NET} udp dport {{ {VXLAN_PORT}, 4790 }} accept
  ip protocol icmp accept
 }}
}}
"""


async def build(spec: LabSpec) -> Addresses:
    """Make every namespace of ``spec``; must run inside a private world."""
    addresses = Addresses(spec)
    await ROOT.ip([f"netns add {WAN}", "link set lo up"])
    await ROOT.ip(
        [
            f"link add name lab type veth peer name lab netns {WAN}",
            f"addr add {CONSOLE}/30 dev lab",
            "link set lab up",
        ]
    )
    for tier in addresses.tiers:
        await ROOT.ip(tier_lines(addresses, tier))
        inside = Node(tier)
        await inside.ip(inside_tier_lines(addresses, tier))
        await _forward(inside)
        await inside.nft(tier_rules(tier))
    for site in spec.sites:
        for host in site.host_names:
            world, in_site, in_host = host_lines(addresses, site.site, host)
            await ROOT.ip(world)
            await Node(site.site).ip(in_site)
            await Node(addresses.host_netns(site.site, host)).ip(in_host)
        await _customers(addresses, site.attachments)
    wan = Node(WAN)
    await wan.ip(wan_lines(addresses))
    await _forward(wan)
    await wan.nft(wan_rules(addresses))
    return addresses


async def _customers(addresses: Addresses, attachments: Iterable[str]) -> None:
    for attachment in attachments:
        netns = addresses.customer_netns(attachment)
        await ROOT.ip([f"netns add {netns}"])
        await Node(netns).ip(["link set lo up"])


async def _forward(node: Node) -> None:
    await node.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
