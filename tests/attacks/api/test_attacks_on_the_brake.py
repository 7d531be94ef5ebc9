"""The brake's word (attack 19) is the operator's of this site alone; the API around it must not be the way past it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.api_world import NOW, ApiWorld, api_world, error_of

from isthmus.contract import Tier, families, unseal
from isthmus.contract.chain import (
    ChainRecord,
    ChainStatus,
    Confirmation,
    Explanation,
    Phase,
    Segment,
    Terminal,
)
from isthmus.contract.instance import OperationalEvent, SiteSummary
from isthmus.contract.world import SiteSpec

WORD = families.CONFIRMATIONS.key(peer="global")
ROUTES = [("GET", "/v1/brakes"), ("PUT", "/v1/brakes/global"), ("DELETE", "/v1/brakes/global")]


async def holding(world: ApiWorld, *names: str, source: str = "global") -> None:
    """Intake holds the deletion of these chains."""
    end = Terminal(kind="attachment", name="customer")
    for name in names:
        keys: dict[str, Any] = {"tenant": "acme", "chain": name}
        segment = Segment(tenant="acme", chain=name, left=end, right=end)
        await world.write(families.SPECS, ChainRecord(segment=segment, source=source), **keys)
        why = Explanation(
            decision="held",
            source=source,
            constraint="brake",
            reason="held",
            figures={"chains_ending": 8.0, "chains": 9.0, "limit": 4.0},
        )
        await world.write(families.EXPLAIN, why, component="intake", **keys)
        status = ChainStatus(phase=Phase.RUNNING, source=source)
        await world.write(families.STATUS, status, **keys)


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize(("who", "status"), [("acme", 403), ("nobody", 401)])
async def test_nobody_but_an_operator_touches_the_brake(
    tmp_path: Path, method: str, path: str, who: str, status: int
) -> None:
    """Why: a tenant whose chain is held would free everybody's; the list names other tenants' chains."""
    async with api_world(folder=tmp_path) as world:
        await holding(world, "a", "b")
        before = await world.everything()
        async with world.client(who) as client:
            error = error_of(await client.request(method, path), status)
        assert "acme/" not in str(error)
        assert await world.everything() == before


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_the_global_tier_has_no_brake_and_says_where_one_is(method: str, path: str) -> None:
    """Why: the confirmation must be local; an operator above who tries learns which way to go."""
    async with api_world(Tier.GLOBAL) as world:
        await world.write(families.G_SITES, SiteSpec(site="milan"), site="milan")
        before = await world.everything()
        async with world.client() as client:
            error = error_of(await client.request(method, path, json={}), 404)
        assert error["code"] == "no-brake-here"
        assert "milan" in error["fix"]
        assert await world.everything() == before


async def test_the_list_tells_what_is_held_the_limit_and_whose_word_lets_go() -> None:
    """Why: who confirms must see what that will delete before, and that it counts afterwards."""
    async with api_world() as world:
        await holding(world, "b", "a")
        (row,) = (await world.get("/v1/brakes"))["brakes"]
        assert row == {
            "peer": "global",
            "state": "holding",
            "chains": 2,
            "held": 2,
            "chains_held": ["acme/a", "acme/b"],
            "limit": 4,
            "confirmed_until": None,
            "confirmed_by": "",
        }
        assert (await world.get("/v1/status"))["chains_held"] == 2
        assert (await world.get("/v1/chains/acme/a"))["row"]["decision"] == "held"
        async with world.client() as client:
            answer = (await client.put("/v1/brakes/global", json={"for_s": 60})).json()
        assert (answer["result"], answer["confirmed_until"], answer["held"]) == (
            "confirmed",
            NOW + 60,
            2,
        )
        (row,) = (await world.get("/v1/brakes"))["brakes"]
        assert (row["state"], row["confirmed_until"]) == ("confirmed", NOW + 60)
        assert row["confirmed_by"] == "operator"
        world.clock.now_s += 60.0
        (row,) = (await world.get("/v1/brakes"))["brakes"]
        assert (row["state"], row["confirmed_until"], row["confirmed_by"]) == ("holding", None, "")


async def test_the_word_is_written_with_the_event_that_says_whose_it_is(tmp_path: Path) -> None:
    """Why: after a site was emptied somebody asks who said so; the two are one transaction."""
    async with api_world(folder=tmp_path) as world:
        await holding(world, "a")
        async with world.client("remote-operator") as client:
            first = await client.put("/v1/brakes/global")
            second = await client.put("/v1/brakes/global", json={"for_s": 3600})
            back = await client.delete("/v1/brakes/global")
            again = await client.delete("/v1/brakes/global")
        results = [answer.json()["result"] for answer in (first, second, back, again)]
        assert results == ["confirmed", "extended", "held", "unchanged"]
        assert await world.store.get(WORD) is None
        told = (await world.get("/v1/events"))["events"]
        assert [event["kind"] for event in told] == [
            "confirmed", "confirmed", "confirmed-no-more",
        ]  # fmt: skip
        assert all("remote-operator" in event["message"] for event in told)
        assert {event["subject"] for event in told} == {"global"}, "no tenant's business"


async def test_what_is_written_is_what_intake_reads() -> None:
    """Why: the two never meet but in this key: who, how long, and from when."""
    async with api_world() as world:
        await holding(world, "a")
        async with world.client() as client:
            await client.put("/v1/brakes/global", json={"for_s": 90})
        entry = await world.store.get(WORD)
        assert entry is not None
        word = unseal(entry.value, Confirmation)
        assert (word.body.for_s, word.body.confirmed_by) == (90, "operator")
        assert Confirmation.until_utc_s(word, NOW + 89) == NOW + 90
        assert Confirmation.until_utc_s(word, NOW + 90) is None
        assert Confirmation.until_utc_s(word, NOW - 61) is None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"for_s": 0}, "for_s"),
        ({"for_s": -300}, "for_s"),
        ({"for_s": 3601}, "for_s"),
        ({"for_s": 1e99}, "for_s"),
        ({"for_s": "300"}, "for_s"),
        ({"for_s": True}, "for_s"),
        ({"for_s": None}, "for_s"),
        ({"until": 4_000_000_000}, "until"),
        ({"confirmed_by": "somebody else"}, "confirmed_by"),
    ],
    ids=str,
)
async def test_a_wrong_word_is_refused_by_field_and_changes_nothing(
    body: dict[str, Any], field: str
) -> None:
    """Why: a typing mistake must neither release for a day nor be taken for the default; nobody signs for another."""
    async with api_world() as world:
        await holding(world, "a")
        before = await world.everything()
        async with world.client() as client:
            error = error_of(await client.put("/v1/brakes/global", json=body), 422)
        assert error["field"] == field
        assert error["fix"]
        assert await world.everything() == before


@pytest.mark.parametrize(
    ("text", "content_type", "status"),
    [
        (b"[]", "application/json", 422),
        (b"300", "application/json", 422),
        (b'{"for_s": 1, "for_s": 3600}', "application/json", 422),
        (b"{" * 100_000, "application/json", 422),
        (b"for_s=300", "application/x-www-form-urlencoded", 415),
        (b'{"for_s": 1}' + b" " * 300_000, "application/json", 413),
    ],
    ids=["list", "number", "twins", "deep", "form", "large"],
)
async def test_a_malformed_body_is_no_word(text: bytes, content_type: str, status: int) -> None:
    """Why: an empty body means the default; anything that is there must be understood."""
    async with api_world() as world:
        await holding(world, "a")
        before = await world.everything()
        async with world.client() as client:
            headers = {"Content-Type": content_type}
            answer = await client.put("/v1/brakes/global", content=text, headers=headers)
        error_of(answer, status)
        assert await world.everything() == before


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize(
    ("peer", "status"),
    [
        ("partner", 404),
        ("local", 404),
        ("GLOBAL", 422),
        ("..", 404),
        ("global%2Fx", 404),
        ("a" * 64, 422),
        ("global/x", 404),
    ],
)
async def test_a_peer_that_is_none_gets_no_key(method: str, peer: str, status: int) -> None:
    """Why: keys for invented names would outlive everything, and a word for a mistyped peer looks like a good one."""
    async with api_world() as world:
        await holding(world, "a")
        before = await world.everything()
        async with world.client() as client:
            error = error_of(await client.request(method, f"/v1/brakes/{peer}"), status)
        if peer == "partner":
            assert error["fix"] == "the peers are: global"
        assert await world.everything() == before


async def test_a_tenant_learns_of_its_held_chain_but_not_how_many_others_have(
    tmp_path: Path,
) -> None:
    """Why: its chain's fate is its business, the size of the others is not (attack 21)."""
    async with api_world(folder=tmp_path) as world:
        await holding(world, "a")
        for path in ("/v1/chains/acme/a", "/v1/chains/acme/a/explain"):
            (seen,) = (await world.get(path, who="acme"))["explanations"]
            assert seen["explanation"]["decision"] == "held"
            assert seen["explanation"]["figures"] == {}
            (full,) = (await world.get(path))["explanations"]
            assert full["explanation"]["figures"]["limit"] == 4.0


