"""A vendor who has never seen our code works beside it: his VNF carries a chain, his microcontroller watches it
(R10, R47). Plain etcd3 in processes and an environment of their own, each with its own certificate and role.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.integration.kv.server import serves
from tests.integration.vnf.secure_etcd import SecureEtcd
from tests.simulation.site.test_site import chain
from tests.simulation.site.world import HollowSite
from tests.support import eventually

from isthmus.chaos.vendor import SAMPLES, vendor_python
from isthmus.contract.families import APPLIED, DESIRED, LEASES, PLANS, SPECS, STATUS
from isthmus.contract.family import Tier
from isthmus.contract.roles import Role, role, vendor_role
from isthmus.kv.etcd import EtcdStore
from isthmus.kv.grants import Access, Grant

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(700)]  # the environment is built once
REACTS_WITHIN_S = 5.0
ALERT = "/isthmus/v1/x/vendor-x/alerts/acme/web"


async def admit(etcd: SecureEtcd, rights: Role) -> None:
    """A user with exactly these rights."""
    grants = [Grant.of(grant.target, Access[grant.access.name]) for grant in rights.grants]
    await etcd.admin.ensure_role(rights.name, grants)
    await etcd.admin.ensure_user(rights.name, ["root" if rights.root else rights.name])


@dataclass
class MixedSite(HollowSite):
    """Our controllers, each with its own certificate and role on a real etcd; no VNF of ours."""

    etcd: SecureEtcd = field(kw_only=True)
    stores: list[EtcdStore] = field(default_factory=list)

    async def begin(self) -> None:
        for controller in self.controllers():
            await admit(self.etcd, role(Tier.SITE, controller.component))
            self.stores.append(self.etcd.store_of(controller.component))
            self.start_one(controller, self.stores[-1])

    async def end(self) -> None:
        for runner in self.runners.values():
            runner.stop()
        await asyncio.wait(self.tasks.values(), timeout=10)
        for name in list(self.tasks):
            await self.kill(name)
        for store in self.stores:
            await store.aclose()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[MixedSite]:
    etcd = await SecureEtcd(tmp_path / "etcd").start()
    running = MixedSite(etcd.root, hosts=("h1", "h2"), etcd=etcd)  # type: ignore[arg-type]
    try:
        await running.begin()
        yield running
    finally:
        await running.end()
        await etcd.stop()


@pytest.fixture(scope="session")
def python() -> Path:
    return vendor_python()


@asynccontextmanager
async def vendor_process(python: Path, script: str, site: MixedSite, folder: Path) -> AsyncIterator[None]:  # fmt: skip
    """One of the samples; its output is shown when a test fails."""
    with (folder / "output").open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            str(python),
            *("-s", str(SAMPLES / script), site.etcd.server.endpoint, str(folder)),
            env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield
        assert process.returncode is None, (folder / "output").read_text()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def folder_of(site: MixedSite, component: str, into: Path) -> Path:
    """Certificate, key and authority, as the vendor is handed them."""
    site.etcd.authority.leaf(component, into)
    (into / "ca.pem").write_bytes(site.etcd.authority.ca_file.read_bytes())
    return into


async def admit_vendor(site: MixedSite, tmp_path: Path) -> Path:
    await admit(site.etcd, vendor_role(Tier.SITE, "vendor-x", reads=[STATUS.prefix()]))
    return folder_of(site, "vendor-x", tmp_path / "vendor-x")


async def alert(site: MixedSite) -> str:
    entry = await site.etcd.root.get(ALERT)
    return "" if entry is None else str(json.loads(entry.value)["body"]["phase"])


async def ordered(site: MixedSite) -> str:
    """The instance that the placer has ordered."""

    async def found() -> str:
        entries = (await site.etcd.root.snapshot(DESIRED.prefix())).entries
        return str((DESIRED.parse(entries[0].key) or {})["instance"]) if entries else ""

    return await eventually(found, "an instance is ordered")


async def test_a_chain_runs_on_a_foreign_function_and_a_foreign_controller_sees_it(
    site: MixedSite, python: Path, tmp_path: Path
) -> None:
    """Why: R10, R47. The store and the contract are all there is between us; the chain is patched on his word, his
    alert follows our report, and both outlive a store that is killed and comes back."""
    functions = [{"name": "fw", "type": "firewall", "config": {"default_policy": "accept"}}]
    vendor = await admit_vendor(site, tmp_path)
    async with vendor_process(python, "microcontroller.py", site, vendor):
        await site.apply(chain(functions=functions))
        instance = await ordered(site)
        await site.etcd.admit(instance)

        async def alerted() -> bool:
            return await alert(site) not in ("", "running")

        await eventually(alerted, "an alert: nothing applies the configuration", timeout_s=30)
        place = site.etcd.make_folder(tmp_path, instance, form="process")
        async with vendor_process(python, "vnf.py", site, place):
            await site.until("acme", "web", "running")
            assert len(site.panels["h1"].panel.cords) == 2, "connected on the foreign word"
            state = await site.etcd.state(instance)
            assert state is not None
            assert state.healthy
            assert state.detail == "vendor-x"

            async def calm() -> bool:
                return await alert(site) == ""

            await eventually(calm, "the alert is lifted in time", timeout_s=REACTS_WITHIN_S)
            await a_new_configuration_is_followed(site, instance, "drop")
            site.etcd.server.kill()
            await site.etcd.server.start()
            await serves(site.etcd.root)
            await a_new_configuration_is_followed(site, instance, "accept")


async def a_new_configuration_is_followed(site: MixedSite, instance: str, policy: str) -> None:
    """The configurator's next word reaches him, and his answer names its revision."""
    before = await site.etcd.applied(instance)
    assert before is not None
    changed = [{"name": "fw", "type": "firewall", "config": {"default_policy": policy}}]
    await site.apply(chain(functions=changed))

    async def newer() -> bool:
        now = await site.etcd.applied(instance)
        return now is not None and now.config_revision > before.config_revision and not now.error

    await eventually(newer, f"the configuration {policy!r} is in force", timeout_s=30)


