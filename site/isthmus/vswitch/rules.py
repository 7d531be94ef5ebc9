"""From a panel to the filters that make it real, pure.

A device's packets are stolen by one u32 filter per delivery at its clsact ingress and redirected to
the egress of the next device (``act_mirred``). All filters of a device share one priority and
``protocol all`` (the kernel refuses two protocols at one priority); the node number inside the
hash table gives their order, and the catch-all comes last. The action's cookie holds our mark and
a hash of the match, so what is installed can be compared without parsing matches back.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from isthmus.vswitch.model import Panel, Split

__all__ = ["CATCH_ALL", "COOKIE_MARK", "Rule", "deliveries", "split_rules"]

PRIORITY = 1
CATCH_ALL = 0x800
COOKIE_MARK = b"isth".hex()
_MATCH_ALL = "match u32 0 0"
_CLIENT_WORD = {("src", 4): 12, ("dst", 4): 16, ("src", 6): 20, ("dst", 6): 36}
"""Where the low word of an address stands: RFC 791 section 3.1 and RFC 8200 section 3."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One filter on a device: its place, what it matches (as a hash) and where packets go."""

    node: int
    match: str
    target: str

    @property
    def cookie(self) -> str:
        """Our mark and a hash of the match, as hexadecimal digits (12 of at most 16 bytes)."""
        return COOKIE_MARK + hashlib.sha256(self.match.encode()).hexdigest()[:16]

    def replace_line(self, device: str) -> str:
        """The ``tc`` line that installs this rule, or swaps it in place without a gap."""
        return (
            f"filter replace dev {device} ingress prio {PRIORITY} handle 800::{self.node:x} "
            f"protocol all u32 {self.match} "
            f"action mirred egress redirect dev {self.target} cookie {self.cookie}"
        )


def delete_line(device: str, node: int) -> str:
    """The ``tc`` line that removes one rule of ours from a device."""
    return f"filter del dev {device} ingress prio {PRIORITY} handle 800::{node:x} protocol all u32"


def deliveries(panel: Panel) -> dict[str, tuple[Rule, ...]]:
    """Return, for every device the panel patches, the rules its packets should meet."""
    wanted: dict[str, tuple[Rule, ...]] = {}
    for cord in panel.cords:
        wanted[cord.a] = (Rule(CATCH_ALL, _MATCH_ALL, cord.b),)
        wanted[cord.b] = (Rule(CATCH_ALL, _MATCH_ALL, cord.a),)
    for source, target in panel.returns:
        wanted[source] = (Rule(CATCH_ALL, _MATCH_ALL, target),)
    for split in panel.splits:
        wanted[split.source] = split_rules(split)
    for gate in panel.gates:
        wanted[gate.source] = ()  # an nft gate forwards here; a filter would bypass it
        wanted[gate.target] = (Rule(CATCH_ALL, _MATCH_ALL, gate.source),)
    return wanted


def split_rules(split: Split) -> tuple[Rule, ...]:
    """Spread the buckets evenly over the targets, most of them staying when a target comes."""
    mask = split.buckets - 1
    owners, devices = _owners(split), dict(split.targets)
    rules = []
    for bucket, key in enumerate(owners):
        target = devices[key]
        for place, version in enumerate((4, 6)):
            word = _CLIENT_WORD[(split.client, version)]
            match = (
                f"match u32 0x{version:x}0000000 0xf0000000 at 0 "
                f"match u32 0x{bucket:08x} 0x{mask:08x} at {word}"
            )
            rules.append(Rule(1 + bucket * 2 + place, match, target))
    rules.append(Rule(CATCH_ALL, _MATCH_ALL, devices[owners[0]]))
    return tuple(rules)


def _owners(split: Split) -> list[str]:
    """Give each bucket to the target with the highest random weight (RFC 2991) that has room."""
    room = {key: -(-split.buckets // len(split.targets)) for key, _ in split.targets}
    owners = []
    for bucket in range(split.buckets):
        free = [key for key, left in room.items() if left]
        owner = max(free, key=lambda key: (_weight(bucket, key), key))
        room[owner] -= 1
        owners.append(owner)
    return owners


def _weight(bucket: int, key: str) -> bytes:
    return hashlib.sha256(f"{bucket}/{key}".encode()).digest()
