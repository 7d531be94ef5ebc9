"""The pure parts of the Linux plug-in: names, the recipe, what an inspection means."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from isthmus.infrastructure import Refused, UnknownAttachment, UnknownNode
from isthmus.infrastructure.linux.fabric import GATEWAY, customer_lines
from isthmus.infrastructure.linux.kernel import instance_states, pids_inside, sandbox_names
from isthmus.infrastructure.linux.names import (
    Leg,
    Sandbox,
    attachment_alias,
    attachment_of,
    partner_of,
)
from isthmus.infrastructure.linux.probing import capability_of
from isthmus.infrastructure.linux.recipe import (
    LINE_MAC,
    Inside,
    Pair,
    inside_from,
    inside_lines,
    pairs_of,
    steer_script,
    sysctls,
)
from isthmus.infrastructure.linux.settings import AttachmentPlace, LinuxSettings
from isthmus.infrastructure.linux.watching import link_changes
from isthmus.vswitch.observed import Link

SANDBOX = Sandbox("i-0123456789ab", 3, "h1")
PAIR = Pair(0, "")


def test_names_come_back_only_to_their_scope() -> None:
    """Two sites share a machine: what another scope marked is invisible here."""
    name = SANDBOX.netns("s1")
    assert Sandbox.of(name, "s1") == SANDBOX
    assert Sandbox.of(name, "s2") is None
    assert Sandbox.of("s1-h1", "s1") is None
    assert Sandbox.of("isthmus@s1@h1@i-1@x", "s1") is None


def test_each_life_has_devices_of_its_own() -> None:
    """Re-using a name while the kernel still takes the old device down failed 13 of 20 times."""
    names = {
        Sandbox("i-1", life, "h1").leg(scope, leg)
        for life in (1, 2)
        for leg in ("in", "out")
        for scope in ("s1", "s2")
    }
    assert len(names) == 8
    assert all(len(name) <= 15 for name in names)


@pytest.mark.parametrize("partner", ["out", ""])
def test_leg_aliases_come_back(partner: str) -> None:
    """Whose leg it is, which life, and whether a partner is due, all after a restart."""
    leg = Leg("i-1", 2, "in", partner)
    assert Leg.of(leg.alias("s1"), "s1") == leg
    assert Leg.of(leg.alias("s1"), "s2") is None
    assert Leg.of("uplink: to the core", "s1") is None
    assert Leg.of("", "s1") is None


def test_attachment_aliases_come_back() -> None:
    """As for legs."""
    assert attachment_of(attachment_alias("s1", "hq"), "s1") == "hq"
    assert attachment_of(attachment_alias("s1", "hq"), "s2") is None


def test_partners() -> None:
    """The other leg of the same user."""
    legs = ("in", "out", "in2", "out2", "in3")
    assert [partner_of(leg, legs) for leg in legs] == ["out", "in", "out2", "in2", ""]


@pytest.mark.parametrize(
    ("legs", "says"),
    [
        (("in",), "'out' is missing"),
        (("in", "out", "out2"), "'in2' is missing"),
        (("lan", "wan"), "leg 'lan'"),
        (("in", "out", "in100", "out100"), "leg 'in100'"),
        (("in1", "out1", "in01", "out01"), "two pairs of one number"),
        (("in", "out", "in0", "out0"), "two pairs of one number"),
    ],
)
def test_legs_make_pairs(legs: tuple[str, ...], says: str) -> None:
    """What nothing could pass is refused with the leg's name."""
    with pytest.raises(Refused, match=says):
        pairs_of(legs)


def test_pairs_do_not_share_tables_or_marks() -> None:
    """Users of a shared sandbox never meet in a routing table, a mark or a zone."""
    pairs = pairs_of(tuple(f"{leg}{n}" for n in ("", 1, 2, 99) for leg in ("in", "out")))
    tables = [table for pair in pairs for table in pair.tables]
    marks = [mark for pair in pairs for mark in pair.marks]
    assert len(set(tables)) == len(set(marks)) == 8
    assert not {253, 254, 255} & set(tables), "the kernel's own tables"


