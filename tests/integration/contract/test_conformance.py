"""``isthmus conformance`` on a real store: our own components conform, planted bad ones do not (R10, R46, R47)."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import random
import re
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from tests.integration.contract.conftest import Realm
from tests.support import eventually

from isthmus.contract.conformance import Report, check
from isthmus.contract.envelope import Body, Stamp, seal, utc_seconds
from isthmus.contract.families import (
    APPLIED,
    CATALOG,
    CONFIG,
    INVENTORY,
    LEASES,
    STATE,
    VNF_STATS,
)
from isthmus.contract.family import Tier
from isthmus.contract.instance import (
    Applied,
    CatalogEntry,
    InstanceConfig,
    InstanceState,
    InstanceStats,
)
from isthmus.contract.roles import Role, instance_role, role, vendor_role
from isthmus.contract.subject import Subject
from isthmus.deploy.binaries import find
from isthmus.deploy.command import run
from isthmus.infrastructure.hollow import HollowCompute
from isthmus.kv.grants import Access, Grant
from isthmus.microcontroller import Microcontroller, Runner
from isthmus.site.intake import Intake
from isthmus.site.watcher import HostFacts, Watcher
from isthmus.vnf.client import VnfClient
from isthmus.vnf.relay import Relay, RelayLimits, Upstream

pytestmark = pytest.mark.etcd
DOMAIN = "spiffe://carrier.example/site/a"


def broken(report: Report) -> set[str]:
    """The clauses that are not kept."""
    return {name for name, verdict in report.verdicts.items() if verdict.outcome == "failed"}


@contextlib.asynccontextmanager
async def at_work(realm: Realm, controller: Microcontroller) -> AsyncIterator[str]:
    """``controller`` runs with the rights of its component; yields its user."""
    user = await realm.admit_somebody(role(Tier.SITE, controller.component))
    async with realm.store(user) as store:
        runner = Runner(controller, store, f"{DOMAIN}/{controller.component}")
        task = asyncio.create_task(runner.run())
        try:
            yield user
        finally:
            runner.stop()
            await asyncio.wait_for(task, 10)


async def test_our_own_microcontrollers_conform(realm: Realm) -> None:
    """What we ask of vendors we keep ourselves, at work, over two looks."""
    catalog = (CatalogEntry(type="firewall", version="1"),)
    watcher = Watcher(HostFacts("h1", 4000, 8192, "10.0.0.1"), HollowCompute(), period_s=0.2)
    intake = Intake("a", (), catalog, lambda function: None)
    async with (
        realm.store("root") as root,
        at_work(realm, watcher) as watches,
        at_work(realm, intake) as takes,
    ):
        for key in (INVENTORY.key(host="h1"), CATALOG.key(type="firewall", version="1")):
            await eventually(functools.partial(root.get, key), f"{key} is written")
        for component, user in (("watcher.h1", watches), ("intake", takes)):
            subject = Subject.of_component(Tier.SITE, component)
            report = await check(subject, realm.settings(user), observe_s=0.5)
            assert report.conforms, report.as_text()
            assert report.values, component


async def test_a_vendor_that_keeps_the_page_conforms(realm: Realm) -> None:
    """Nothing of ours is needed to pass: one envelope of its own, written by hand."""
    user = await realm.admit_somebody(vendor_role(Tier.SITE, "fine"))
    value = {"schema": "Billing/3", "as_of": utc_seconds(), "ttl_s": 60, "body": {"cents": 7}}
    async with realm.store(user) as store:
        await store.put("/isthmus/v1/x/fine/bill", json.dumps(value).encode())
    report = await check(Subject.of_component(Tier.SITE, "fine"), realm.settings(user))
    assert report.conforms, report.as_text()
    assert report.values == 1


BAD: Mapping[str, tuple[str, bytes]] = {
    "no-grammar": ("K1", b'{"schema":"A/1","body":{}}'),
    "no-json": ("V1", b"\xff\xfe"),
    "no-envelope": ("V1", b'{"cents":7}'),
    "twins": ("V1", b'{"schema":"A/1","body":{},"body":{}}'),
    "nan": ("V1", b'{"schema":"A/1","as_of":NaN,"body":{}}'),
    "huge": ("V1", b'{"schema":"A/1","body":{"a":"' + b"x" * 70_000 + b'"}}'),
    "false-name": ("V3", b'{"schema":"A/1","origin":"placer","body":{}}'),
    "future": ("V4", b'{"schema":"A/1","as_of":9999999999,"body":{}}'),
    "ageless": ("V4", b'{"schema":"A/1","ttl_s":5,"body":{}}'),
    "no-version": ("V7", b'{"schema":"A","body":{}}'),
    "far-version": ("V7", b'{"schema":"ChainPlan/3","body":{}}'),
    "bad-pointer": (
        "V8",
        b'{"schema":"Pointer/1","body":{"sha256":"0","size_bytes":1,"url":"file:///etc/passwd"}}',
    ),
    "stale": ("T1", b'{"schema":"A/1","as_of":1000,"ttl_s":5,"body":{}}'),
    "misused": ("X1", b'{"schema":"ChainPlan/1","body":{"epoch":"no"}}'),
}


@pytest.mark.parametrize("name", sorted(BAD))
async def test_each_mistake_of_a_bad_vendor_is_filed_under_its_clause(
    realm: Realm, name: str
) -> None:
    """Planted: a clause that nothing can break is not tested."""
    clause, value = BAD[name]
    vendor = f"bad-{name}"
    user = await realm.admit_somebody(vendor_role(Tier.SITE, vendor))
    key = f"/isthmus/v1/x/{vendor}/" + ("Bad Key" if clause == "K1" else "value")
    async with realm.store(user) as store:
        await store.put(key, value)
    report = await check(Subject.of_component(Tier.SITE, vendor), realm.settings(user))
    assert broken(report) == {clause}, report.as_text()


async def test_mistakes_in_core_families_are_filed(realm: Realm) -> None:
    """A vendor's component that takes one of our names is judged by our families."""
    held = role(Tier.SITE, "healer")
    user = await realm.admit_somebody(held)
    async with realm.store(user) as store:
        await store.put("/isthmus/v1/requests/healer/a/b", b'{"schema":"A/1","body":{}}')
        await store.put("/isthmus/v1/requests/healer/i", b'{"schema":"HealRequest/1","body":{}}')
        await store.put(
            LEASES.key(component="healer"),
            b'{"schema":"Leadership/1","body":{"holder":"me"}}',
        )
        report = await check(Subject.of_component(Tier.SITE, "healer"), realm.settings(user))
        for key in ("requests/healer/a/b", "requests/healer/i", "leases/healer"):
            await store.delete(f"/isthmus/v1/{key}")
    assert broken(report) == {"K3", "V2", "L1"}, report.as_text()


