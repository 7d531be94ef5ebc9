"""A site that cannot carry packets says so, instead of showing green (pain 6): a hollow one, and one without rights."""

from __future__ import annotations

import json
import sys

import pytest
from tests.packets.site.kit import SITE, Site, chain, firewall
from tests.support import eventually

from isthmus.deploy.process_spec import ProcessSpec

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def restart_controllers(site: Site, *prefix: str, **settings: str) -> None:
    """The microcontrollers with other settings, or behind another command."""
    await site.lab.supervisor.stop(f"{SITE}.controllers")
    file = site.lab.base / SITE / "other.json"
    file.write_text(json.dumps({**site.settings(), **settings}))
    site.lab.supervisor.start(
        ProcessSpec(
            name=f"{SITE}.controllers",
            argv=(
                *prefix, sys.executable, "-m", "isthmus.site.main", "--settings", str(file), "--all",
            ),
            netns=SITE,
            log_file=site.lab.files.log(SITE, "controllers"),
        )
    )  # fmt: skip
    await site.ready()


async def test_a_hollow_site_labels_its_chains(site: Site) -> None:
    """Why: a hollow plug-in answers like a real one; a person must see that no packet will ever pass."""
    await restart_controllers(site, plugin="hollow")
    await site.api.apply(chain("hollow", [firewall()]))

    async def labelled() -> bool:
        return "no packets are carried" in (await site.api.row("acme", "hollow"))["reason"]

    await eventually(labelled, "the status says that the site is hollow")
    assert (await site.api.row("acme", "hollow"))["phase"] != "running"
    assert not await site.keys("cords/h1/acme/hollow/")
    _, text = await site.at(SITE).run("ip", "netns", "list")
    assert "isthmus" not in text


async def test_a_site_without_the_right_refuses_with_the_reason(site: Site) -> None:
    """Why: "pending" for ever, because the kernel said no on a machine far away, costs people their night."""
    bounded = ("setpriv", "--bounding-set", "-sys_admin,-net_admin", "--inh-caps", "-all")
    await restart_controllers(site, *bounded)

    async def known() -> bool:
        return b'"none"' in await site.value("/isthmus/v1/inventory/h1")

    await eventually(known, "the watcher has found out")
    await site.api.apply(chain("powerless", [firewall()], ends="a1 a2"))
    row = await site.api.until("acme", "powerless", "refused")
    assert "no data plane" in row["reason"]
    assert "namespace" in row["reason"] or "permitted" in row["reason"]
