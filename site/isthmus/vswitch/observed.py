"""What is on a node now, read from the JSON of ``ip`` and ``tc``, pure.

The kernel is the state (DESIGN section 5): a manager that restarts adopts what it reads here and
never rebuilds it. A filter whose target device vanished stays and swallows packets silently
("redirect to *"); it is read as a rule without a target, so that a comparison finds it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from isthmus.vswitch.naming import wire_id_of
from isthmus.vswitch.rules import COOKIE_MARK

__all__ = ["Counters", "Link", "Observed", "ObservedRule", "links_from", "observed_from"]

GONE = "*"


@dataclass(frozen=True, slots=True)
class Counters:
    """Packets and bytes of one device, seen from this node (rx = what the device handed us)."""

    rx_packets: int = 0
    rx_bytes: int = 0
    rx_dropped: int = 0
    tx_packets: int = 0
    tx_bytes: int = 0
    tx_dropped: int = 0


@dataclass(frozen=True, slots=True)
class Link:
    """One network device; ``tunnel`` holds the VXLAN attributes of a wire."""

    name: str
    index: int
    kind: str
    alias: str
    mtu: int
    up: bool
    address: str = ""
    tunnel: Mapping[str, Any] = field(default_factory=dict)
    counters: Counters = Counters()

    @property
    def wire_id(self) -> str | None:
        """The id of the wire this device is an end of, if it is one of ours."""
        return wire_id_of(self.alias) if self.kind == "vxlan" else None


@dataclass(frozen=True, slots=True)
class ObservedRule:
    """One installed filter; ``target`` is None when the device it pointed to is gone."""

    node: int
    cookie: str
    target: str | None
    packets: int = 0
    bytes: int = 0

    @property
    def ours(self) -> bool:
        """Whether our mark is on it."""
        return self.cookie.startswith(COOKIE_MARK)


@dataclass(frozen=True, slots=True)
class Observed:
    """A node at one moment: its devices, which have a clsact qdisc, and the filters on them."""

    links: Mapping[str, Link]
    clsact: frozenset[str]
    rules: Mapping[str, tuple[ObservedRule, ...]]


def links_from(text: str) -> dict[str, Link]:
    """Read the output of ``ip -s -d -j link show``."""
    return {item["ifname"]: _link(item) for item in json.loads(text or "[]") if "ifname" in item}


def _link(item: dict[str, Any]) -> Link:
    info = item.get("linkinfo", {})
    stats = item.get("stats64", {})
    rx, tx = stats.get("rx", {}), stats.get("tx", {})
    return Link(
        name=item["ifname"],
        index=item["ifindex"],
        kind=info.get("info_kind", ""),
        alias=item.get("ifalias", ""),
        mtu=item.get("mtu", 0),
        up="UP" in item.get("flags", ()),
        address=item.get("address", ""),
        tunnel=info.get("info_data", {}) if info.get("info_kind") == "vxlan" else {},
        counters=Counters(
            rx_packets=rx.get("packets", 0),
            rx_bytes=rx.get("bytes", 0),
            rx_dropped=rx.get("dropped", 0),
            tx_packets=tx.get("packets", 0),
            tx_bytes=tx.get("bytes", 0),
            tx_dropped=tx.get("dropped", 0),
        ),
    )


def observed_from(links: Mapping[str, Link], devices: tuple[str, ...], tc_text: str) -> Observed:
    """Read ``tc -s -j -batch`` of "qdisc show" and one "filter show" per device, in that order."""
    documents = json_documents(tc_text)
    if len(documents) != 1 + len(devices):
        raise ValueError(f"{len(documents)} answers of tc to {1 + len(devices)} questions")
    clsact = frozenset(q["dev"] for q in documents[0] if q.get("kind") == "clsact")
    rules = {
        device: _rules(filters)
        for device, filters in zip(devices, documents[1:], strict=True)
        if filters
    }
    return Observed(links=links, clsact=clsact, rules=rules)


def _rules(filters: list[dict[str, Any]]) -> tuple[ObservedRule, ...]:
    found = []
    for item in filters:
        options = item.get("options", {})
        handle = str(options.get("fh", ""))
        if item.get("kind") != "u32" or not options.get("actions"):
            continue
        action = options["actions"][0]
        stats = action.get("stats", {})
        target = action.get("to_dev")
        found.append(
            ObservedRule(
                node=int(handle.rpartition(":")[2] or "0", 16),
                cookie=action.get("cookie", ""),
                target=None if target in (None, GONE) else str(target),
                packets=stats.get("packets", 0),
                bytes=stats.get("bytes", 0),
            )
        )
    return tuple(found)


def json_documents(text: str) -> list[Any]:
    """Split the concatenated JSON documents that a batch prints, one per command."""
    decoder, found, place = json.JSONDecoder(), [], 0
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        document, place = decoder.raw_decode(text, place)
        found.append(document)
    return found
