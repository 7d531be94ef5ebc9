"""What the API says became of a chain: which phase, by which report, and when it does not know (issue 3, point 9)."""

from __future__ import annotations

from tests.api_world import api_world, path_of, spec
from tests.unit.api.shop import NAMES, segment

from isthmus.contract import families
from isthmus.contract.chain import (
    ChainPlan,
    ChainRecord,
    ChainStatus,
    Explanation,
    FunctionSpec,
    FunctionStatus,
    Phase,
)


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
