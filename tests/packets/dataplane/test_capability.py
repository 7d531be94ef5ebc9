"""What a machine can do is found by trying, and told; it also works without root."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
from tests.packets.dataplane.kit import Ground, OneNode, settings

from isthmus.infrastructure import (
    AttachmentSpec,
    BuildFailed,
    DeliverySpec,
    InstanceSpec,
    Refused,
    UnknownAttachment,
    UnknownNode,
)
from isthmus.infrastructure.linux import (
    AttachmentPlace,
    LinuxCompute,
    LinuxFabric,
    LinuxSettings,
    probe_kernel,
)
from isthmus.vswitch import NETNS_DIR, Node

pytestmark = pytest.mark.world

ROOTLESS = """
import asyncio, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from isthmus.infrastructure.linux import probe_kernel
from tests.packets.dataplane.kit import SERVER, Ground, OneNode
async def main():
    capability = await probe_kernel()
    one = await OneNode.make(Ground(Path("/tmp")))
    await one.panel.reconcile(await one.chain("i-1", "i-2"))
    answer = await one.ground.ping("cli", SERVER)
    print("plane", capability.dataplane, "fence", capability.fence, "ping", answer.code)
asyncio.run(main())
"""


async def test_a_probe_says_what_works_and_leaves_nothing() -> None:
    """The capability is tried, not guessed, and the trial vanishes with its shell."""
    names = sorted(os.listdir(NETNS_DIR))
    links = await Node().run("ip", "-j", "link", "show")
    capability = await probe_kernel()
    assert (capability.dataplane, capability.fence) == ("kernel", "kernel")
    assert capability.reasons == ()
    assert sorted(os.listdir(NETNS_DIR)) == names
    assert await Node().run("ip", "-j", "link", "show") == links


async def test_without_rights_the_probe_gives_the_reason(tmp_path: Path) -> None:
    """A chain that asks for packets is refused with this sentence, so it must be a plain one."""
    script = (
        "import asyncio; from isthmus.infrastructure.linux import probe_kernel\n"
        "c = asyncio.run(probe_kernel()); print(c.dataplane, '|', *c.reasons)"
    )
    run = await Ground(tmp_path).run_here(
        *("setpriv", "--bounding-set", "-all", "--inh-caps", "-all", "--ambient-caps", "-all"),
        *("--no-new-privs", sys.executable, "-c", script),
    )
    assert run.output.startswith("none | "), run.output
    assert "not permitted" in run.output
    assert "Traceback" not in run.output


async def test_the_same_code_works_without_root(tmp_path: Path) -> None:
    """A laptop user has no root: in a user namespace, whose root has no right outside of it, the
    same recipe builds the same chain, and the capability says by which right."""
    root = str(Path(__file__).parents[3])
    inner = "mount -t tmpfs tmpfs /run; mount -t sysfs sysfs /sys; mkdir /run/netns; "
    run = await Ground(tmp_path).run_here(
        *("unshare", "--user", "--map-root-user", "--mount", "--net", "--pid", "--fork"),
        *("--mount-proc", "--kill-child", "sh", "-c", inner + 'ip link set lo up; exec "$@"', "sh"),
        *(sys.executable, "-c", ROOTLESS.format(root=root)),
    )
    assert "plane kernel-userns fence kernel ping 0" in run.output, run.output


async def test_unknown_names_are_refused_by_name(one: OneNode) -> None:
    """One clear sentence that names the value and what would have been right."""
    with pytest.raises(UnknownNode, match="'h9' is unknown here; known: h1"):
        await one.compute.ensure_instance(InstanceSpec("i-1", 1, "h9"))
    with pytest.raises(UnknownAttachment, match="'nowhere' is unknown here; known: cli, srv"):
        await one.fabric.ensure_attachment(AttachmentSpec("nowhere", "h1"))
    with pytest.raises(Refused, match="'out' is missing to make a pair"):
        await one.compute.ensure_instance(InstanceSpec("i-1", 1, "h1", legs=("in",)))
    with pytest.raises(Refused, match="form 'process' is not set up here"):
        await one.compute.ensure_instance(InstanceSpec("i-1", 1, "h1", form="process"))


async def test_missing_places_are_failures_to_retry(ground: Ground) -> None:
    """A node or a customer that is not there yet may come: the error says so and is retryable."""
    await ground.netns("cli")
    chosen = settings({"h1": "h1"})
    with pytest.raises(BuildFailed, match="'h1' has no network namespace") as caught:
        await LinuxCompute(chosen).ensure_instance(InstanceSpec("i-1", 1, "h1"))
    assert caught.value.retryable
    await ground.netns("h1")
    with pytest.raises(BuildFailed, match="'srv' has no network namespace"):
        await LinuxFabric(chosen).ensure_attachment(AttachmentSpec("srv", "h1"))


async def test_a_broken_build_is_finished_by_the_next(ground: Ground, one: OneNode) -> None:
    """A crash between two steps leaves half a sandbox: it is listed as lost and the next order
    finishes it instead of stumbling over it."""
    name = "isthmus@s1@h1@i-1@1"
    await Node().ip([f"netns add {name}"])
    assert [s.phase for s in await one.compute.list_instances()] == ["lost"]
    await one.instance("i-1")
    assert [s.phase for s in await one.compute.list_instances()] == ["running"]


async def test_delivery_is_where_the_line_ends(one: OneNode) -> None:
    """On one machine a line ends on its node: delivery is checked, finer steering refused."""
    await one.fabric.ensure_delivery(DeliverySpec("cli", "h1"))
    with pytest.raises(Refused, match="steering by destination"):
        await one.fabric.ensure_delivery(DeliverySpec("cli", "h1", prefixes=("10.2.0.0/16",)))
    await one.fabric.remove_attachment("cli")
    await one.fabric.remove_attachment("cli")
    with pytest.raises(BuildFailed, match="is not on node 'h1'"):
        await one.fabric.ensure_delivery(DeliverySpec("cli", "h1"))


async def test_a_line_moves_between_nodes_unless_it_is_fixed(ground: Ground) -> None:
    """Placing a chain anew may use another host: the line is pulled out here and plugged in
    there; one that the operator fixed to a node says so."""
    await ground.netns("h1", "h2", "cli")
    places = {"cli": AttachmentPlace("cli", "10.1.0.2/32")}
    fabric = LinuxFabric(LinuxSettings("s1", {"h1": "h1", "h2": "h2"}, places))
    await fabric.ensure_attachment(AttachmentSpec("cli", "h1"))
    await fabric.ensure_attachment(AttachmentSpec("cli", "h2"))
    assert [(s.attachment_id, s.node) for s in await fabric.list_attachments()] == [("cli", "h2")]
    places = {"cli": AttachmentPlace("cli", "10.1.0.2/32", node="h1")}
    fixed = LinuxFabric(LinuxSettings("s1", {"h1": "h1", "h2": "h2"}, places))
    with pytest.raises(Refused, match="fixed to node 'h1', not 'h2'"):
        await fixed.ensure_attachment(AttachmentSpec("cli", "h2"))


async def test_a_pulled_line_is_heard_of(ground: Ground, one: OneNode) -> None:
    """The loss of a customer's line is an event, and plugging in again brings the customer back."""
    watch = one.fabric.watch()
    await anext(watch)
    heard = asyncio.ensure_future(anext(watch))
    await Node("cli").ip(["link del dev eth0"])
    async with asyncio.timeout(10):
        assert (await heard).subject == "cli"
    await watch.aclose()
    assert [s.attachment_id for s in await one.fabric.list_attachments()] == ["srv"]
    assert await one.reattach("cli") == one.ends["cli"]


async def test_many_at_once_are_built_side_by_side(one: OneNode) -> None:
    """A site that starts asks for everything at once; nothing collides and nothing is missed."""
    await asyncio.gather(*(one.instance(f"i-{n}") for n in range(24)))
    states = await one.compute.list_instances()
    assert [s.phase for s in states] == ["running"] * 24
    assert len({device for s in states for device in s.legs.values()}) == 48
    await asyncio.gather(*(one.compute.remove_instance(f"i-{n}") for n in range(24)))
    assert await one.compute.list_instances() == ()
