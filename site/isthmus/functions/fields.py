"""Fields that network functions share, typed so that nothing a person writes reaches a ruleset as text.

A port is a number, a prefix an :mod:`ipaddress` object, a protocol one of four words; rulesets are printed from
those. Python reads a scope id behind ``%`` into an IPv6 address and prints it back unchecked ("fe80::1%x } drop"): the
one way in which a parsed address can still carry foreign text, so addresses with a scope are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Network, collapse_addresses, ip_network
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

Protocol = Literal["any", "tcp", "udp", "icmp"]
_RANGE = re.compile(r"([0-9]{1,5})-([0-9]{1,5})", re.ASCII)
_ADDRESS_TEXT = re.compile(r"[0-9A-Fa-f.:/]{2,49}", re.ASCII)


def _check_port(value: object) -> object:
    """Every refusal is made here, so that it names the entry of the list and nothing of our types."""
    if isinstance(value, int) and not isinstance(value, bool):
        if not 1 <= value <= 65535:
            raise ValueError("a port is within 1-65535")
        return value
    match = _RANGE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('give a port as a number, or a range as "6000-6010"')
    first, last = (int(end) for end in match.groups())
    if not 1 <= first <= last <= 65535:
        raise ValueError("a range runs upwards within 1-65535")
    return value


def _check_address_text(value: object) -> object:
    if not isinstance(value, str) or not _ADDRESS_TEXT.fullmatch(value):
        raise ValueError("give an address such as 10.1.0.2 or 2001:db8::1")
    return value


def _check_prefix_text(value: object) -> object:
    if not isinstance(value, str) or not _ADDRESS_TEXT.fullmatch(value):
        raise ValueError("give a prefix such as 10.1.0.0/16 or 2001:db8::/32")
    ip_network(value)
    return value


def _check_unicast(value: IPv4Address) -> IPv4Address:
    if value.is_multicast or value.is_unspecified or value.is_loopback or value.is_reserved:
        raise ValueError("give a unicast address that packets can come back to")
    return value


PortNumber = Annotated[int, Field(ge=1, le=65535)]
Port = Annotated[
    PortNumber | Annotated[str, Field(pattern=r"^[0-9]{1,5}-[0-9]{1,5}$")],
    BeforeValidator(_check_port),
]
"""A port number or a range of them, as in ``"6000-6010"``."""

Ports = Annotated[tuple[Port, ...], Field(max_length=64)]
Prefix = Annotated[IPv4Network | IPv6Network, BeforeValidator(_check_prefix_text)]
Prefixes = Annotated[tuple[Prefix, ...], Field(max_length=64)]
UnicastV4 = Annotated[
    IPv4Address, BeforeValidator(_check_address_text), AfterValidator(_check_unicast)
]


def port_items(ports: Sequence[int | str]) -> list[str]:
    """``ports`` as sorted, merged intervals (the kernel refuses sets whose intervals overlap)."""
    spans = sorted(_span(port) for port in ports)
    merged: list[tuple[int, int]] = []
    for first, last in spans:
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return [f"{a:d}" if a == b else f"{a:d}-{b:d}" for a, b in merged]


def _span(port: int | str) -> tuple[int, int]:
    if isinstance(port, int):
        return port, port
    first, _, last = port.partition("-")
    return int(first), int(last)


def nft_set(items: Iterable[str]) -> str:
    """An anonymous set of items that were printed from typed values."""
    return "{ " + ", ".join(items) + " }"


def family_matches(
    source: Sequence[IPv4Network | IPv6Network], destination: Sequence[IPv4Network | IPv6Network]
) -> list[str]:
    """The address part of a rule, one per IP version it can match; ``[""]`` when any address will do, none when
    source and destination have no version in common."""
    if not source and not destination:
        return [""]
    matches = []
    for version, word in ((4, "ip"), (6, "ip6")):
        parts = [
            (field, [net for net in nets if net.version == version], nets)
            for field, nets in (("saddr", source), ("daddr", destination))
        ]
        if any(nets and not same for _, same, nets in parts):
            continue
        matches.append(
            "".join(
                f"{word} {field} {nft_set(_collapsed(same))} " for field, same, _ in parts if same
            )
        )
    return matches


def _collapsed(networks: Sequence[IPv4Network | IPv6Network]) -> list[str]:
    """Disjoint prefixes (all of one version), printed from their numbers."""
    fours = [IPv4Network((int(n.network_address), n.prefixlen)) for n in networks if n.version == 4]
    sixes = [IPv6Network((int(n.network_address), n.prefixlen)) for n in networks if n.version == 6]
    return [str(net) for net in (*collapse_addresses(fours), *collapse_addresses(sixes))]