async def test_the_sites_list_says_that_somebody_must_go_and_look() -> None:
    """Why: at the tier above nobody can confirm, but its operator is the one who knows whom to call."""
    summary = SiteSummary(
        cpu_milli_total=1, cpu_milli_free=1, memory_mib_total=1, memory_mib_free=1,
        hosts_up=1, chains=9, chains_held=8,
    )  # fmt: skip
    async with api_world() as world:
        await world.write(families.SITE_SUMMARY, summary, ttl_s=15.0)
        (row,) = (await world.get("/v1/sites"))["sites"]
        assert row["reason"] == "brake: 8 deletions held until confirmed at the site"
        world.clock.now_s += 16.0
        (row,) = (await world.get("/v1/sites"))["sites"]
        assert row["reason"] == "", "what is too old is not told as if it were so"


async def test_an_event_about_a_peer_is_not_shown_to_tenants(tmp_path: Path) -> None:
    """Why: the numbers of the whole site stand in it."""
    async with api_world(folder=tmp_path) as world:
        told = OperationalEvent(kind="held", subject="global", message="8 of 9", severity="warning")
        await world.write(families.EVENTS, told, component="intake", id="1")
        assert (await world.get("/v1/events", who="acme"))["events"] == []
        assert len((await world.get("/v1/events"))["events"]) == 1
