"""The newest version of an agreement outlives the process: an older one, however well signed, never comes back."""

from __future__ import annotations

import pytest

from isthmus.contract.chain import AgreedVersion
from isthmus.contract.envelope import Stamp
from isthmus.contract.family import Tier
from isthmus.contract.roles import Access, role
from isthmus.federation.agreed_versions import agreed_key, recall, record
from isthmus.federation.errors import AgreementRefused
from isthmus.kv.memory import MemoryStore
from isthmus.kv.port import Txn, TxnResult

STAMP = Stamp(origin="gateway", incarnation="1")


async def write(store: MemoryStore, version: int) -> None:
    await record(store, "alps", AgreedVersion(version=version), stamp=STAMP, as_of=1.0)


async def test_the_newest_is_kept_and_an_older_one_is_refused() -> None:
    """Why: the memory was a process's; a restart let terms back in that both operators had narrowed since."""
    store = MemoryStore()
    assert await recall(store, "alps") == 0
    await write(store, 1)
    await write(store, 3)
    with pytest.raises(AgreementRefused) as refused:
        await write(store, 2)
    assert refused.value.code == "agreement-older"
    assert await recall(store, "alps") == 3
    assert await recall(store, "other") == 0, "each peer has its own"


async def test_the_same_version_costs_no_write() -> None:
    """Why: a partner that dials every second must not write to our store every second."""
    store = MemoryStore()
    await write(store, 1)
    revision = store.revision
    await write(store, 1)
    assert store.revision == revision


async def test_two_gateways_never_lower_it() -> None:
    """Why: behind one name there are several; the slower one with the older file must not win a race. (Mutant: a put
    without the compare.)"""

    class Raced(MemoryStore):
        first = True

        async def txn(self, txn: Txn, *, timeout_s: float = 5.0) -> TxnResult:
            if self.first:
                self.first = False
                await write(self, 5)
            return await super().txn(txn, timeout_s=timeout_s)

    store = Raced()
    with pytest.raises(AgreementRefused):
        await write(store, 4)
    assert await recall(store, "alps") == 5


async def test_what_cannot_be_read_refuses() -> None:
    """Why: taken for "none was ever in force" it would open the door to every old version."""
    store = MemoryStore()
    await store.put(agreed_key("alps"), b"{")
    with pytest.raises(AgreementRefused, match="delete it") as refused:
        await recall(store, "alps")
    assert refused.value.code == "agreement-malformed"


@pytest.mark.parametrize(("tier", "writer"), [(Tier.SITE, "federation"), (Tier.GLOBAL, "gateway")])
def test_only_the_link_may_write_it(tier: Tier, writer: str) -> None:
    """Why: who may lower the number may replay the agreement."""
    prefix = agreed_key("alps").rsplit("/", 1)[0] + "/"

    def access(component: str) -> set[Access]:
        return {g.access for g in role(tier, component).grants if g.target == prefix}

    assert access(writer) == {Access.READ_WRITE}
    assert access("api") == {Access.READ}
    assert access("intake") == access("reporter") == set()
