"""Credentials: what is heard of out of order costs no instance its words or its user (G3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from isthmus.chaos.simulation.hollow_site import HollowSigner, HollowUsers
from isthmus.contract import Body, Stamp, seal
from isthmus.contract.chain import FunctionSpec
from isthmus.contract.families import APPLIED, CERTIFICATES, DESIRED, SIGNING_REQUESTS
from isthmus.contract.instance import Applied, InstanceDesired, SigningRequest
from isthmus.kv.memory import MemoryStore
from isthmus.kv.port import Entry
from isthmus.microcontroller import Context, Later, State, Surroundings, Writer
from isthmus.site.credentials import Credentials

STAMP = Stamp(origin="test/credentials", incarnation="first")
WHO = {"host": "h1", "instance": "i-1"}
ORDER = InstanceDesired(
    instance="i-1", incarnation=1, tenant="acme", chain="web",
    function=FunctionSpec(name="fw", type="firewall"),
)  # fmt: skip


@dataclass
class Shown:
    """A mirror that shows what a test lets it."""

    entries: Mapping[str, Entry] = field(default_factory=dict)
    revision: int = 0


async def put(store: MemoryStore, key: str, body: Body) -> None:
    """As its owner does."""
    await store.put(key, seal(body, STAMP, as_of=0.0))


async def store_and_context(*, order_heard: bool) -> tuple[MemoryStore, Context]:
    """An ordered instance that asks for a certificate and has spoken; was its order heard of here?"""
    store = MemoryStore()
    await put(store, DESIRED.key(**WHO), ORDER)
    await put(store, SIGNING_REQUESTS.key(**WHO), SigningRequest(instance="i-1", csr_pem="csr"))
    await put(store, APPLIED.key(instance="i-1"), Applied(incarnation=1))
    mirrors = {}
    for family in (DESIRED, SIGNING_REQUESTS, CERTIFICATES):
        snapshot = await store.snapshot(family.prefix())
        heard = order_heard or family is not DESIRED
        entries = {entry.key: entry for entry in snapshot.entries} if heard else {}
        mirrors[family.prefix()] = Shown(entries, snapshot.revision)
    state = State(dict(mirrors))
    surroundings = Surroundings()
    writer = Writer(store, state, STAMP, surroundings)
    return store, Context("credentials", state, writer, surroundings)


async def test_a_request_heard_of_before_its_order_takes_nothing_away() -> None:
    """Why: each prefix is watched apart. Seed 2 of the carrier: the words of a new life were deleted, for ever."""
    store, context = await store_and_context(order_heard=False)
    credentials = Credentials(HollowSigner(), HollowUsers({"instance.i-1"}))
    with pytest.raises(Later, match="on its way"):
        await credentials.reconcile("h1/i-1", context)
    assert await store.get(APPLIED.key(instance="i-1")) is not None
    assert credentials.users == HollowUsers({"instance.i-1"})


async def test_once_its_order_is_heard_of_it_is_signed() -> None:
    """Why: waiting must end by itself."""
    store, context = await store_and_context(order_heard=True)
    await Credentials(HollowSigner(), HollowUsers()).reconcile("h1/i-1", context)
    assert await store.get(CERTIFICATES.key(**WHO)) is not None
    assert await store.get(APPLIED.key(instance="i-1")) is not None


async def test_an_instance_without_an_order_loses_everything() -> None:
    """Why: the other side; a request that outlives its order must not keep a user alive."""
    store, context = await store_and_context(order_heard=False)
    await store.delete(DESIRED.key(**WHO))
    users = HollowUsers({"instance.i-1"})
    await Credentials(HollowSigner(), users).reconcile("h1/i-1", context)
    assert await store.get(APPLIED.key(instance="i-1")) is None
    assert users.names == set()
