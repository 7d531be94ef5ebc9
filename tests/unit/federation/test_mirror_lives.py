"""A mirror's lives: what ends it, what it tells of a life that ended, and certificates that outlive none of them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from cryptography import x509

from isthmus.federation.errors import LinkEnded, LinkLost
from isthmus.federation.mirror import SOURCE, Mirror, MirrorSettings, _Notary
from isthmus.federation.run import real_clocks
from isthmus.kv.errors import PermissionDenied, Unavailable
from isthmus.kv.settings import EtcdSettings

SETTINGS = MirrorSettings(
    source=EtcdSettings(endpoints=("127.0.0.1:1",)),
    destination=EtcdSettings(endpoints=("127.0.0.1:2",)),
)
Life = Callable[[_Notary], Awaitable[None]]


class Rig:
    """A mirror whose links live as told; the last life ends the test."""

    def __init__(self, patch: pytest.MonkeyPatch, now_s: float = 1.8e9) -> None:
        self.now_s = now_s
        self.told: list[str] = []
        clocks = replace(real_clocks(), utc_s=lambda: self.now_s)
        self.mirror = Mirror(SETTINGS, clocks, on_trouble=self.told.append)
        self._patch = patch

    async def live(self, *lives: Life) -> None:
        """Run until a life raises what ends the mirror."""
        queue = itertools.chain(lives)

        async def imported(_: int, __: object, notary: _Notary) -> None:
            await next(queue)(notary)

        self._patch.setattr(self.mirror, "_import", imported)
        self._patch.setattr("isthmus.federation.mirror.RETRY_S", 0.05)
        async with asyncio.timeout(20):
            await self.mirror.run()


async def over(_: _Notary) -> None:
    raise PermissionDenied("end of the test")


async def test_a_goodbye_waits_for_the_reason_of_the_end_that_said_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Why: the exporter says goodbye before it tells why; taken by itself the goodbye printed "retrying: LinkEnded:"
    and the user's missing right came a line later (found by ``make chaos``)."""
    rig = Rig(monkeypatch)

    async def refused_a_little_later(_: _Notary) -> None:
        rig.mirror._exported.clear()

        def reason() -> None:
            rig.mirror._refused = PermissionDenied("may not touch /")
            rig.mirror._exported.set()

        asyncio.get_running_loop().call_later(0.01, reason)
        raise LinkEnded("store", "")

    with pytest.raises(PermissionDenied, match="may not touch /"):
        await rig.live(refused_a_little_later, over)
    assert rig.told == []


async def test_a_goodbye_is_not_told_but_trouble_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why: the other end is in this process and tells its own trouble: one line for one cause."""
    rig = Rig(monkeypatch)

    async def goodbye(_: _Notary) -> None:
        raise LinkEnded("store", "")

    async def lost(_: _Notary) -> None:
        raise LinkLost("silent for 5 s")

    async def away(_: _Notary) -> None:
        raise Unavailable("127.0.0.1:2 does not answer")

    with pytest.raises(PermissionDenied, match="end of the test"):
        await rig.live(goodbye, lost, away, over)
    assert rig.told == [
        "LinkLost: silent for 5 s",
        "Unavailable: 127.0.0.1:2 does not answer",
    ]


async def test_every_life_has_certificates_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why: they live a day; made once for the process, a mirror of last week could not link again after any cut."""
    rig = Rig(monkeypatch)
    ends: list[float] = []

    async def look(notary: _Notary) -> None:
        (root,) = x509.load_pem_x509_certificates(notary.bundle)
        ends.append(root.not_valid_after_utc.timestamp())
        leaf = x509.load_pem_x509_certificates(notary.passport(SOURCE).chain)[0]
        assert leaf.not_valid_before_utc.timestamp() <= rig.now_s
        assert rig.now_s + 3600 < leaf.not_valid_after_utc.timestamp()
        rig.now_s += 30 * 24 * 3600.0
        raise LinkLost("cut")

    with pytest.raises(PermissionDenied):
        await rig.live(*[look] * 20, over)
    assert len(set(ends)) == 20, "more than a year"
