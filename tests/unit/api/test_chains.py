"""Apply, read, delete: what a caller asks, and what the store then holds (issue 3, points 8 and 9)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.api_world import ApiWorld, api_world, error_of, path_of, spec

from isthmus.contract import Tier, families, unseal
from isthmus.contract.chain import (
    ChainPlan,
    ChainRecord,
    ChainRequest,
    ChainStatus,
    Explanation,
    FunctionSpec,
    FunctionStatus,
    Phase,
    Segment,
    Terminal,
)
from isthmus.contract.instance import CatalogEntry
from isthmus.contract.world import Intent, SiteSpec

NAMES: dict[str, Any] = {"tenant": "acme", "chain": "shop"}


def segment() -> Segment:
    """What a site carries of the chain."""
    end = Terminal(kind="attachment", name="customer")
    return Segment(tenant="acme", chain="shop", left=end, right=end)


async def stored(world: ApiWorld) -> Any:
    """The request as it lies in the store."""
    entry = await world.store.get(families.REQUESTS.key(**NAMES))
    assert entry is not None
    return unseal(entry.value, ChainRequest)


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


async def test_a_chain_runs_once_its_newest_request_was_looked_at() -> None:
    """``apply --wait`` must not take yesterday's report for today's: ``observed`` tells them apart."""
    async with api_world() as world:
        first = (await world.apply(spec()))["revision"]
        await world.write(
            families.SPECS, ChainRecord(segment=segment(), request_revision=first), **NAMES
        )
        running = ChainStatus(phase=Phase.RUNNING, path=("milan/h1/guard",))
        await world.write(families.STATUS, running, **NAMES)
        row = (await world.get("/v1/chains"))["chains"][0]
        assert (row["phase"], row["observed"]) == ("running", True)
        second = (await world.apply(spec(priority=2)))["revision"]
        row = (await world.get("/v1/chains"))["chains"][0]
        assert (row["phase"], row["observed"]) == ("running", False)
        await world.write(families.STATUS, running, **NAMES)
        assert (await world.get("/v1/chains/acme/shop"))["row"]["observed"] is False
        await world.write(
            families.SPECS, ChainRecord(segment=segment(), request_revision=second), **NAMES
        )
        assert (await world.get("/v1/chains/acme/shop"))["row"]["observed"] is False
        await world.write(families.STATUS, running, **NAMES)
        assert (await world.get("/v1/chains/acme/shop"))["row"]["observed"] is True


async def test_an_intake_that_leaves_the_revision_out_is_understood_by_what_it_admitted() -> None:
    """An unchanged segment is not written again: what it carries decides whether it is the newest request's."""
    async with api_world() as world:
        guard = FunctionSpec(name="guard", type="firewall")
        record = ChainRecord(segment=segment().model_copy(update={"functions": (guard,)}))
        await world.write(families.SPECS, record, **NAMES)
        await world.apply(spec(priority=1))
        running = ChainStatus(
            phase=Phase.RUNNING, functions=(FunctionStatus(function="guard", phase="running"),)
        )
        await world.write(families.STATUS, running, **NAMES)
        assert (await world.get("/v1/chains"))["chains"][0]["observed"] is True
        await world.apply(spec(latency_budget_ms=20.0))
        await world.write(families.STATUS, running, **NAMES)
        assert (await world.get("/v1/chains"))["chains"][0]["observed"] is True
        await world.apply(spec(priority=5))
        await world.write(families.STATUS, running, **NAMES)
        assert (await world.get("/v1/chains"))["chains"][0]["observed"] is False


async def test_a_report_of_other_functions_is_not_about_the_newest_request() -> None:
    """A reporter that has not seen the new plan yet says "running" of the old functions."""
    async with api_world() as world:
        revision = (await world.apply(spec()))["revision"]
        record = ChainRecord(segment=segment(), request_revision=revision)
        await world.write(families.SPECS, record, **NAMES)
        old = ChainStatus(phase=Phase.RUNNING, functions=(FunctionStatus(function="gone"),))
        await world.write(families.STATUS, old, **NAMES)
        assert (await world.get("/v1/chains"))["chains"][0]["observed"] is False