def whole(mtu: int = 1450) -> Inside:
    """An inspection of a complete sandbox."""
    up = {"flags": ["UP"], "address": LINE_MAC}
    return Inside(
        links={"lo": {"flags": ["UP"]}, "in": up, "out": up},
        rules=frozenset({0, 101, 102, 103, 104, 32766}),
        routes={(101, "out"): mtu, (102, "in"): mtu},
        neighbours=frozenset({("out", "169.254.1.2"), ("in", "169.254.1.1")}),
        steered=frozenset({"in", "out"}),
        sysctls=tuple(sysctls((PAIR,)).values()),
    )


def test_a_whole_sandbox_needs_nothing() -> None:
    """Idempotence is decided here."""
    assert inside_lines((PAIR,), 1450, whole()) == []
    assert steer_script((PAIR,), whole()) == ""


def test_a_new_sandbox_gets_everything_in_the_order_that_works() -> None:
    """lo first (or routes are refused), and a leg's address before its neighbour (setting an
    address flushes neighbours, permanent ones too)."""
    lines = inside_lines((PAIR,), 1450, Inside())
    assert lines[0] == "link set lo up"
    for leg in ("in", "out"):
        address = lines.index(f"link set {leg} address {LINE_MAC} up")
        (neighbour,) = [n for n, line in enumerate(lines) if f"dev {leg} nud" in line]
        (route,) = [n for n, line in enumerate(lines) if f"dev {leg} onlink" in line]
        assert address < neighbour < route
    assert sum(line.startswith("rule add") for line in lines) == 4


def test_only_what_lacks_is_put_back() -> None:
    """Each kind of damage costs its own lines and no more."""
    good = whole()
    cases = [
        (Inside(**{**vars_of(good), "rules": good.rules - {102}}), ["rule add iif out"]),
        (
            Inside(**{**vars_of(good), "routes": {(101, "out"): 1450}}),
            ["route replace default via 169.254.1.1"],
        ),
        (
            Inside(**{**vars_of(good), "neighbours": frozenset({("out", "169.254.1.2")})}),
            ["neigh replace 169.254.1.1"],
        ),
    ]
    for seen, starts in cases:
        lines = inside_lines((PAIR,), 1450, seen)
        assert len(lines) == len(starts)
        assert all(line.startswith(start) for line, start in zip(lines, starts, strict=True))
    assert len(inside_lines((PAIR,), 1400, good)) == 2, "another length is two routes"


def vars_of(inside: Inside) -> dict[str, Any]:
    return {name: getattr(inside, name) for name in Inside.__slots__}


def test_inspections_are_read() -> None:
    """A stream of answers of ip, nft and the switches, as iproute2 6.1 prints them."""
    documents: list[Any] = [
        [{"ifname": "lo", "flags": ["UP"]}, {"ifname": "in", "flags": ["UP"], "address": LINE_MAC}],
        [{"priority": 0, "table": "local"}, {"priority": 101, "iif": "in", "table": "101"}],
        [
            {"dst": "default", "dev": "in", "table": "102", "metrics": [{"mtu": 1450}]},
            {"dst": "default", "dev": "out", "table": "101"},
            {"dst": "fe80::/64", "dev": "in"},
        ],
        [
            {"dst": "169.254.1.1", "dev": "in", "lladdr": LINE_MAC, "state": ["PERMANENT"]},
            {"dst": "169.254.1.2", "dev": "out", "lladdr": LINE_MAC, "state": ["STALE"]},
        ],
        {"nftables": [{"rule": {"expr": [{"match": {"right": "in"}}]}}]},
        "1",
        "",
    ]
    inside = inside_from(documents, (PAIR,))
    assert inside.rules == {0, 101}
    assert inside.routes[(102, "in")] == 1450
    assert inside.routes[(101, "out")] == 0
    assert inside.neighbours == {("in", "169.254.1.1")}
    assert inside.steered == {"in"}
    assert inside.sysctls == ("1", "")


def test_switches_are_set_for_every_leg() -> None:
    """The stricter of "all" and the device's own reverse-path filter counts, so both are unset."""
    wanted = sysctls((PAIR, Pair(2, "2")))
    for leg in ("in", "out", "in2", "out2", "all", "default"):
        assert wanted[f"ipv4/conf/{leg}/rp_filter"] == "0"
    assert wanted["ipv4/ip_forward"] == wanted["ipv4/fwmark_reflect"] == "1"


