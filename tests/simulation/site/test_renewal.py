"""Certificates of instances live a day, and instances for months: they are renewed before they end (R13, G10)."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
from tests.simulation.site.test_site import chain
from tests.simulation.site.world import STAMP, HollowSite
from tests.support import eventually

from isthmus.contract import seal, unseal
from isthmus.contract.families import CERTIFICATES
from isthmus.contract.instance import InstanceCertificate
from isthmus.identity.profiles import LEAF, SKEW_S
from isthmus.kv.memory import MemoryStore
from isthmus.site.credentials import RENEW_AFTER_S

OLD = "the certificate of before"


@pytest.fixture
async def site() -> AsyncIterator[HollowSite]:
    """A chain runs; credentials have done their work."""
    running = HollowSite(MemoryStore(), hosts=("h1",))
    running.start()
    await running.apply(chain(ingress={"attachment": "milan-a"}, egress={"attachment": "milan-b"}))
    await running.until("acme", "web", "running")
    yield running
    await running.stop()


async def certificates(site: HollowSite) -> dict[str, InstanceCertificate]:
    """By key."""
    snapshot = await site.store.snapshot(CERTIFICATES.prefix())
    return {one.key: unseal(one.value, InstanceCertificate).body for one in snapshot.entries}


async def age(site: HollowSite, **ages_s: float) -> dict[str, str]:
    """A new life of credentials finds the first two certificates so old; key by name."""
    await site.kill("credentials")
    found = dict(zip(ages_s, (await certificates(site)).items(), strict=True))
    for name, (key, body) in found.items():
        old = body.model_copy(update={"certificate_pem": OLD})
        await site.store.put(key, seal(old, STAMP, as_of=time.time() - ages_s[name]))
    site.start_component("credentials")
    return {name: key for name, (key, _) in found.items()}


async def test_a_certificate_past_half_its_life_is_signed_again_and_no_other(
    site: HollowSite,
) -> None:
    """Why: it was signed once and for all; a day later no function could reach the store again."""
    keys = await age(site, old=RENEW_AFTER_S + 60, young=RENEW_AFTER_S / 2)

    async def renewed() -> bool:
        return (await certificates(site))[keys["old"]].certificate_pem != OLD

    await eventually(renewed, "the old one is signed again", timeout_s=10)
    assert (await certificates(site))[keys["young"]].certificate_pem == OLD


async def test_a_certificate_from_the_future_is_signed_again(site: HollowSite) -> None:
    """Why: it is not valid yet; a clock that was a day ahead when it signed must not silence a function for a day."""
    keys = await age(site, future=-3600.0, skewed=-SKEW_S / 2)

    async def renewed() -> bool:
        return (await certificates(site))[keys["future"]].certificate_pem != OLD

    await eventually(renewed, "the one from the future is signed again", timeout_s=10)
    assert (await certificates(site))[keys["skewed"]].certificate_pem == OLD


def test_half_a_life_is_left_to_be_cut_off_in() -> None:
    """Why: renewed too late is not renewed; renewed at every look is a store full of certificates."""
    assert 3600 <= RENEW_AFTER_S <= LEAF.lifetime_s / 2
