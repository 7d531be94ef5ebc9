"""The table's rights on a real etcd, for every component of both tiers, by certificate (R13, attacks 7 and 8).

What each may do is worked out here a second time, straight from the table's words, so that a mistake in the compiler
of roles is not its own judge.
"""

from __future__ import annotations

import pytest
from tests.integration.contract.conftest import Realm, grants_of

from isthmus.contract.families import (
    APPLIED,
    CONFIG,
    FAMILIES,
    GLOBAL_COMPONENTS,
    HOST_COMPONENTS,
    SITE_COMPONENTS,
)
from isthmus.contract.family import Family, Tier
from isthmus.contract.probes import Prober
from isthmus.contract.roles import ROOT_COMPONENTS, instance_role, role, vendor_role
from isthmus.contract.subject import Kind, Subject
from isthmus.kv.errors import PermissionDenied
from isthmus.kv.etcd import EtcdStore
from isthmus.kv.grants import Access, Grant

pytestmark = pytest.mark.etcd

COMPONENTS = [
    *((Tier.SITE, name) for name in SITE_COMPONENTS),
    *((Tier.SITE, f"{name}.h1") for name in HOST_COMPONENTS),
    (Tier.SITE, "ems-acme"),
    *((Tier.GLOBAL, name) for name in GLOBAL_COMPONENTS),
    (Tier.GLOBAL, "region.r1"),
]
GUARDED = [(tier, name) for tier, name in COMPONENTS if name not in ROOT_COMPONENTS]


def named(template: str, component: str) -> dict[str, str] | None:
    """The variables with which ``template`` is ``component``, by splitting; None when it is not."""
    if template == "{component}":
        return {"component": component}
    if template == "{owner}":
        fits = component == "configurator" or component.startswith("ems-")
        return {"owner": component} if fits else None
    head, dot, variable = template.partition(".")
    own, own_dot, value = component.partition(".")
    if (head, dot) != (own, own_dot):
        return None
    return {variable.strip("{}"): value} if dot else {}


def key_for(family: Family, bound: dict[str, str]) -> str:
    """A key of ``family`` that carries ``bound``."""
    values = dict.fromkeys(family.variables, "v") | bound
    return family.key(**{name: values[name] for name in family.variables}) + (
        "some/key" if family.tail else ""
    )


def head(family: Family) -> str:
    """The words a pattern begins with."""
    return family.pattern.partition("{")[0]


def readable_heads(tier: Tier, component: str) -> set[str]:
    """What is read of any instance, host or peer is granted from the pattern's head on: the three keys of a VNF have
    the same head, so who reads one of them may read all three (and write none)."""
    return {
        head(family)
        for family in FAMILIES[tier]
        for reader in family.readers
        if set(named(reader, component) or {}) <= {"any"} and named(reader, component) is not None
    }


async def allowed(store: EtcdStore, key: str, *, write: bool) -> bool:
    """Does the store let it?"""
    try:
        await (store.put(key, b"x") if write else store.get(key))
    except PermissionDenied:
        return False
    return True


@pytest.mark.parametrize(("tier", "component"), GUARDED)
async def test_a_component_may_do_what_the_table_says_and_nothing_else(
    realm: Realm, tier: Tier, component: str
) -> None:
    """G8: one writer per family is a fact of the store, not a convention."""
    held = role(tier, component)
    user = await realm.admit(f"{tier.value}-{component}", grants_of(held))
    async with realm.store(user) as store:
        for family in FAMILIES[tier]:
            writer = named(family.writer, component)
            keeps = component == "janitor" and family.retention == "janitor"
            readers = [named(reader, component) for reader in family.readers]
            own = key_for(family, writer or {})
            assert await allowed(store, own, write=True) == (writer is not None or keeps), own
            if writer and not keeps:  # the same family, somebody else's part
                other = key_for(family, dict.fromkeys(writer, "another"))
                assert not await allowed(store, other, write=True), other
            may_read = writer is not None or keeps or any(found is not None for found in readers)
            may_read = may_read or head(family) in readable_heads(tier, component)
            binding = writer or next((found for found in readers if found), {})
            read_key = key_for(family, {k: v for k, v in binding.items() if k != "any"})
            assert await allowed(store, read_key, write=False) == may_read, read_key
        for key in ("/isthmus/v1/x/acme/k", "/isthmus/v1/k", "/isthmus/v2/k", "/k"):
            assert not await allowed(store, key, write=True), key
            assert not await allowed(store, key, write=False), key


