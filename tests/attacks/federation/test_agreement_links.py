"""Links under agreements: refused, cut, paced and renewed, each end by its own copy of the file (G8, G9, issue 7)."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from tests.attacks.federation.partner import ALPS, HUB, Alliance, alliance, clauses, later
from tests.federation_support import until

from isthmus.federation import destination, gateway
from isthmus.federation.agreement import CONTEXT
from isthmus.kv.memory import MemoryStore
from isthmus.trust.signing import sign_detached

ROOT = "/isthmus/v1/"


def down(relative: str) -> str:
    return f"{ROOT}outbox/{ALPS}/{relative}"


async def arrived(both: Alliance, relative: str) -> str:
    """What the partner holds, empty when nothing."""
    entry = await both.site.get(f"{ROOT}remote/{HUB}/{relative}")
    return "" if entry is None else entry.value.decode()


async def quarantined(store: MemoryStore, peer: str) -> str:
    """The reason, empty when it is not."""
    entry = await store.get(f"{ROOT}remote/{peer}/meta.quarantine")
    return "" if entry is None else entry.value.decode()


async def holds(both: Alliance, relative: str, value: str) -> None:
    async def there() -> bool:
        return await arrived(both, relative) == value

    await until(there, f"{relative} is {value}")


async def refused_as(both: Alliance, code: str, *, at_hub: bool) -> None:
    """Not linked, said so, and what was held is marked."""
    store, peer = (both.hub, ALPS) if at_hub else (both.site, HUB)

    async def so() -> bool:
        status = both.at_hub() if at_hub else both.at_site()
        marked = code in await quarantined(store, peer)
        return not status.connected and status.last_error.startswith(f"{code}: ") and marked

    try:
        await until(so, f"refused as {code}")
    except AssertionError as error:
        ends = f"hub: {both.at_hub()}; site: {both.at_site()}"
        raise AssertionError(f"{error}; {ends}; mark: {await quarantined(store, peer)}") from None


async def test_a_link_stands_under_an_agreement_and_says_which(tmp_path: Path) -> None:
    """What both signed is in the status of both, and keys of the agreed tenant cross."""
    async with alliance(tmp_path) as both:
        await both.hub.put(down("intents/acme/web"), b"1")
        await both.hub.put(down("intents/rival/web"), b"1")
        await holds(both, "intents/acme/web", "1")
        assert both.at_hub().agreement == both.at_site().agreement
        assert "alps version 1, until" in both.at_hub().agreement
        assert await arrived(both, "intents/rival/web") == ""
        assert both.at_hub().denied["export:agreement-denied"] == 1


@pytest.mark.parametrize("end", ["hub", "site"])
@pytest.mark.parametrize(
    ("terms", "code"),
    [
        ({"not_after": later(seconds=-1), "not_before": later(days=-2)}, "agreement-expired"),
        ({"not_before": later(hours=1)}, "agreement-early"),
    ],
)
async def test_either_end_alone_refuses_what_is_not_in_force(
    end: str, terms: dict[str, str], code: str, tmp_path: Path
) -> None:
    """The other end's copy is good: it does not help."""
    both = Alliance(tmp_path)
    both.write(both.agreed(**terms), end)
    try:
        await both.start()
        await refused_as(both, code, at_hub=end == "hub")
        await both.hub.put(down("intents/acme/web"), b"1")
        assert await arrived(both, "intents/acme/web") == ""
        if end == "hub":
            assert both.gateway.refused[code] >= 1
            assert both.at_hub().state == "refused"
    finally:
        await both.stop()


async def test_a_bad_signature_or_no_file_is_refused_and_a_good_one_mends_it(
    tmp_path: Path,
) -> None:
    """No restart: the file is read again at each dial; the mark goes with the next good link."""
    both = Alliance(tmp_path)
    good = both.agreed()
    forged = good.signed_by(
        both.them.domain.name,
        sign_detached(both.us.root.key, CONTEXT, good.agreement.canonical()),
    )
    both.write(forged, "hub")
    try:
        await both.start()
        await refused_as(both, "agreement-signature", at_hub=True)
        both.paths["hub"].unlink()
        await refused_as(both, "agreement-missing", at_hub=True)
        both.write(good, "hub")
        await until(both.stands, "the link stands")

        async def unmarked() -> bool:
            return await quarantined(both.hub, ALPS) == ""

        await until(unmarked, "the mark is gone")
    finally:
        await both.stop()


