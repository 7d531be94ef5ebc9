"""Particular plans, each a thing that went wrong once or would be costly."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.vswitch.model_kernel import ModelKernel

from isthmus.vswitch import Cord, GateSpec, Panel, Split, WireSpec
from isthmus.vswitch.plan import plan_panel

WIRE = WireSpec("w-1", 7, "10.0.0.1", "10.0.0.2")


def node(*devices: str, panel: Panel | None = None) -> ModelKernel:
    kernel = ModelKernel()
    kernel.add(*devices)
    if panel is not None:
        kernel.apply(plan_panel(panel, kernel.observed()).commands)
    return kernel


def test_a_first_cord_needs_both_qdiscs_and_both_ways() -> None:
    """Four lines and no more."""
    kernel = node("va", "vb")
    plan = plan_panel(Panel(cords=(Cord("va", "vb"),)), kernel.observed())
    assert [line.split()[0] for line in plan.patch] == ["qdisc", "filter", "qdisc", "filter"]
    assert plan.commands == plan.patch


def test_a_dead_redirect_is_replaced_in_place() -> None:
    """The neighbour was rebuilt: its own filter is new, ours is swapped, nothing is deleted."""
    panel = Panel(cords=(Cord("va", "vb"),))
    kernel = node("va", "vb", panel=panel)
    kernel.drop("vb")
    kernel.add("vb")
    plan = plan_panel(panel, kernel.observed())
    assert len(plan.patch) == 3
    assert plan.unpatch == ()
    assert plan.patch[-1].startswith("filter replace dev va"), "the way in comes last"


def test_a_missing_device_is_told_and_the_rest_is_done() -> None:
    """One instance that is not there yet must not hold up the other chains of the node."""
    kernel = node("va", "vb", "vc")
    plan = plan_panel(Panel(cords=(Cord("va", "vb"), Cord("vc", "vz"))), kernel.observed())
    assert plan.missing == ("vz",)
    assert sum("filter replace" in line for line in plan.patch) == 2
    assert not any("vz" in line for line in plan.commands)


def test_a_wire_with_another_number_is_made_anew_with_its_cords() -> None:
    """A VNI cannot change; what pointed to the old device is led to the new one."""
    kernel = node("va", panel=Panel(cords=(Cord("va", WIRE.device),), wires=(WIRE,)))
    other = replace(WIRE, vni=8)
    panel = Panel(cords=(Cord("va", WIRE.device),), wires=(other,))
    plan = plan_panel(panel, kernel.observed())
    assert plan.make_links[0] == f"link del dev {WIRE.device}"
    kernel.apply(plan.commands)
    assert kernel.rules["va"][0x800].target == WIRE.device
    assert plan_panel(panel, kernel.observed()).commands == ()


def test_a_wire_whose_making_broke_off_is_made_anew() -> None:
    """Without its alias nobody knows whose it is; the name is ours, so it is not trusted."""
    kernel = node()
    kernel.apply(plan_panel(Panel(wires=(WIRE,)), kernel.observed()).make_links[:1])
    plan = plan_panel(Panel(wires=(WIRE,)), kernel.observed())
    kernel.apply(plan.commands)
    assert kernel.links[WIRE.device].wire_id == "w-1"


def test_a_wire_changes_length_and_peer_in_place() -> None:
    """Neither costs the device, so neither costs a packet."""
    kernel = node(panel=Panel(wires=(WIRE,)))
    index = kernel.links[WIRE.device].index
    changed = replace(WIRE, mtu=1400, remote_ip="10.0.0.9")
    kernel.apply(plan_panel(Panel(wires=(changed,)), kernel.observed()).commands)
    link = kernel.links[WIRE.device]
    assert (link.index, link.mtu, link.tunnel["remote"]) == (index, 1400, "10.0.0.9")


def test_the_living_take_over_the_clients_of_a_lost_instance() -> None:
    """A split does not wait for the healer: buckets of a lost device go to the others, and come
    back with it."""
    split = Split("va", (("i-1", "v1"), ("i-2", "v2")), buckets=4)
    panel = Panel(splits=(split,))
    kernel = node("va", "v1", "v2", panel=panel)
    before = {n: r.target for n, r in kernel.rules["va"].items()}
    kernel.drop("v2")
    plan = plan_panel(panel, kernel.observed())
    kernel.apply(plan.commands)
    assert plan.missing == ("v2",)
    assert {r.target for r in kernel.rules["va"].values()} == {"v1"}
    kernel.add("v2")
    kernel.apply(plan_panel(panel, kernel.observed()).commands)
    assert {n: r.target for n, r in kernel.rules["va"].items()} == before


def test_a_gate_leaves_its_source_to_nft() -> None:
    """Only the way back is a filter; one that was at the source goes away."""
    kernel = node("va", "vb", panel=Panel(cords=(Cord("va", "vb"),)))
    plan = plan_panel(Panel(gates=(GateSpec("g-1", "va", "vb", 1),)), kernel.observed())
    kernel.apply(plan.commands)
    assert not kernel.rules["va"]
    assert kernel.rules["vb"][0x800].target == "va"