@pytest.mark.parametrize(("tier", "component"), GUARDED)
async def test_no_component_gets_around_its_ranges(
    realm: Realm, tier: Tier, component: str
) -> None:
    """Attacks 7 and 8: the neighbour of a prefix, a wide range, a stretched watch, a nested transaction."""
    held = role(tier, component)
    user = await realm.admit(f"{tier.value}-{component}", grants_of(held))
    subject = Subject(Kind.COMPONENT, tier, component, held)
    assert subject.neighbours()
    async with realm.store(user) as store:
        prober = Prober(subject, store, realm.settings(user), timeout_s=5)
        assert await prober.own_access() == []
        assert await prober.foreign_writes() == []
        assert await prober.wide_ranges() == []
        assert await prober.stretched_watch() == []
        assert await prober.nested_transaction() == []


async def test_an_instance_has_its_own_keys_and_its_configuration(realm: Realm) -> None:
    """R24, R25: what a VNF may touch of a site is three keys to write and three to read."""
    mine, other = "i-00000000000a", "i-00000000000b"
    user = await realm.admit_somebody(instance_role(mine))
    async with realm.store(user) as store:
        assert await allowed(store, APPLIED.key(instance=mine), write=True)
        assert not await allowed(store, APPLIED.key(instance=other), write=True)
        assert not await allowed(store, APPLIED.key(instance=other), write=False)
        config = CONFIG.key(owner="configurator", instance=mine)
        assert await allowed(store, config, write=False)
        assert not await allowed(store, config, write=True)
        for family in FAMILIES[Tier.SITE]:
            foreign = key_for(family, {})
            assert not await allowed(store, foreign, write=True), foreign
            assert not await allowed(store, foreign, write=False), foreign


async def test_a_vendor_has_its_own_space_and_what_was_agreed_upon(realm: Realm) -> None:
    """R10: two vendors at once, neither sees the other."""
    agreed = "/isthmus/v1/status/"
    user = await realm.admit_somebody(vendor_role(Tier.SITE, "acme", reads=[agreed]))
    async with realm.store(user) as store:
        assert await allowed(store, "/isthmus/v1/x/acme/a/b", write=True)
        assert not await allowed(store, "/isthmus/v1/x/acme0/a", write=True)
        assert not await allowed(store, "/isthmus/v1/x/other/a", write=False)
        assert await allowed(store, agreed + "t/c", write=False)
        assert not await allowed(store, agreed + "t/c", write=True)


@pytest.mark.parametrize(
    ("target", "access", "probe", "says"),
    [
        ("/isthmus/v1/x/", Access.READ_WRITE, "foreign_writes", "x/another-vendor"),
        ("/isthmus/v1/plans/", Access.WRITE, "foreign_writes", "plans/"),
        ("/isthmus/v1/plans/", Access.READ, "foreign_reads", "plans/"),
        ("/isthmus/v1/", Access.READ, "wide_ranges", "whole range /isthmus/v1/"),
        ("/isthmus/v1/", Access.READ, "nested_transaction", "nested"),
        ("/isthmus/v1/x/acme0/", Access.READ, "wide_ranges", "neighbour"),
    ],
)
async def test_a_role_that_is_too_wide_is_noticed(
    realm: Realm, target: str, access: Access, probe: str, says: str
) -> None:
    """Planted: each probe must be able to fail, and none may write while it does."""
    held = vendor_role(Tier.SITE, "acme")
    user = await realm.admit_somebody(held, Grant.of(target, access))
    subject = Subject(Kind.VENDOR, Tier.SITE, "acme", held)
    async with realm.store("root") as root, realm.store(user) as store:
        before = (await root.status()).revision
        prober = Prober(subject, store, realm.settings(user), timeout_s=5)
        findings = await getattr(prober, probe)()
        assert any(says in finding for finding in findings), findings
        assert (await root.status()).revision == before


async def test_every_probe_notices_a_server_that_refuses_nothing(realm: Realm) -> None:
    """Planted: with etcd's root role even the stretched watch and the nested transaction go through, so each of the
    raw requests is well formed, and only rights stop it."""
    held = vendor_role(Tier.SITE, "mighty")
    user = await realm.admit("mighty", grants_of(held), root=True)
    subject = Subject(Kind.VENDOR, Tier.SITE, "mighty", held)
    async with realm.store(user) as store:
        prober = Prober(subject, store, realm.settings(user), timeout_s=5)
        assert await prober.own_access() == []
        for probe in (
            prober.foreign_writes,
            prober.foreign_reads,
            prober.wide_ranges,
            prober.stretched_watch,
            prober.nested_transaction,
        ):
            assert await probe(), probe.__name__