async def test_a_partner_without_agreement_does_not_get_in_and_our_own_site_does(
    tmp_path: Path,
) -> None:
    """Deny by default for other operators; the carrier's own sites need none."""
    both = Alliance(tmp_path)
    listed = both.gateway._settings.peers
    assert [one.agreement is None for one in listed] == [False, True]
    both.gateway._listed[ALPS] = listed[0].model_copy(update={"agreement": None})
    try:
        await both.start()
        await refused_as(both, "agreement-missing", at_hub=True)
        own = next(peer for peer in both.gateway._table.peers if peer.name == "a")
        assert both.gateway._accords.terms(own, both.gateway._listed["a"]) is None
    finally:
        await both.stop()


async def test_expiry_cuts_an_open_link_at_both_ends_and_marks_what_is_held(tmp_path: Path) -> None:
    """G9 for agreements: a stream outlives nothing. Within seconds, by each end's own clock."""
    async with alliance(tmp_path, not_after=later(seconds=3)) as both:
        await both.hub.put(down("intents/acme/web"), b"1")
        await holds(both, "intents/acme/web", "1")
        ended_s = time.monotonic()
        await until(lambda: not both.at_hub().connected, "cut", timeout_s=15)
        await refused_as(both, "agreement-expired", at_hub=True)
        await refused_as(both, "agreement-expired", at_hub=False)
        assert time.monotonic() - ended_s < 15
        assert await arrived(both, "intents/acme/web") == "1", "marked, not deleted"


async def test_what_is_held_ends_by_our_own_clock_though_the_partner_never_dials_again(
    tmp_path: Path,
) -> None:
    """A partner that saw the end first goes silent; and a gateway may start after the end. Found by a race in the test
    above: only the end that was faster had marked what it held."""
    both = Alliance(tmp_path)
    key = f"{ROOT}remote/{ALPS}/summary/wires/w-1"
    await both.hub.put(key, b"held since the last agreement")
    both.write(both.agreed(not_before=later(days=-2), not_after=later(seconds=-1)))
    await both.gateway.start()
    try:
        await until(lambda: both.at_hub().state == "refused", "refused without a dial")

        async def marked() -> bool:
            return "agreement-expired" in await quarantined(both.hub, ALPS)

        await until(marked, "what is held is marked")
        assert await both.hub.get(key) is not None
    finally:
        await both.stop()


async def test_a_new_version_renews_the_link_and_takes_away_what_it_no_longer_allows(
    tmp_path: Path,
) -> None:
    """Narrower terms remove from the partner what they no longer cover; wider ones add. No restart, no leftover."""
    async with alliance(tmp_path) as both:
        await both.hub.put(down("intents/acme/web"), b"1")
        await both.hub.put(down("wires/w-1"), b"1")
        await holds(both, "wires/w-1", "1")
        narrow = clauses([{"pattern": "intents/acme/"}], None)
        both.write(both.agreed(version=2, **narrow))
        await until(lambda: "version 2" in both.at_hub().agreement, "version 2 is in force")
        await until(lambda: "version 2" in both.at_site().agreement, "at the site, too")
        await holds(both, "wires/w-1", "")
        assert await arrived(both, "intents/acme/web") == "1"
        both.write(both.agreed())
        await refused_as(both, "agreement-older", at_hub=True)
        both.write(both.agreed(version=3))
        await holds(both, "wires/w-1", "1")