async def test_a_value_that_goes_back_is_seen_over_two_looks(realm: Realm) -> None:
    """V5 needs a before and an after."""
    user = await realm.admit_somebody(vendor_role(Tier.SITE, "back"))
    key = "/isthmus/v1/x/back/value"
    stamp = Stamp(origin=f"{DOMAIN}/back", incarnation="1")
    now = utc_seconds()
    async with realm.store(user) as store:
        await store.put(key, seal(Body(), stamp, as_of=now))
        judging = asyncio.create_task(
            check(Subject.of_component(Tier.SITE, "back"), realm.settings(user), observe_s=1.5)
        )
        await asyncio.sleep(0)
        while not judging.done():  # each one older than the last
            now -= 1
            await store.put(key, seal(Body(), stamp, as_of=now))
            await asyncio.wait({judging}, timeout=0.05)
        report = await judging
    assert broken(report) == {"V5"}, report.as_text()


@pytest.mark.parametrize(
    ("target", "access", "clause"),
    [
        ("/isthmus/v1/plans/", Access.READ_WRITE, "A2"),
        ("/isthmus/v1/plans/", Access.READ, "A3"),
        ("/isthmus/v1/", Access.READ, "A4"),
    ],
)
async def test_a_store_that_gives_too_much_is_reported(
    realm: Realm, target: str, access: Access, clause: str
) -> None:
    """The page asks it of the store, too."""
    user = await realm.admit_somebody(vendor_role(Tier.SITE, "wide"), Grant.of(target, access))
    report = await check(Subject.of_component(Tier.SITE, "wide"), realm.settings(user))
    assert clause in broken(report), report.as_text()
    assert "A1" not in broken(report)