def test_the_first_user_keeps_the_default_zone() -> None:
    """Sessions of the first user must survive the second user's arrival."""
    script = steer_script((PAIR, Pair(2, "2")), Inside())
    assert 'iifname "in" ct zone' not in script
    assert 'iifname "in2" ct zone set 2' in script
    assert script.index("ct zone") < script.index("meta mark")


def link(name: str, alias: str, *, up: bool = True) -> Link:
    return Link(name, 7, "veth", alias, 9000, up)


def state_of(*, token: str = "1-2", legs: tuple[str, ...] = ("in", "out"), up: bool = True) -> Any:
    marks = [Leg("i-1", 1, leg, "out" if leg == "in" else "in") for leg in legs]
    links = {f"v{m.name}": link(f"v{m.name}", m.alias("s1"), up=up) for m in marks}
    names = {Sandbox("i-1", 1, "h1"): token} if token else {}
    states = instance_states(names, {"h1": links}, "s1")
    return states[0] if states else None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, ""),
        ({"token": ""}, "its network namespace is gone"),
        ({"legs": ()}, "it has no legs on its node"),
        ({"legs": ("in",)}, "leg 'out' is gone"),
        ({"up": False}, "leg 'in' is down"),
    ],
)
def test_a_sandbox_is_whole_or_lost_for_a_reason(change: dict[str, Any], reason: str) -> None:
    """A kernel sandbox has no process: what must be there is name, legs and their state."""
    state = state_of(**change)
    assert (state.phase, state.reason) == ("lost" if reason else "running", reason)


def test_other_nodes_sandboxes_are_not_judged() -> None:
    """A plug-in that serves one node of the machine must not call its neighbour's lost."""
    assert instance_states({Sandbox("i-1", 1, "h2"): "1-2"}, {"h1": {}}, "s1") == ()


def test_listing_an_absent_folder_is_empty(tmp_path: Path) -> None:
    """Before the first namespace the folder does not exist."""
    assert sandbox_names(tmp_path / "netns", "s1") == {}


def test_listing_reads_only_our_names(tmp_path: Path) -> None:
    """Other namespaces of the machine are not ours."""
    (tmp_path / SANDBOX.netns("s1")).touch()
    (tmp_path / "somebody").touch()
    assert list(sandbox_names(tmp_path, "s1")) == [SANDBOX]


def test_processes_are_found_by_their_namespace() -> None:
    """This very process lives in its own network namespace; an absent one has nobody."""
    assert os.getpid() in pids_inside(Path("/proc/self/ns/net"))
    assert pids_inside(Path("/proc/self/ns/absent")) == ()


def netlink(kind: int, alias: str, *, up: bool = True) -> bytes:
    """One rtnetlink link message (rtnetlink(7)): header, ifinfomsg, attributes."""
    text = alias.encode() + b"\0"
    name = struct.pack("=HH", 4 + 5, 3) + b"veth\0" + b"\0" * 3
    attribute = struct.pack("=HH", 4 + len(text), 20) + text
    body = struct.pack("=BxHiII", socket.AF_UNSPEC, 1, 7, 1 if up else 0, 0) + name + attribute
    message = struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body
    return message + b"\0" * (-len(message) % 4)


@pytest.mark.parametrize(
    ("kind", "up", "heard"),
    [(17, True, "a link of it is gone"), (16, False, "a link of it is down"), (16, True, "")],
)
def test_link_messages_are_heard(kind: int, up: bool, heard: str) -> None:
    """A leg that goes or goes down is a reason to look; one that comes up is not."""
    alias = Leg("i-1", 1, "in", "out").alias("s1")
    changes = list(link_changes(netlink(kind, alias, up=up), "s1", "instance"))
    assert [c.reason for c in changes] == ([heard] if heard else [])
    assert all(c.subject == "i-1" for c in changes)


