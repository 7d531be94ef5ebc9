"""An older agreement, replayed after a restart, at each end (attack 15 on agreements, issue 7 point 4)."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.attacks.federation.partner import ALPS, HUB, Alliance, alliance
from tests.attacks.federation.test_agreement_links import quarantined, refused_as
from tests.federation_support import until

from isthmus.contract.scopes import import_root
from isthmus.federation.agreed_versions import recall
from isthmus.kv.errors import Unavailable
from isthmus.kv.memory import MemoryStore


async def signed_twice(folder: Path) -> tuple[MemoryStore, MemoryStore]:
    """Both stores after a life under version 2."""
    folder.mkdir()
    async with alliance(folder, version=2) as both:
        await until(lambda: "version 2" in both.at_site().agreement, "version 2 is in force")
        assert await recall(both.hub, ALPS) == await recall(both.site, HUB) == 2
        return both.hub, both.site


def again(folder: Path, stores: tuple[MemoryStore, MemoryStore]) -> Alliance:
    """Fresh processes over the old stores: the operators' roots are new, too, so all that is left is the stores."""
    folder.mkdir()
    both = Alliance(folder)
    both.hub, both.site = stores
    both.gateway._store = stores[0]
    return both


@pytest.mark.parametrize("end", ["hub", "site"])
async def test_an_older_version_is_refused_after_a_restart(end: str, tmp_path: Path) -> None:
    """Each end by itself; what is held is marked; the newer version mends it. (Mutant: `recall` says 0.)"""
    stores = await signed_twice(tmp_path / "first")
    both = again(tmp_path / "second", stores)
    both.write(both.agreed(version=2))
    both.write(both.agreed(version=1), end)
    try:
        await both.start()
        await refused_as(both, "agreement-older", at_hub=end == "hub")
        both.write(both.agreed(version=3))
        await until(both.stands, "the link stands")
        assert await recall(both.hub, ALPS) == 3
    finally:
        await both.stop()


async def test_a_gateway_that_nobody_dials_marks_what_it_holds_under_a_replayed_agreement(
    tmp_path: Path,
) -> None:
    """The partner is silent: the judge of the absent knows the store's word, too."""
    stores = await signed_twice(tmp_path / "first")
    both = again(tmp_path / "second", stores)
    await both.gateway.start()
    try:

        async def marked() -> bool:
            return "agreement-older" in await quarantined(both.hub, ALPS)

        await until(marked, "marked without a dial")
    finally:
        await both.stop()


async def test_nothing_crosses_before_the_version_is_written_down(tmp_path: Path) -> None:
    """A store that cannot be asked lets nobody in: "nothing known" would be the replayer's answer."""
    both = Alliance(tmp_path)
    down = True

    class Deaf(MemoryStore):
        async def get(self, key: str, **named: object):  # type: ignore[no-untyped-def]
            if down and "/agreements/" in key:
                raise Unavailable("no leader")
            return await super().get(key, **named)  # type: ignore[arg-type]

    both.hub = both.gateway._store = Deaf()
    try:
        await both.start()
        await until(lambda: "store" in both.at_site().last_error, "turned away for the store")
        assert not await both.hub.get(import_root(ALPS) + "meta.session")
        down = False
        await until(both.stands, "the link stands")
    finally:
        await both.stop()