async def test_a_refusal_is_seen_before_any_report_of_the_chain() -> None:
    """Intake explains at once; the reporter comes round later."""
    async with api_world() as world:
        revision = (await world.apply(spec()))["revision"]
        no = Explanation(
            decision="refused",
            constraint="cpu",
            reason="needs 900 millicores, 500 are free",
            input_revision=revision,
        )
        await world.write(families.EXPLAIN, no, component="placer", **NAMES)
        row = (await world.get("/v1/chains"))["chains"][0]
        assert (row["phase"], row["decision"], row["observed"]) == ("refused", "refused", True)
        assert row["reason"] == "needs 900 millicores, 500 are free"
        view = await world.get("/v1/chains/acme/shop/explain")
        assert view["explanations"][0]["component"] == "placer"
        assert view["explanations"][0]["explanation"]["constraint"] == "cpu"
        await world.apply(spec(priority=2))
        row = (await world.get("/v1/chains/acme/shop"))["row"]
        assert (row["phase"], row["observed"]) == ("pending", False)


async def test_a_refused_change_leaves_the_running_chain_running() -> None:
    """The phase is the chain's, the decision is the newest request's."""
    async with api_world() as world:
        first = (await world.apply(spec()))["revision"]
        record = ChainRecord(segment=segment(), request_revision=first)
        await world.write(families.SPECS, record, **NAMES)
        await world.write(families.STATUS, ChainStatus(phase=Phase.RUNNING), **NAMES)
        second = (await world.apply(spec(priority=2)))["revision"]
        no = Explanation(decision="refused", reason="no", input_revision=second)
        await world.write(families.EXPLAIN, no, component="intake", **NAMES)
        row = (await world.get("/v1/chains/acme/shop"))["row"]
        assert (row["phase"], row["decision"], row["observed"]) == ("running", "refused", True)


async def test_a_report_past_its_time_to_live_says_unknown() -> None:
    """G12: a fact older than its age is "unknown", with what it was; a second before it still counts."""
    async with api_world() as world:
        await world.apply(spec())
        status = ChainStatus(
            phase=Phase.RUNNING,
            connected_hops=2,
            hops=2,
            path=("milan/h1/guard",),
            functions=(FunctionStatus(function="guard", phase="running"),),
        )
        await world.write(families.STATUS, status, ttl_s=10.0, **NAMES)
        world.store.advance(10.0)
        assert (await world.get("/v1/chains"))["chains"][0]["phase"] == "running"
        world.store.advance(0.5)
        row = (await world.get("/v1/chains"))["chains"][0]
        assert (row["phase"], row["path"], row["connected_hops"]) == ("unknown", [], 0)
        assert row["reason"] == "last report (running) is 10 s old, believed for 10 s"
        view = (await world.get("/v1/chains/acme/shop"))["status"]
        assert (view["phase"], view["last_phase"]) == ("unknown", "running")
        assert view["functions"][0]["phase"] == "unknown"
        assert (await world.get("/v1/status"))["chains"]["unknown"] == 1


async def test_a_value_that_breaks_the_contract_takes_nothing_down() -> None:
    """One bad writer must not make the list of all chains unreadable."""
    async with api_world() as world:
        await world.apply(spec())
        await world.store.put(families.STATUS.key(**NAMES), b"\xff not json")
        await world.store.put(families.SPECS.key(**NAMES), b'{"schema":"ChainStatus/1","body":{}}')
        await world.apply(spec(chain="blog"))
        listed = (await world.get("/v1/chains"))["chains"]
        assert [(row["chain"], row["phase"]) for row in listed] == [
            ("blog", "pending"),
            ("shop", "pending"),
        ]


async def test_an_unreadable_request_can_be_applied_over_and_deleted() -> None:
    """Whatever got into the key, the operator's way out works."""
    async with api_world() as world, world.client() as client:
        await world.store.put(families.REQUESTS.key(**NAMES), b"garbage")
        assert (await world.apply(spec()))["result"] == "updated"
        assert (await client.delete(path_of(spec()))).status_code == 200


async def test_a_detail_holds_request_record_plan_and_status() -> None:
    """``describe`` needs one question, not four."""
    async with api_world() as world:
        revision = (await world.apply(spec()))["revision"]
        record = ChainRecord(segment=segment(), request_revision=revision)
        await world.write(families.SPECS, record, **NAMES)
        await world.write(families.PLANS, ChainPlan(epoch=4), **NAMES)
        detail = await world.get("/v1/chains/acme/shop")
        assert detail["request"]["spec"]["tenant"] == "acme"
        assert detail["record"]["request_revision"] == revision
        assert detail["plan"]["epoch"] == 4
        assert detail["status"] is None


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