async def test_rate_and_interval_hold_on_the_wire_and_lose_nothing(tmp_path: Path) -> None:
    """The newest value arrives in the end; in between at most burst + rate x time changes went."""
    terms = clauses(
        [{"pattern": "intents/acme/"}, {"pattern": "wires/", "min_interval_s": 1.0}], None,
        max_changes_per_s=40.0, burst_changes=10,
    )  # fmt: skip
    async with alliance(tmp_path, **terms) as both:
        began_s = time.monotonic()
        sent = both.at_hub().items_sent
        for number in range(60):
            await both.hub.put(down(f"intents/acme/c{number}"), b"x")
        while time.monotonic() - began_s < 1.5:
            await both.hub.put(down("wires/w-1"), repr(time.monotonic()).encode())
            await asyncio.sleep(0.01)
        await both.hub.put(down("wires/w-1"), b"last")
        await holds(both, "wires/w-1", "last")
        took_s = time.monotonic() - began_s
        went = both.at_hub().items_sent - sent
        assert 61 <= went <= 10 + 40 * took_s + 1
        tap = both.taps["hub"].read_text()
        crossings = tap.count('"wires/w-1"')
        assert 2 <= crossings <= took_s + 2, "a key at most once a second"
        assert await arrived(both, "intents/acme/c59") == "x"
        await until(lambda: both.at_site().digests_equal, "equal again when nothing waits")


async def test_stale_values_stay_at_home_and_go_once_they_are_fresh(tmp_path: Path) -> None:
    """Freshness at the sender: what is too old to be of use does not cross, and takes the older one with it."""
    terms = clauses([{"pattern": "intents/acme/", "max_age_s": 30.0}], None)
    async with alliance(tmp_path, **terms) as both:
        old, now = (
            b'{"schema":"X/1","as_of":%.1f,"body":{}}' % (time.time() - age) for age in (60, 0)
        )
        await both.hub.put(down("intents/acme/web"), now)
        await holds(both, "intents/acme/web", now.decode())
        await both.hub.put(down("intents/acme/web"), old)
        await holds(both, "intents/acme/web", "")
        assert both.at_hub().denied["export:agreement-stale"] >= 1
        await both.hub.put(down("intents/acme/web"), now)
        await holds(both, "intents/acme/web", now.decode())


async def test_the_mark_outlives_the_call_of_who_hangs_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why: who hears that he is cut hangs up at once, which cancels the gateway's call in the middle of marking what it
    holds of him: readers went on relying on it (seen in three of some sixty runs)."""
    real = destination.quarantine

    async def slow(*arguments: Any, **named: Any) -> None:
        await asyncio.sleep(0.3)
        await real(*arguments, **named)

    monkeypatch.setattr(gateway, "quarantine", slow)
    async with alliance(tmp_path) as both:
        await both.hub.put(down("intents/acme/web"), b"1")
        await holds(both, "intents/acme/web", "1")
        both.write(both.agreed(version=2))
        await until(lambda: "version 2" in both.at_hub().agreement, "version 2 is in force")
        await until(lambda: "version 2" in both.at_site().agreement, "at the site, too")
        both.write(both.agreed())
        await refused_as(both, "agreement-older", at_hub=True)


async def test_digests_are_compared_while_a_key_waits_for_its_interval(tmp_path: Path) -> None:
    """Why: one key that always waits (an interval of an hour) kept all others from being compared: what a mirror
    had lost stayed lost. (Mutant: a digest only when nothing waits.)"""
    terms = clauses(
        [{"pattern": "intents/acme/"}, {"pattern": "wires/", "min_interval_s": 3600.0}], None
    )
    async with alliance(tmp_path, **terms) as both:
        await both.hub.put(down("wires/w-1"), b"first")
        await holds(both, "wires/w-1", "first")
        await both.hub.put(down("wires/w-1"), b"waits")
        await both.hub.put(down("intents/acme/web"), b"1")
        await holds(both, "intents/acme/web", "1")
        await until(lambda: both.at_site().digests_equal, "equal in what has gone so far")
        assert both.at_hub().pending_keys == 1
        assert await arrived(both, "wires/w-1") == "first"
        assert both.at_site().repairs == 0
