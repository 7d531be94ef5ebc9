"""What a panel refuses before anything reaches the kernel."""

from __future__ import annotations

import pytest

import isthmus.vswitch as vswitch
from isthmus.vswitch import Cord, GateSpec, InvalidPanel, Panel, Split, WireSpec, device_name
from isthmus.vswitch.model import check_device
from isthmus.vswitch.naming import gate_table, wire_alias, wire_id_of


def test_public_names_exist() -> None:
    """What ``__all__`` promises can be imported."""
    assert all(hasattr(vswitch, name) for name in vswitch.__all__)


@pytest.mark.parametrize(
    "name", ["", "a" * 16, "a b", "-x", "a/b", "a\nlink del dev b", "ä", ".", "lo;ls"]
)
def test_a_device_name_cannot_smuggle_a_command(name: str) -> None:
    """Names become words of a batch line: blanks, line ends and options are refused."""
    with pytest.raises(InvalidPanel, match="device name"):
        check_device(name)


@pytest.mark.parametrize("name", ["eth0", "v0123456789", "a" * 15, "wan.7", "x_y-z"])
def test_ordinary_device_names_pass(name: str) -> None:
    """The kernel's own habits are not refused."""
    check_device(name)


def test_a_cord_has_two_ends_and_no_direction() -> None:
    """Two spellings of one cord are one cord; one end twice is none."""
    assert Cord("b", "a").ends == Cord("a", "b").ends == ("a", "b")
    with pytest.raises(InvalidPanel, match="to itself"):
        Cord("a", "a")


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("vni", 0, "vni 0"),
        ("vni", 1 << 24, "vni 16777216"),
        ("udp_port", 0, "udp_port 0"),
        ("udp_port", 65536, "udp_port 65536"),
        ("mtu", 100, "mtu 100"),
        ("local_ip", "10.0.0.0/8", "local_ip '10.0.0.0/8'"),
        ("remote_ip", "host; rm", "remote_ip 'host; rm'"),
        ("wire_id", "W-1", "wire 'W-1'"),
        ("wire_id", "w-1 up", "wire 'w-1 up'"),
    ],
)
def test_a_wire_refuses_what_vxlan_has_not(field: str, value: object, says: str) -> None:
    """The message names field and value (RFC 7348: 24 bits of VNI, UDP)."""
    good: dict[str, object] = {
        "wire_id": "w-1",
        "vni": 7,
        "local_ip": "10.0.0.1",
        "remote_ip": "10.0.0.2",
    }
    WireSpec(**good)  # type: ignore[arg-type]
    with pytest.raises(InvalidPanel, match=says):
        WireSpec(**{**good, field: value})  # type: ignore[arg-type]


def test_a_device_is_patched_once() -> None:
    """Two cords at one device would be decided by the order of a list: refused, naming both."""
    with pytest.raises(InvalidPanel, match="'b' is patched by cord a-b and cord b-c"):
        Panel(cords=(Cord("a", "b"), Cord("b", "c")))
    with pytest.raises(InvalidPanel, match="'a' is patched by cord a-b and gate g-1"):
        Panel(cords=(Cord("a", "b"),), gates=(GateSpec("g-1", "a", "c", 1),))


def test_wires_of_one_panel_differ() -> None:
    """One VNI per UDP port and node: the kernel would refuse the second, we say so before."""
    one, two = (WireSpec(f"w-{n}", 7, "10.0.0.1", f"10.0.0.{n + 2}") for n in range(2))
    with pytest.raises(InvalidPanel, match="same vni and port"):
        Panel(wires=(one, two))
    with pytest.raises(InvalidPanel, match="same wire"):
        Panel(wires=(one, one))


@pytest.mark.parametrize("buckets", [0, 1, 3, 24, 512])
def test_buckets_are_a_power_of_two(buckets: int) -> None:
    """The hash is a mask of the address."""
    with pytest.raises(InvalidPanel, match=f"buckets {buckets}"):
        Split("a", (("i-1", "b"),), buckets=buckets)


def test_a_split_needs_different_targets() -> None:
    """One device under two keys, or one key for two devices, is a mistake of the caller."""
    for targets in ((("i-1", "b"), ("i-2", "b")), (("i-1", "b"), ("i-1", "c"))):
        with pytest.raises(InvalidPanel, match="same target in the split of 'a'"):
            Split("a", targets)
    with pytest.raises(InvalidPanel, match="no targets"):
        Split("a", ())
    with pytest.raises(InvalidPanel, match="client is"):
        Split("a", (("i-1", "b"),), client="both")


def test_epochs_are_positive() -> None:
    """Epoch 0 means "no epoch" elsewhere; a gate never follows it."""
    with pytest.raises(InvalidPanel, match="epoch 0"):
        GateSpec("g-1", "a", "b", 0)


def test_device_names_fit_and_differ() -> None:
    """At most 15 characters (IFNAMSIZ), the kind as first letter, parts not run together."""
    names = {device_name("v", "a", "bc"), device_name("v", "ab", "c"), device_name("x", "a", "bc")}
    assert len(names) == 3
    assert all(len(name) <= 15 for name in names)
    for name in names:
        check_device(name)
    with pytest.raises(ValueError, match="one letter"):
        device_name("vx", "a")


def test_marks_come_back_from_the_kernel() -> None:
    """The whole id stands in the alias; a foreign alias is no wire of ours."""
    assert wire_id_of(wire_alias("w-0123456789ab")) == "w-0123456789ab"
    assert wire_id_of("uplink to the core") is None
    assert wire_id_of("") is None


def test_gate_tables_are_nft_identifiers() -> None:
    """nft knows no hyphen in names, ids do."""
    assert gate_table("c-1").replace("_", "").isalnum()
    assert gate_table("c-1") != gate_table("c_1")