async def test_the_wrong_certificate_is_told_apart_from_a_bad_component(realm: Realm) -> None:
    """S1: nothing else can be said then, and the report says just that."""
    user = await realm.admit_somebody(vendor_role(Tier.SITE, "somebody"))
    report = await check(Subject.of_component(Tier.SITE, "placer"), realm.settings(user))
    assert broken(report) == {"S1"}
    stranger = await check(Subject.of_component(Tier.SITE, "placer"), realm.settings("nobody"))
    assert broken(stranger) == {"S1"}


async def configured(realm: Realm, instance: str) -> tuple[str, int]:
    """An instance with its user and one configuration; the revision of that."""
    user = await realm.admit_somebody(instance_role(instance))
    stamp = Stamp(origin=f"{DOMAIN}/configurator", incarnation="test")
    body = InstanceConfig(type="volume", parameters={"volume": 3})
    async with realm.store("root") as root:
        key = CONFIG.key(owner="configurator", instance=instance)
        return user, await root.put(key, seal(body, stamp, as_of=utc_seconds()))


async def test_a_function_on_our_kit_conforms(realm: Realm) -> None:
    """The client that we hand to authors keeps the page."""
    instance = "i-0000000000c1"
    user, _ = await configured(realm, instance)
    stamp = Stamp(origin=f"{DOMAIN}/instance.{instance}", incarnation="life")
    async with realm.store(user) as store:
        client = VnfClient(store, instance, stamp=stamp, clock=utc_seconds, chance=random.Random(1))
        async with contextlib.aclosing(client.configurations()) as configurations:
            found = await asyncio.wait_for(anext(configurations), 10)
        said = Applied(incarnation=1, config_generation=1, config_revision=found.revision)
        await client.publish_applied(said)
        await client.publish_state(InstanceState(healthy=True))
        await client.publish_stats(InstanceStats(source="vnf", incarnation=1))
    report = await check(Subject.of_instance(instance), realm.settings(user))
    assert report.conforms, report.as_text()
    assert report.values == 3


@pytest.mark.parametrize(
    ("said", "source", "ttl_s", "clauses"),
    [
        (None, "vnf", 30.0, {"N1"}),
        ({"config_revision": 1}, "vnf", 30.0, {"N1"}),
        ({"refused_revision": 0}, "vnf", 30.0, {"N1"}),
        ({"refused_revision": -1, "error": "x"}, "vnf", 30.0, {"N2"}),
        ({"owner": "ems-x"}, "vnf", 30.0, {"N3"}),
        ({}, "vswitch", 30.0, {"N4"}),
        ({}, "vnf", 0.0, {"N4"}),
        ({"incarnation": 2}, "vnf", 30.0, {"N4"}),
    ],
)
async def test_each_mistake_of_a_function_is_filed_under_its_clause(
    realm: Realm,
    said: dict[str, object] | None,
    source: str,
    ttl_s: float,
    clauses: set[str],
) -> None:
    """Planted: silence, an old answer, a refusal without a word, both at once, a false owner, foreign figures."""
    instance = "i-0000000000c2"
    user, revision = await configured(realm, instance)
    stamp = Stamp(origin=f"instance.{instance}", incarnation="life")
    now = utc_seconds()
    fields: dict[str, object] = {"incarnation": 1, "config_revision": revision} | (said or {})
    if fields.get("refused_revision") == -1:
        fields["refused_revision"] = revision
    if fields.get("refused_revision") == 0:
        fields |= {"refused_revision": revision, "config_revision": 0}
    stats = InstanceStats.model_validate({"source": source, "incarnation": 1})
    async with realm.store(user) as store:
        await store.delete(APPLIED.key(instance=instance))
        if said is not None:
            applied = seal(Applied.model_validate(fields), stamp, as_of=now)
            await store.put(APPLIED.key(instance=instance), applied)
        state = seal(InstanceState(healthy=True), stamp, as_of=now, ttl_s=90)
        await store.put(STATE.key(instance=instance), state)
        value = seal(stats, stamp, as_of=now, ttl_s=ttl_s)
        await store.put(VNF_STATS.key(instance=instance), value)
    report = await check(Subject.of_instance(instance), realm.settings(user), timeout_s=0.5)
    assert broken(report) == clauses, report.as_text()


