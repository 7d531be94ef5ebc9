"""Reading the answers of ip, tc and nft: recorded from iproute2 6.1 and nftables 1.0.6."""

from __future__ import annotations

import json
from typing import Any

import pytest

from isthmus.vswitch.gate import gate_script, gate_state_from, renew_script
from isthmus.vswitch.model import GateSpec
from isthmus.vswitch.observed import Link, json_documents, links_from, observed_from
from isthmus.vswitch.panel import _cords
from isthmus.vswitch.rules import CATCH_ALL, Rule

COOKIE = Rule(CATCH_ALL, "match u32 0 0", "vb").cookie
QDISCS = [
    {"kind": "noqueue", "handle": "0:", "dev": "va", "root": True},
    {"kind": "clsact", "handle": "ffff:", "dev": "va", "parent": "ffff:fff1"},
]


def filters(target: str, cookie: str | None = COOKIE, handle: str = "800::800") -> list[Any]:
    """What tc shows for one redirecting filter: two headers, then the filter."""
    head = {"protocol": "all", "pref": 1, "kind": "u32", "chain": 0}
    action = {
        "order": 1,
        "kind": "mirred",
        "mirred_action": "redirect",
        "direction": "egress",
        "to_dev": target,
        "stats": {"bytes": 840, "packets": 10},
    }
    if cookie is not None:
        action["cookie"] = cookie
    return [
        head,
        {**head, "options": {"fh": "800:", "ht_divisor": 1}},
        {**head, "options": {"fh": handle, "match": {"value": "0"}, "actions": [action]}},
    ]


def read(*per_device: list[Any]) -> Any:
    """Observed state of devices va, vb, ... with these filters."""
    devices = tuple(f"v{letter}" for letter, _ in zip("abcdef", per_device, strict=False))
    text = "\n".join(json.dumps(document) for document in (QDISCS, *per_device))
    return observed_from({}, devices, text)


def test_a_filter_of_ours_is_read() -> None:
    """Place, mark, target and counters; the headers tc prints before it are no rules."""
    seen = read(filters("vb"), [])
    (rule,) = seen.rules["va"]
    assert (rule.node, rule.target, rule.ours, rule.packets, rule.bytes) == (
        CATCH_ALL,
        "vb",
        True,
        10,
        840,
    )
    assert seen.clsact == {"va"}
    assert "vb" not in seen.rules


def test_a_redirect_into_nothing_is_read_as_such() -> None:
    """The kernel shows a vanished target as "*" and goes on swallowing (pitfall 9)."""
    assert read(filters("*")).rules["va"][0].target is None


@pytest.mark.parametrize("cookie", [None, "", "deadbeef"])
def test_a_filter_without_our_mark_is_not_ours(cookie: str | None) -> None:
    """Somebody else's mirror port at the same place is not ours to remove."""
    assert not read(filters("vb", cookie)).rules["va"][0].ours


def test_answers_and_questions_are_counted() -> None:
    """A batch that broke off must not shift one device's filters to another."""
    with pytest.raises(ValueError, match="1 answers of tc to 2 questions"):
        observed_from({}, ("va",), json.dumps(QDISCS))


def test_documents_are_split_without_separators() -> None:
    """A batch prints one document per command, with or without line ends between."""
    assert json_documents('[1]\n[]{"a": 2} "3"') == [[1], [], {"a": 2}, "3"]
    assert json_documents(" \n ") == []


def test_cords_are_told_with_their_faults() -> None:
    """Whole, one-way and dead cords look different to an operator."""
    seen = read(filters("vb"), filters("va"), filters("vd"), [], filters("*"))
    states = {state.a: state for state in _cords(seen)}
    assert (states["va"].b, states["va"].problem) == ("vb", "")
    assert states["vc"].problem == "vd does not lead back to vc"
    assert states["ve"].problem == "ve leads to a device that is gone"
    assert "vb" not in states, "a whole cord is told once"


