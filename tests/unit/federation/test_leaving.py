"""A peer that left: all that was held of it goes, whoever still writes is stopped, an older agreement stays refused."""

from __future__ import annotations

import pytest

from isthmus.contract.chain import AgreedVersion
from isthmus.contract.envelope import Stamp
from isthmus.federation import link_pb2 as pb
from isthmus.federation.agreed_versions import agreed_key, recall, record
from isthmus.federation.destination import PeerDestination, quarantine
from isthmus.federation.errors import LinkLost, StillLinked, Superseded
from isthmus.federation.leaving import KEYS_AT_ONCE, check_ended, forget, held
from isthmus.federation.limits import LinkLimits
from isthmus.federation.status import LinkStatus
from isthmus.kv.memory import MemoryStore
from isthmus.kv.port import Put, Txn, TxnResult

STAMP = Stamp(origin="a test", incarnation="t")
ROOT = "/isthmus/v1/remote/"


def destination(store: MemoryStore, peer: str, session: str) -> PeerDestination:
    return PeerDestination(
        store, peer, session=session, stamp=STAMP, limits=LinkLimits(), utc_s=lambda: 1.8e9
    )


async def filled(keys: int = 2 * KEYS_AT_ONCE + 7) -> MemoryStore:
    """Of zurich so many keys, of zurich2 one, and an agreement with zurich."""
    store = MemoryStore()
    for number in range(keys):
        await store.put(f"{ROOT}zurich/summary/chains/acme/c{number}", b"x")
    await store.put(f"{ROOT}zurich/intents/acme/web", b"x")
    await store.put(f"{ROOT}zurich2/summary/site", b"x")
    word = AgreedVersion(version=7)
    await record(store, "zurich", word, stamp=STAMP, as_of=1.8e9)
    return store


async def test_all_that_is_held_of_the_peer_goes_and_nothing_else() -> None:
    """Why: what a partner told us is the partner's; a name that begins alike is another peer."""
    store = await filled()
    await quarantine(store, "zurich", "revoked", stamp=STAMP, as_of=1.8e9)
    before = await held(store, "zurich")
    assert before.kinds["summary"] == 2 * KEYS_AT_ONCE + 7
    assert before.kinds["intents"] == 1
    assert sum(before.kinds.values()) == before.keys
    assert await forget(store, "zurich") == before
    assert [entry.key for entry in (await store.snapshot(ROOT)).entries] == [
        f"{ROOT}zurich2/summary/site"
    ]
    assert (await held(store, "zurich")).keys == 0


async def test_an_agreement_of_before_stays_refused_when_the_peer_comes_back() -> None:
    """Why: a replayed old agreement (attack 3) must not wait for the peer to have been away."""
    store = await filled(1)
    assert (await forget(store, "zurich")).agreement_version == 7
    assert await recall(store, "zurich") == 7
    assert await store.get(agreed_key("zurich")) is not None


async def test_forgetting_changes_nothing_when_nothing_is_held() -> None:
    """Why: the last step is repeated by whoever is not sure that it was done."""
    store = await filled(3)
    await forget(store, "zurich")
    revision = (await store.snapshot(ROOT)).revision
    assert (await forget(store, "zurich")).keys == 0
    assert (await store.snapshot(ROOT)).revision == revision


async def test_a_link_that_still_writes_is_stopped_by_its_fence() -> None:
    """Why: settings may be old in another gateway's process; what it wrote after us nobody would ever remove."""
    store = await filled(1)
    old = destination(store, "zurich", "s1")
    await old.open()
    await forget(store, "zurich")
    with pytest.raises((Superseded, LinkLost)):
        await old.mark(pb.Token(incarnation="i", revision=1), synced=True, keys=1)
    assert (await held(store, "zurich")).keys == 0


class Dialling(MemoryStore):
    """Another process links with zurich when the third transaction comes."""

    txns = 0

    async def txn(self, txn: Txn, *, timeout_s: float = 5.0) -> TxnResult:
        self.txns += 1
        if self.txns == 3:
            await super().txn(Txn((), (Put(f"{ROOT}zurich/meta.session", b"new"),)))
        return await super().txn(txn, timeout_s=timeout_s)


async def test_a_link_that_opens_meanwhile_is_told_not_emptied() -> None:
    """Why: to empty the copy under a live link would make its digests differ and everything cross again."""
    store = Dialling()
    for number in range(3 * KEYS_AT_ONCE):
        await store.put(f"{ROOT}zurich/summary/chains/acme/c{number:04}", b"x")
    with pytest.raises(StillLinked, match="take it out of the settings"):
        await forget(store, "zurich")
    left = (await held(store, "zurich")).kinds
    assert left == {"meta.session": 1, "summary": 2 * KEYS_AT_ONCE}


@pytest.mark.parametrize(
    ("peer", "as_of", "refused"),
    [
        pytest.param("zurich", 1_000.0, True, id="told a moment ago"),
        pytest.param("zurich", 900.0, False, id="by a process that is gone"),
        pytest.param("milan", 1_000.0, False, id="another peer"),
    ],
)
def test_a_process_that_still_tells_of_the_link_is_named(
    peer: str, as_of: float, *, refused: bool
) -> None:
    """Why: it would have everything again within a second."""
    links = [LinkStatus(peer=peer, state="dialling", as_of=as_of)]
    if refused:
        with pytest.raises(StillLinked, match="is dialling: end its process"):
            check_ended("zurich", links, 1_001.0)
    else:
        check_ended("zurich", links, 1_001.0)
