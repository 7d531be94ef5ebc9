"""Apply, read, delete: what a caller asks, and what the store then holds (issue 3, points 8 and 9)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.api_world import api_world, error_of, path_of, spec
from tests.unit.api.shop import NAMES, segment, stored

from isthmus.contract import Tier, families
from isthmus.contract.chain import ChainRecord, ChainRequest, ChainStatus, Phase
from isthmus.contract.instance import CatalogEntry
from isthmus.contract.world import Intent, SiteSpec


async def test_an_apply_is_stored_once_and_says_what_became_of_it() -> None:
    """Idempotent: the same spec again changes nothing; another spec is an update, and the answer says so."""
    async with api_world() as world:
        created = await world.apply(spec())
        assert (created["result"], created["generation"]) == ("created", 1)
        same = await world.apply(spec())
        assert (same["result"], same["revision"]) == ("unchanged", created["revision"])
        updated = await world.apply(spec(priority=7))
        assert updated["result"] == "updated"
        assert updated["message"] == (
            "chain acme/shop existed with another spec: updated to generation 2"
        )
        assert updated["revision"] == created["revision"] + 1
        envelope = await stored(world)
        assert envelope.generation == 2
        assert envelope.body.spec.priority == 7
        assert envelope.body.requested_by == "operator"


async def test_a_new_chain_is_201_and_every_other_apply_200() -> None:
    """Scripts tell "new" from "there already" by the status."""
    async with api_world() as world, world.client() as client:
        codes = [(await client.put(path_of(spec()), json=spec())).status_code for _ in range(2)]
        assert codes == [201, 200]


async def test_the_envelope_says_who_when_and_for_which_request() -> None:
    """Traces are followed by trace id, retries by idempotency key (G3)."""
    async with api_world(identity="spiffe://carrier.example/site/milan/api") as world:
        async with world.client() as client:
            headers = {"Idempotency-Key": "once", "X-Trace-Id": "trace-7"}
            answer = await client.put(path_of(spec()), json=spec(), headers=headers)
        assert answer.headers["X-Trace-Id"] == "trace-7"
        envelope = await stored(world)
        assert envelope.origin == "spiffe://carrier.example/site/milan/api"
        assert (envelope.idempotency_key, envelope.trace_id) == ("once", "trace-7")
        assert envelope.as_of == world.clock()


async def test_a_dry_run_validates_and_writes_nothing() -> None:
    """People try first; a dry run that leaves a trace is no dry run."""
    async with api_world() as world, world.client() as client:
        before = await world.everything()
        answer = await client.put(path_of(spec()) + "?dry_run=true", json=spec())
        assert answer.json()["result"] == "valid"
        bad = await client.put(path_of(spec()) + "?dry_run=true", json=spec(site="rome"))
        assert error_of(bad, 422)["code"] == "unknown-site"
        assert await world.everything() == before


async def test_a_reused_idempotency_key_for_another_spec_is_a_clash() -> None:
    """Otherwise a client with a broken id generator would overwrite its own chains unnoticed."""
    async with api_world() as world, world.client(**{"Idempotency-Key": "same"}) as client:
        await client.put(path_of(spec()), json=spec())
        again = await client.put(path_of(spec()), json=spec())
        assert again.json()["result"] == "unchanged"
        error = error_of(await client.put(path_of(spec()), json=spec(priority=2)), 409)
        assert (error["code"], error["value"]) == ("idempotency-key-reused", "same")


async def test_two_callers_at_once_lose_no_update() -> None:
    """Compare-and-set: each of two different specs becomes a generation of its own."""
    async with api_world() as world:
        await asyncio.gather(*(world.apply(spec(priority=number)) for number in range(2, 6)))
        assert (await stored(world)).generation == 4


async def test_a_delete_takes_the_request_away_once() -> None:
    """Deletion of the request is the wish to take the chain down; a second one is 404."""
    async with api_world() as world, world.client() as client:
        await world.apply(spec())
        answer = await client.delete(path_of(spec()))
        assert answer.json()["result"] == "deleted"
        assert await world.everything() == {}
        assert error_of(await client.delete(path_of(spec())), 404)["code"] == "not-found"


async def test_a_chain_of_another_tier_is_neither_changed_nor_deleted_here() -> None:
    """A site carries segments for the global tier; its own API must not fight over them."""
    async with api_world() as world, world.client() as client:
        await world.write(families.SPECS, ChainRecord(segment=segment(), source="global"), **NAMES)
        error = error_of(await client.put(path_of(spec()), json=spec()), 409)
        assert error["message"] == "chain acme/shop is carried here for 'global'"
        assert error_of(await client.delete(path_of(spec())), 409)["code"] == "not-ours"
        row = (await world.get("/v1/chains"))["chains"][0]
        assert (row["source"], row["chain"]) == ("global", "shop")


@pytest.mark.parametrize(
    ("change", "field", "value", "fix"),
    [
        (
            {"ingress": {"site": "rome", "attachment": "a"}},
            "ingress.site",
            '"rome"',
            "write 'milan', or give the chain to the global tier",
        ),
        (
            {"constraints": {"sites": ["milan", "rome"]}},
            "constraints.sites[1]",
            '"rome"',
            "write 'milan', or give the chain to the global tier",
        ),
        (
            {"functions": [{"name": "a", "type": "firewal"}]},
            "functions[0].type",
            '"firewal"',
            "did you mean 'firewall'?",
        ),
        (
            {"functions": [{"name": "a", "type": "router"}]},
            "functions[0].type",
            '"router"',
            "there are: firewall, nat",
        ),
        (
            {"functions": [{"name": "a", "type": "nat", "version": "9"}]},
            "functions[0].version",
            '"9"',
            "there are: 1",
        ),
        (
            {"functions": [{"name": "a", "type": "nat"}, {"name": "a", "type": "nat"}]},
            "functions",
            "a",
            "give each its own",
        ),
        ({"tenant": "other"}, "tenant", '"other"', "write 'acme', or send it to its own path"),
        ({"chain": "other"}, "chain", '"other"', "write 'shop', or send it to its own path"),
        ({"latancy": 3}, "latancy", "3", None),
        ({"priority": "high"}, "priority", '"high"', None),
    ],
)
async def test_a_site_refuses_what_it_can_see_is_wrong(
    change: dict[str, Any], field: str, value: str, fix: str | None
) -> None:
    """The refusal names field, value and fix, and nothing is written."""
    async with api_world() as world, world.client() as client:
        for kind in ("firewall", "nat"):
            await world.write(
                families.CATALOG, CatalogEntry(type=kind, version="1"), type=kind, version="1"
            )
        before = await world.everything()
        answer = await client.put("/v1/chains/acme/shop", json={**spec(), **change})
        error = error_of(answer, 422)
        assert (error["field"], error["value"]) == (field, value)
        assert fix is None or error["fix"] == fix
        assert error["fix"]
        assert await world.everything() == before


async def test_without_a_catalogue_any_type_is_taken() -> None:
    """A fresh site publishes its catalogue in a moment; until then intake decides, not the API."""
    async with api_world() as world:
        answer = await world.apply(spec(functions=[{"name": "a", "type": "anything"}]))
        assert answer["result"] == "created"


async def test_all_mistakes_of_a_body_are_told_at_once() -> None:
    """The command shows each with its line."""
    async with api_world() as world, world.client() as client:
        document = spec(site="rome", priority=2)
        error = error_of(await client.put(path_of(document), json=document), 422)
        assert [error["path"], *(item["path"] for item in error["others"])] == [
            ["ingress", "site"],
            ["egress", "site"],
        ]


async def test_the_global_tier_wants_registered_sites() -> None:
    """It cannot guess where an attachment is, and a misspelt site would wait for ever."""
    async with api_world(Tier.GLOBAL) as world, world.client() as client:
        none = error_of(await client.put(path_of(spec()), json=spec()), 422)
        assert none["fix"] == "the sites are: (none yet)"
        for site in ("milan", "zurich"):
            await world.write(families.G_SITES, SiteSpec(site=site), site=site)
        wrong = error_of(await client.put(path_of(spec()), json=spec(site="zurick")), 422)
        assert (wrong["code"], wrong["fix"]) == ("unknown-site", "did you mean 'zurich'?")
        nowhere = spec(ingress={"attachment": "a"})
        missing = error_of(await client.put(path_of(nowhere), json=nowhere), 422)
        assert (missing["field"], missing["fix"]) == (
            "ingress.site",
            "name one of: milan, zurich",
        )
        assert (await world.apply(spec()))["result"] == "created"


async def test_a_spec_over_the_value_limit_is_413() -> None:
    """A key holds 64 KiB (R41); the caller learns it now, not from a stuck controller."""
    async with api_world() as world, world.client() as client:
        large = spec(functions=[{"name": "a", "type": "b", "config": {"x": "y" * 70_000}}])
        error = error_of(await client.put(path_of(large), json=large), 413)
        assert error["code"] == "too-large"
        assert await world.everything() == {}


async def test_the_global_tier_serves_the_same_routes_over_its_own_keys() -> None:
    """One API for both tiers: intents and placements stand where records and plans do."""
    async with api_world(Tier.GLOBAL) as world, world.client() as client:
        await world.write(families.G_SITES, SiteSpec(site="milan"), site="milan")
        applied = await world.apply(spec())
        body = ChainRequest.model_validate({"spec": spec()}).spec
        await world.write(
            families.G_INTENTS, Intent(spec=body, request_revision=applied["revision"]), **NAMES
        )
        await world.write(families.G_STATUS, ChainStatus(phase=Phase.RUNNING), **NAMES)
        row = (await world.get("/v1/chains"))["chains"][0]
        assert (row["phase"], row["observed"]) == ("running", True)
        detail = await world.get("/v1/chains/acme/shop")
        assert detail["record"]["spec"]["chain"] == "shop"
        assert (await client.delete(path_of(spec()))).json()["result"] == "deleted"


async def test_lists_are_paged_by_name() -> None:
    """A tier of thousands of chains is read in pages that never repeat nor lose one."""
    async with api_world() as world:
        names = [f"c{number}" for number in range(5)]
        for name in names:
            await world.apply(spec(chain=name))
        seen, after = [], ""
        for _ in range(3):
            page = await world.get(f"/v1/chains?limit=2&after={after}")
            seen += [row["chain"] for row in page["chains"]]
            after = f"acme/{seen[-1]}"
        assert seen == names
        assert page["more"] is False


async def test_pages_are_in_the_order_of_names_not_of_their_text() -> None:
    """ "a-b" sorts before "a/" as text and behind "a" as a name: a cursor of one kind over a list of the other loses
    chains."""
    async with api_world() as world:
        for tenant in ("a", "a-b", "a.b", "a0"):
            await world.apply(spec(tenant))
        seen: list[str] = []
        after = ""
        while len(seen) < 10:
            page = await world.get(f"/v1/chains?limit=1&after={after}")
            seen += [row["tenant"] for row in page["chains"]]
            after = f"{seen[-1]}/shop"
            if not page["more"]:
                break
        assert seen == ["a", "a-b", "a.b", "a0"]
