"""Who may do what in a site's store, asked of the real store with the real certificates (R13, attacks 7 and 8)."""

from __future__ import annotations

import json

import pytest
from tests.packets.site.kit import ROOT_KEY, SITE, Site, chain, firewall, limiter

from isthmus.contract.ids import instance_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

DENIED = "permission denied"

WRITERS = {
    "requests": {"api"},
    "confirmations": {"api", "janitor"},
    "heal-requests": {"healer"},
    "remote": {"federation"},
    "catalog": {"intake"},
    "specs": {"intake"},
    "config-owners": {"intake"},
    "plans": {"placer"},
    "desired": {"placer"},
    "inventory": {"watcher.h1"},
    "signing-requests": {"launcher.h1"},
    "certificates": set(),
    "runtime": {"launcher.h1"},
    "applied": set(),
    "state": set(),
    "vnf-stats": set(),
    "switch-stats": {"statistics.h1"},
    "cords": {"chaining.h1"},
    "endpoints": {"chaining.h1"},
    "status": {"reporter"},
    "site-summary": {"summarizer"},
    "peer-chains": {"summarizer"},
    "peer-wires": {"summarizer"},
    "health": {"monitor"},
    "config": set(),
    "leases": {"monitor"},
}
"""Written by hand and not taken from the contract: the table that an auditor would expect."""

ROOTS = {"credentials", "maintenance"}
"""May do all in etcd: one edits users, one keeps the store's space (compaction and defragmentation need root)."""


async def test_every_component_writes_its_own_families_and_no_other(site: Site) -> None:
    """Why: a stolen certificate of one component must not be worth more than that component."""
    spec = site.lab.spec.model_dump_json()
    text = await site.lab.run_python(SITE, "tests.packets.site.rights", str(site.lab.base), spec)
    rights = json.loads(text)
    assert len(rights) >= 17
    for family, writers in WRITERS.items():
        able = {name for name, may in rights.items() if may[family][0]} - ROOTS
        assert able == writers, f"{family} is written by {able}"
    readers = {name for name, may in rights.items() if may["signing-requests"][1]} - ROOTS
    assert readers == {"launcher.h1"}
    assert not {name for name in rights if name.endswith(".h2") and rights[name]["desired"][1]}
    assert not rights["placer"]["config"][1], "the placer sees no configuration"


@pytest.mark.parametrize(
    ("component", "key"),
    [
        ("placer", "runtime/h1/i-0123456789ab"),
        ("placer", "config/configurator/i-0123456789ab"),
        ("launcher.h1", "runtime/h2/i-0123456789ab"),
        ("launcher.h1", "plans/acme/web"),
        ("chaining.h1", "cords/h2/acme/web"),
        ("watcher.h2", "inventory/h1"),
        ("configurator", "config/ems/i-0123456789ab"),
        ("reporter", "specs/acme/web"),
        ("federation", "requests/local/acme/web"),
        ("federation", "plans/acme/web"),
        ("api", "specs/acme/web"),
        ("healer", "leases/placer"),
        ("monitor", "../v1/plans/acme/web"),
    ],
)
async def test_a_write_beyond_its_families_is_refused(site: Site, component: str, key: str) -> None:
    """Why: the store itself refuses, with the tool anybody would use; our own code's good manners do not count."""
    code, text = await site.etcdctl(component, "put", ROOT_KEY + key, "x")
    assert code != 0
    assert DENIED in text