def test_links_are_read_with_their_tunnel() -> None:
    """Name, alias and the attributes that a wire is compared by; empty output is no link."""
    item = {
        "ifindex": 6,
        "ifname": "xw",
        "flags": ["BROADCAST", "UP"],
        "mtu": 1450,
        "address": "1e:23:b8:bb:2f:68",
        "ifalias": "isthmus:wire:w-1",
        "linkinfo": {"info_kind": "vxlan", "info_data": {"id": 7, "port": 4789}},
        "stats64": {"rx": {"packets": 3, "bytes": 252, "dropped": 1}, "tx": {"packets": 2}},
    }
    link = links_from(json.dumps([item]))["xw"]
    assert (link.wire_id, link.tunnel["id"], link.up, link.mtu) == ("w-1", 7, True, 1450)
    assert (link.counters.rx_packets, link.counters.rx_dropped, link.counters.tx_packets) == (
        3,
        1,
        2,
    )
    assert links_from("") == {}
    foreign = links_from(json.dumps([{**item, "ifalias": "theirs"}]))["xw"]
    assert foreign.wire_id is None


LINKS = {
    "ga": Link("ga", 2, "veth", "", 9000, True),
    "gb": Link("gb", 4, "veth", "", 9000, True),
}


def gate_answer(
    *, target: str = "gb", epoch: int = 7, index: int = 2, elements: list[Any] | None = None
) -> str:
    """What nft shows for a gate."""
    comment = f"isthmus c-1 {epoch} ga {index}"
    items: list[dict[str, Any]] = [
        {"metainfo": {"version": "1.0.6"}},
        {"table": {"family": "netdev", "name": "isthmus_gate_00"}},
        {"set": {"name": "lease", "type": "mark", "elem": elements or []}},
        {"chain": {"name": "in", "hook": "ingress", "policy": "drop"}},
        {"rule": {"chain": "in", "expr": [{"mangle": {"value": 7}}]}},
        {"rule": {"chain": "in", "comment": comment, "expr": [{"fwd": {"dev": target}}]}},
    ]
    return json.dumps({"nftables": items})


def lease(epoch: int, expires: int) -> dict[str, Any]:
    return {"elem": {"val": epoch, "timeout": 5, "expires": expires}}


def test_a_gate_is_open_for_its_own_epoch_only() -> None:
    """An element of an older epoch is there and means nothing (G2')."""
    cases: list[tuple[list[Any], bool]] = [
        ([], False),
        ([lease(6, 4)], False),
        ([lease(6, 4), lease(7, 2)], True),
        ([lease(7, 0)], True),
    ]
    for elements, is_open in cases:
        state = gate_state_from(gate_answer(elements=elements), LINKS)
        assert state is not None
        assert state.open is is_open, elements


def test_a_gate_with_a_lost_device_is_not_open() -> None:
    """A target shown as a number, or a source with another index, is a device that is gone."""
    elements = [lease(7, 3)]
    for answer, problem in (
        (gate_answer(target="4", elements=elements), "target device is gone"),
        (gate_answer(index=9, elements=elements), "source device is gone"),
    ):
        state = gate_state_from(answer, LINKS)
        assert state is not None
        assert not state.open
        assert problem in state.problem


def test_a_foreign_table_is_no_gate() -> None:
    """A table that only looks like one of ours is not judged."""
    items = [{"table": {"family": "netdev", "name": "isthmus_gate_01"}}]
    assert gate_state_from(json.dumps({"nftables": items}), LINKS) is None


def test_the_gate_is_one_transaction_that_drops_by_default() -> None:
    """Fail closed: the chain's policy drops, and only a living epoch forwards."""
    gate = GateSpec("c-1", "ga", "gb", 7)
    script = gate_script(gate, source_index=2, moved=False)
    assert "policy drop" in script
    assert "meta mark set 7\n" in script
    assert script.index("meta mark set 7") < script.index('@lease counter fwd to "gb"')
    assert "delete chain" not in script
    assert "delete chain" in gate_script(gate, source_index=2, moved=True)


def test_epochs_wrap_into_a_mark() -> None:
    """A revision may exceed 32 bits; the mark takes the low ones, in gate and lease alike."""
    epoch = (1 << 32) + 5
    assert "mark set 5\n" in gate_script(
        GateSpec("c-1", "ga", "gb", epoch), source_index=2, moved=False
    )
    assert "{ 5 timeout 1000ms }" in renew_script("c-1", epoch, 1000)


def test_renewing_adds_deletes_and_adds() -> None:
    """Deleting what is not there would fail the transaction, adding what is there would keep its
    old time: only the three together renew in every case."""
    verbs = [line.split()[0] for line in renew_script("c-1", 7, 900).splitlines()]
    assert verbs == ["add", "delete", "add"]