TRESPASS = """
import json, sys
sys.path.insert(0, sys.argv[3])
from common import ROOT, connect
client = connect(*sys.argv[1:3])
client.put(ROOT + "x/vendor-x/own", "mine")
change = client.transactions
tries = {
    "put": lambda key: client.put(key, "x"),
    "get": lambda key: client.get(key),
    "delete": lambda key: client.delete(key),
    "prefix": lambda key: list(client.get_prefix(key)),
    "txn": lambda key: client.transaction(
        compare=[], success=[change.txn([], [change.put(key, "x")], [])], failure=[]),
}
for line in json.load(sys.stdin):
    try:
        tries[line[0]](line[1])
        print(json.dumps([*line, "done"]))
    except Exception as error:
        print(json.dumps([*line, f"{type(error).__name__} {error}"]))
"""


async def test_outside_his_role_the_vendor_is_refused(
    site: MixedSite, python: Path, tmp_path: Path
) -> None:
    """Why: R13 for strangers: what his agreement does not name is closed to him, by etcd, whatever his client does;
    a neighbour whose name begins like his, too (attack 7), and a transaction in a transaction (attack 8)."""
    vendor = await admit_vendor(site, tmp_path)
    theirs = LEASES.key(component="somebody")
    await site.etcd.root.put(theirs, b"{}")
    await site.etcd.root.put("/isthmus/v1/x/vendor-xx/secret", b"{}")
    tries = [
        ("put", PLANS.key(tenant="acme", chain="web")),
        ("put", theirs),
        ("get", theirs),
        ("delete", theirs),
        ("prefix", SPECS.prefix()),
        ("prefix", "/isthmus/v1/"),
        ("get", "/isthmus/v1/x/vendor-xx/secret"),
        ("put", STATUS.key(tenant="acme", chain="web")),
        ("put", APPLIED.key(instance="i-0123456789ab")),
        ("txn", theirs),
    ]
    process = await asyncio.create_subprocess_exec(
        str(python),
        *("-c", TRESPASS, site.etcd.server.endpoint, str(vendor), str(SAMPLES)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
    )
    output, _ = await asyncio.wait_for(process.communicate(json.dumps(tries).encode()), 60)
    answers = [json.loads(line) for line in output.decode().splitlines()]
    assert [tuple(answer[:2]) for answer in answers] == tries
    for call, key, answer in answers:
        assert "permission" in answer.lower(), f"{call} {key}: {answer}"
    own = await site.etcd.root.get("/isthmus/v1/x/vendor-x/own")
    assert own is not None
    kept = await site.etcd.root.get(theirs)
    assert kept is not None
    assert kept.value == b"{}"


def test_the_samples_know_nothing_of_ours() -> None:
    """Why: a sample that imports our code proves nothing about strangers."""
    for sample in SAMPLES.glob("*.py"):
        lines = sample.read_text().splitlines()
        imports = [line for line in lines if line.strip().startswith(("import ", "from "))]
        assert imports
        assert not any("isthmus" in line for line in imports), sample.name