async def test_an_instance_sees_its_own_configuration_and_writes_its_own_keys(site: Site) -> None:
    """Why: a network function is foreign code; broken into, it must find nothing but itself (attack 8)."""
    spec = chain("rights", [firewall(), limiter()])
    await site.run_chain(spec)
    mine, other = (instance_id("acme", "rights", name) for name in ("fw", "lim"))
    folder = site.lab.base / SITE / "h1" / "instances" / mine
    for allowed in (
        ("get", f"{ROOT_KEY}config/configurator/{mine}"),
        ("get", f"{ROOT_KEY}instances/{mine}/applied"),
        ("put", f"{ROOT_KEY}instances/{mine}/x", "hello"),
        ("del", f"{ROOT_KEY}instances/{mine}/x"),
    ):
        code, text = await site.etcdctl("", *allowed, folder=folder)
        assert code == 0, (allowed, text)
    for refused in (
        ("get", f"{ROOT_KEY}config/configurator/{other}"),
        ("get", f"{ROOT_KEY}instances/{other}/applied"),
        ("put", f"{ROOT_KEY}instances/{other}/applied", "x"),
        ("put", f"{ROOT_KEY}config/configurator/{mine}", "x"),
        ("put", f"{ROOT_KEY}config-owner/{mine}", "x"),
        ("get", f"{ROOT_KEY}specs/acme/rights"),
        ("get", ROOT_KEY, "--prefix", "--keys-only"),
        ("user", "add", "mallory:x"),
        ("role", "grant-permission", f"instance.{mine}", "readwrite", "/"),
        ("auth", "disable"),
    ):
        code, text = await site.etcdctl("", *refused, folder=folder)
        assert code != 0, (refused, text)
        assert DENIED in text, (refused, text)


async def test_the_store_cannot_be_reached_from_anywhere_else(site: Site) -> None:
    """Why: a site's store is not a service; not for its hosts, customers, the wan, or a chain that passes by."""
    await site.run_chain(chain("reach", [firewall()]))
    here = await site.at(SITE).python(DIAL, "127.0.0.1", 2379)
    assert here == "connected", "the question is sound: inside the site the store answers"
    places = {
        f"{SITE}-h1": ("10.101.1.2", "10.100.1.1", "127.0.0.1"),
        f"{SITE}-h2": ("10.101.1.6", "10.100.1.1", "127.0.0.1"),
        "wan": ("10.100.1.1", "10.101.1.2", "127.0.0.1"),
        "c-a1": ("10.101.1.2", "10.100.1.1", "127.0.0.1", site.address("a2")),
        "c-b1": ("10.101.1.2", "127.0.0.1"),
    }
    code, _ = await site.at(f"{SITE}-h1").run("ping", "-c", "1", "-W", "2", "10.101.1.2")
    assert code == 0, "the host has a line to the site, and yet:"
    for place, addresses in places.items():
        for address in addresses:
            said = await site.at(place).python(DIAL, address, 2379)
            assert said != "connected", f"{place} reached the store at {address}"


async def test_without_a_certificate_the_store_says_nothing(site: Site) -> None:
    """Why: reaching the port is not enough; a stranger's handshake fails, and one of another trust domain, too."""
    stranger = site.folder / "stranger"
    stranger.mkdir(exist_ok=True)
    key, cert = stranger / "key.pem", stranger / "cert.pem"
    await site.at(SITE).run(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-subj", "/CN=admin", "-days", "1", "-keyout", str(key), "-out", str(cert),
    )  # fmt: skip
    if not cert.exists():
        raise AssertionError("openssl made no certificate")
    (stranger / "ca.pem").write_bytes((site.lab.trust.folder(SITE, "api") / "ca.pem").read_bytes())
    code, text = await site.etcdctl("", "get", "/", "--prefix", folder=stranger)
    assert code != 0
    assert ROOT_KEY not in text


DIAL = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=0.7).close()
    print("connected")
except OSError as error:
    print(type(error).__name__)
"""


async def test_an_answer_is_what_a_command_printed_not_what_it_complained_of(site: Site) -> None:
    """Why: etcdctl warns of an attempt that it repeats; read as a list of keys, the warning failed a whole run."""
    script = "echo key; echo warning >&2; exit"
    assert await site.at(SITE).run("sh", "-c", f"{script} 0") == (0, "key\n")
    code, text = await site.at(SITE).run("sh", "-c", f"{script} 7")
    assert (code, sorted(text.split())) == (7, ["key", "warning"]), "a failure tells why"
