"""The inside of a sandbox, pure: which lines make it forward, and which of them are missing.

A packet that comes in by one leg goes out by its partner, and nothing inside knows an address of
a neighbour (measured recipe). Every interface on every line has the same hardware address, the
neighbours are permanent and the default routes ``onlink``: no ARP, a healed sandbox has the same
identity on the line, and a line works in either direction.

* ``ip rule iif`` picks the table by the leg of arrival, so address translation stays symmetric.
* Answers made inside (TCP resets, ICMP errors) have no leg of arrival: prerouting marks each leg
  and ``fwmark_reflect`` copies the mark into the answer, which a second rule sends back.
* A device that accepts less than a frame drops it silently, so devices take 9000 bytes and the
  limit is the ROUTE's: then the sender is told ("fragmentation needed").
* A sandbox shared by several users has one conntrack zone per pair of legs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from isthmus.infrastructure.errors import Refused

__all__ = [
    "DEVICE_MTU",
    "LINE_MAC",
    "Inside",
    "Pair",
    "inside_from",
    "inside_lines",
    "inspect_script",
    "pairs_of",
    "steer_script",
    "sysctls",
]

LINE_MAC = "02:00:00:00:00:01"
DEVICE_MTU = 9000
STEER_TABLE = "isthmus_steer"
_LEG = re.compile(r"(in|out)([0-9]{0,2})")
_IN_GATEWAY, _OUT_GATEWAY = "169.254.1.1", "169.254.1.2"
_FIRST_TABLE, _FIRST_MARK, _FIRST_PREF = 101, 1, 101


@dataclass(frozen=True, slots=True, order=True)
class Pair:
    """The two legs of one user of a sandbox; ``number`` keeps its tables and zone stable."""

    number: int
    suffix: str

    @property
    def legs(self) -> tuple[str, str]:
        return f"in{self.suffix}", f"out{self.suffix}"

    @property
    def tables(self) -> tuple[int, int]:
        """Routing tables: for packets that came by ``in`` (out they go), and by ``out``."""
        return _FIRST_TABLE + 2 * self.number, _FIRST_TABLE + 2 * self.number + 1

    @property
    def marks(self) -> tuple[int, int]:
        return _FIRST_MARK + 2 * self.number, _FIRST_MARK + 2 * self.number + 1


def pairs_of(legs: tuple[str, ...]) -> tuple[Pair, ...]:
    """Group legs into pairs; refuse a leg without its partner, which nothing could pass."""
    pairs = set()
    for leg in legs:
        match = _LEG.fullmatch(leg)
        if match is None:
            raise Refused(f"leg {leg!r}: this plug-in knows in, out, in1, out1, ... in99, out99")
        pairs.add(Pair(int(match[2] or 0), match[2]))
    for pair in pairs:
        lacking = [leg for leg in pair.legs if leg not in legs]
        if lacking:
            raise Refused(f"legs {legs}: {lacking[0]!r} is missing to make a pair")
    if len({pair.number for pair in pairs}) != len(pairs):
        raise Refused(f"legs {legs}: two pairs of one number")
    return tuple(sorted(pairs))


@dataclass(frozen=True, slots=True)
class Inside:
    """What an inspection of a sandbox found; empty for one that is not built yet."""

    links: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    rules: frozenset[int] = frozenset()
    routes: Mapping[tuple[int, str], int] = field(default_factory=dict)
    neighbours: frozenset[tuple[str, str]] = frozenset()
    steered: frozenset[str] = frozenset()
    sysctls: tuple[str, ...] = ()


def sysctls(pairs: tuple[Pair, ...]) -> dict[str, str]:
    """Kernel switches by path below /proc/sys/net; distributions set rp_filter, so we unset it."""
    wanted = {
        "ipv4/ip_forward": "1",
        "ipv4/fwmark_reflect": "1",
        "ipv6/fwmark_reflect": "1",
    }
    for name in ("all", "default", *(leg for pair in pairs for leg in pair.legs)):
        wanted[f"ipv4/conf/{name}/rp_filter"] = "0"
        wanted[f"ipv4/conf/{name}/send_redirects"] = "0"
    return wanted


def inspect_script(pairs: tuple[Pair, ...]) -> str:
    """A shell script whose output is a stream of JSON documents, read by ``inside_from``."""
    questions = "link show\nrule show\nroute show table all\nneigh show"
    paths = " ".join(f"/proc/sys/net/{path}" for path in sysctls(pairs))
    return (
        f"ip -j -batch - <<'.'\n{questions}\n.\n"
        f"nft -j list chain inet {STEER_TABLE} legs 2>/dev/null || echo '{{}}'\n"
        f'for path in {paths}; do value=""; [ -e $path ] && read value <$path; '
        'echo "\\"$value\\""; done\n'
    )


def inside_from(documents: list[Any], pairs: tuple[Pair, ...]) -> Inside:
    """Read the answers of ``inspect_script``."""
    links, rules, routes, neighbours, chain, *switches = documents
    expressions = [str(i["rule"]) for i in chain.get("nftables", ()) if "rule" in i]
    legs = [leg for pair in pairs for leg in pair.legs]
    return Inside(
        links={link["ifname"]: link for link in links},
        rules=frozenset(rule["priority"] for rule in rules),
        routes={_route_key(route): _route_mtu(route) for route in routes},
        neighbours=frozenset(
            (n["dev"], n["dst"])
            for n in neighbours
            if n.get("lladdr") == LINE_MAC and "PERMANENT" in n.get("state", ())
        ),
        steered=frozenset(leg for leg in legs if any(f"'{leg}'" in e for e in expressions)),
        sysctls=tuple(str(value) for value in switches),
    )


def _route_key(route: dict[str, Any]) -> tuple[int, str]:
    table = route.get("table", 254)
    number = int(table) if str(table).isdigit() else 254
    return number, str(route.get("dev", "")) if route.get("dst") == "default" else "-"


def _route_mtu(route: dict[str, Any]) -> int:
    metrics = route.get("metrics") or [{}]
    return int(metrics[0].get("mtu", 0))


def inside_lines(pairs: tuple[Pair, ...], mtu: int, seen: Inside) -> list[str]:
    """Return the ``ip`` lines that are missing inside, in the order that works.

    Setting a hardware address flushes neighbours, permanent ones too, so it comes first.
    """
    lines = [] if _up(seen, "lo") else ["link set lo up"]
    for pair in pairs:
        lines += _leg_lines(pair, mtu, seen)
    for pair in pairs:
        lines += _rule_lines(pair, seen)
    return lines


def _up(seen: Inside, link: str) -> bool:
    return "UP" in seen.links.get(link, {}).get("flags", ())


def _leg_lines(pair: Pair, mtu: int, seen: Inside) -> list[str]:
    lines = []
    (in_leg, out_leg), (onward, back) = pair.legs, pair.tables
    for leg, gateway, table in ((out_leg, _OUT_GATEWAY, onward), (in_leg, _IN_GATEWAY, back)):
        right = seen.links.get(leg, {}).get("address") == LINE_MAC
        if not right:
            lines.append(f"link set {leg} address {LINE_MAC} up")
        elif not _up(seen, leg):
            lines.append(f"link set {leg} up")
        if not right or not _up(seen, leg) or (leg, gateway) not in seen.neighbours:
            lines.append(f"neigh replace {gateway} lladdr {LINE_MAC} dev {leg} nud permanent")
        if seen.routes.get((table, leg)) != mtu or not _up(seen, leg):
            lines.append(
                f"route replace default via {gateway} dev {leg} onlink table {table} mtu {mtu}"
            )
    return lines


def _rule_lines(pair: Pair, seen: Inside) -> list[str]:
    (in_leg, out_leg), (onward, back), (mark_in, mark_out) = pair.legs, pair.tables, pair.marks
    first = _FIRST_PREF + 4 * pair.number
    wanted = (
        f"rule add iif {in_leg} lookup {onward} pref {first}",
        f"rule add iif {out_leg} lookup {back} pref {first + 1}",
        f"rule add fwmark {mark_in} lookup {back} pref {first + 2}",
        f"rule add fwmark {mark_out} lookup {onward} pref {first + 3}",
    )
    return [line for place, line in enumerate(wanted) if first + place not in seen.rules]


def steer_script(pairs: tuple[Pair, ...], seen: Inside) -> str:
    """The nft transaction that marks legs and separates users; empty if it is loaded already."""
    if all(leg in seen.steered for pair in pairs for leg in pair.legs):
        return ""
    legs, zones = [], []
    for pair in pairs:
        for leg, mark in zip(pair.legs, pair.marks, strict=True):
            legs.append(f'  iifname "{leg}" meta mark set {mark}\n')
            if pair.number:
                zones.append(f'  iifname "{leg}" ct zone set {pair.number}\n')
    return (
        f"add table inet {STEER_TABLE}\ndelete table inet {STEER_TABLE}\n"
        f"table inet {STEER_TABLE} {{\n"
        " chain zones { type filter hook prerouting priority -300; policy accept;\n"
        f"{''.join(zones)} }}\n"
        " chain legs { type filter hook prerouting priority -150; policy accept;\n"
        f"{''.join(legs)} }}\n}}\n"
    )