def test_several_messages_in_one_read() -> None:
    """The kernel packs what happened together; strangers and attachments are skipped."""
    mine = netlink(17, Leg("i-1", 1, "in", "out").alias("s1"))
    other = netlink(17, Leg("i-2", 1, "in", "out").alias("s2"))
    line = netlink(17, attachment_alias("s1", "hq"))
    batch = other + mine + line + netlink(17, "")
    assert [c.subject for c in link_changes(batch, "s1", "instance")] == ["i-1"]
    assert [c.subject for c in link_changes(batch, "s1", "attachment")] == ["hq"]


@pytest.mark.parametrize("cut", [0, 1, 15, 20, 40])
def test_a_cut_message_is_no_crash(cut: int) -> None:
    """Whatever arrives, reading ends."""
    message = netlink(17, Leg("i-1", 1, "in", "out").alias("s1"))
    list(link_changes(message[:cut], "s1", "instance"))
    list(link_changes(b"\0" * cut, "s1", "instance"))


PLACE = AttachmentPlace("cli", "10.1.0.2/24")


def answers(**change: Any) -> Any:
    """A customer's end as it should be, with changes."""
    eth0 = {
        "ifname": "eth0",
        "flags": ["UP"],
        "address": LINE_MAC,
        "addr_info": [{"local": "10.1.0.2"}],
    }
    parts = {
        "links": [{"ifname": "lo", "flags": ["UP"]}, eth0],
        "routes": [{"dst": "default", "gateway": GATEWAY, "metrics": [{"mtu": 1450}]}],
        "neighbours": [{"dst": GATEWAY, "state": ["PERMANENT"]}],
        **change,
    }
    return [parts["links"], parts["routes"], parts["neighbours"]]


def test_a_customers_end_that_is_right_is_left_alone() -> None:
    """Idempotence, and the customer's own addresses and routes are not ours."""
    assert customer_lines(PLACE, 1450, answers()) == []


def test_a_customers_end_gets_what_it_lacks() -> None:
    """A new line gets all, another length one route, a lost neighbour one neighbour."""
    fresh = answers(links=[{"ifname": "eth0", "flags": []}], routes=[], neighbours=[])
    words = [line.split()[0] for line in customer_lines(PLACE, 1450, fresh)]
    assert words == ["link", "link", "addr", "neigh", "route"]
    assert "10.1.0.2/32" in " ".join(customer_lines(PLACE, 1450, fresh)), "nothing is on the link"
    assert len(customer_lines(PLACE, 1400, answers())) == 1
    assert len(customer_lines(PLACE, 1450, answers(neighbours=[]))) == 1


def test_settings_name_what_is_wrong() -> None:
    """An operator's slip is refused when it is read, with field and value."""
    with pytest.raises(Refused, match="Expected 4 octets"):
        AttachmentPlace("cli", "10.1.0")
    with pytest.raises(Refused, match="has host bits set"):
        AttachmentPlace("cli", "10.1.0.2/24", routes=("10.2.0.1/24",))
    with pytest.raises(Refused, match="scope 'S 1'"):
        LinuxSettings("S 1", {})
    settings = LinuxSettings("s1", {"h2": None, "h1": "h1"}, {"hq": PLACE})
    assert settings.node("h2").netns is None
    with pytest.raises(UnknownNode, match="known: h1, h2"):
        settings.node("h3")
    with pytest.raises(UnknownAttachment, match="known: hq"):
        settings.place("cafe")


@pytest.mark.parametrize(
    ("complaints", "mapped", "plane", "fence"),
    [
        ((), False, "kernel", "kernel"),
        ((), True, "kernel-userns", "kernel"),
        (("fence: Error: Operation not supported",), False, "kernel", "none"),
        (("tc redirect: Error: Unknown filter",), False, "none", "none"),
        (("network namespace: unshare failed",), False, "none", "none"),
    ],
)
def test_capabilities_follow_from_complaints(
    complaints: tuple[str, ...], mapped: bool, plane: str, fence: str
) -> None:
    """The fence may be missing alone; without any other step no packet chain is promised."""
    capability = capability_of(complaints, mapped=mapped)
    assert (capability.dataplane, capability.fence) == (plane, fence)
    assert capability.reasons == complaints