async def command(realm: Realm, user: str, *arguments: str) -> tuple[int, str]:
    """``isthmus conformance`` with the certificate of ``user``: exit code and output."""
    held = realm.settings(user)
    files = ("--cert", str(held.cert_file), "--key", str(held.key_file), "--ca", str(held.ca_file))
    argv = [sys.executable, "-m", "isthmus.cli", "conformance", *arguments]
    done = await run(
        [*argv, "--endpoint", realm.server.endpoint, "--server-name", "localhost", *files],
        timeout_s=60,
        env=dict(os.environ),
        check=False,
    )
    return done.code, done.output


async def test_the_command_says_it_with_its_exit_code_too(realm: Realm) -> None:
    """A vendor's CI decides by the code, a person by the text."""
    good: Role = vendor_role(Tier.SITE, "vendor-x")
    user = await realm.admit_somebody(good)
    code, text = await command(realm, user, "--component", "vendor-x")
    assert code == 0, text
    assert "vendor-x: conforms; 0 values judged" in text
    async with realm.store(user) as store:
        await store.put("/isthmus/v1/x/vendor-x/a", b"\x1b[2J not an envelope")
    code, text = await command(realm, user, "--component", "vendor-x", "--json")
    assert code == 1, text
    document = json.loads(text)
    failed = [one for one in document["clauses"] if one["outcome"] == "failed"]
    assert [one["clause"] for one in failed] == ["V1"]
    assert document["conforms"] is False
    code, text = await command(realm, user, "--component", "a", "--instance", "b")
    assert (code, "give either" in text) == (2, True)


PAGE = Path(__file__).parents[3] / "docs" / "vnf-authors.md"


async def test_a_foreign_function_behind_its_socket_conforms(realm: Realm) -> None:
    """The sample of the authors' page (nothing but etcdctl), judged by the command through the very same socket."""
    found = re.search(
        r"<!-- test: process function -->\n```python\n(.*?)```", PAGE.read_text(), re.DOTALL
    )
    assert found
    instance = "i-0000000000c3"
    user, _ = await configured(realm, instance)
    held = realm.settings(user)
    assert held.cert_file is not None
    assert held.key_file is not None
    upstream = Upstream("127.0.0.1", realm.server.port, "localhost", realm.authority.file)
    with tempfile.TemporaryDirectory(prefix="cf") as folder:
        socket = Path(folder) / "kv.sock"
        relay = Relay(socket, upstream, held.cert_file, held.key_file, RelayLimits())
        await relay.start()
        etcdctl = (await find("etcdctl")).path
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-I", "-c", found.group(1), folder, instance, "1"),
            env={"PATH": f"{etcdctl.parent}:{os.environ['PATH']}"},
            stdout=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            argv = [sys.executable, "-m", "isthmus.cli", "conformance", "--instance", instance]
            done = await run(
                [*argv, "--endpoint", f"unix:{socket}", "--timeout", "20"],
                timeout_s=60,
                env=dict(os.environ),
                check=False,
            )
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            await relay.aclose()
        assert done.code == 0, done.output
        assert f"instance.{instance}: conforms; 3 values judged" in done.output
