"""A store that is gone, silent or full is told at once and never waited for (issue 3, "Bad input and faults")."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.api_world import ApiWorld, api_world, error_of, path_of, spec

from isthmus.api.errors import ApiError, from_store
from isthmus.contract import families
from isthmus.kv.errors import (
    AmbiguousOutcome,
    DeadlineExceeded,
    NoSpace,
    PermissionDenied,
    StoreError,
    Unauthenticated,
    Unavailable,
)

READS = [
    "/v1/chains",
    "/v1/chains/acme/shop",
    "/v1/chains/acme/shop/explain",
    "/v1/sites",
    "/v1/events",
    "/v1/events/stream",
    "/v1/status",
    "/readyz",
]


def failing(world: ApiWorld, error: Exception) -> None:
    """From now on the store answers everything with ``error``."""

    def fail(call: str, key: str) -> None:
        raise error

    world.view.faults.before = fail


@pytest.mark.parametrize("path", READS)
async def test_every_question_to_an_absent_store_is_503(path: str) -> None:
    """With a clear body, and a hint when to come back."""
    async with api_world() as world, world.client() as client:
        failing(world, Unavailable("connection to 127.0.0.1:2379 refused"))
        answer = await client.get(path)
        error = error_of(answer, 503)
        assert error["code"] == "store-unreachable"
        assert answer.headers["Retry-After"] == "2"
        assert "127.0.0.1" not in answer.text


async def test_writes_to_an_absent_store_are_503_and_health_is_still_told() -> None:
    """The process lives, whatever its store does: a supervisor must not restart it for that."""
    async with api_world() as world, world.client() as client:
        failing(world, Unavailable("away"))
        assert error_of(await client.put(path_of(spec()), json=spec()), 503)["code"]
        assert error_of(await client.delete(path_of(spec())), 503)["code"]
        assert (await client.get("/healthz")).status_code == 200


async def test_a_store_that_never_answers_is_given_up_at_the_deadline() -> None:
    """The twin's deadline is ignored on purpose: the API has its own behind it."""
    async with api_world(store_timeout_s=0.01) as world, world.client() as client:

        async def never(*_: Any, **__: Any) -> Any:
            await asyncio.Event().wait()

        world.app.service.desk.store = _Silent(never)  # type: ignore[assignment]
        async with asyncio.timeout(30):
            assert error_of(await client.get("/v1/chains"), 503)["code"] == "store-unreachable"


class _Silent:
    """A store whose calls never return."""

    def __init__(self, never: Any) -> None:
        self.snapshot = self.txn = self.status = never


async def test_a_lost_answer_to_a_write_is_an_unknown_outcome_and_repeating_settles_it() -> None:
    """G3: the write was applied, the answer was lost; the same apply again finds it and changes nothing."""
    async with api_world() as world, world.client() as client:

        def lose(call: str, key: str) -> None:
            raise AmbiguousOutcome("the link broke")

        world.view.faults.after = lose
        error = error_of(await client.put(path_of(spec()), json=spec()), 503)
        assert (error["code"], error["fix"]) == (
            "outcome-unknown",
            "repeat the same request: it is idempotent",
        )
        world.view.faults.after = lambda call, key: None
        assert (await world.apply(spec()))["result"] == "unchanged"
        entry = await world.store.get(families.REQUESTS.key(tenant="acme", chain="shop"))
        assert entry is not None
        assert entry.version == 1


@pytest.mark.parametrize(
    ("failure", "code", "retry_after_s"),
    [
        (Unavailable("x"), "store-unreachable", "2"),
        (TimeoutError(), "store-unreachable", "2"),
        (DeadlineExceeded("x", maybe_applied=False), "store-unreachable", "2"),
        (DeadlineExceeded("x", maybe_applied=True), "outcome-unknown", "2"),
        (PermissionDenied("x"), "store-refuses-api", "30"),
        (Unauthenticated("x"), "store-refuses-api", "30"),
        (NoSpace("x"), "store-full", "30"),
        (StoreError("x"), "store-unreachable", "2"),
    ],
)
def test_each_failure_of_the_store_has_its_own_way_out(
    failure: Exception, code: str, retry_after_s: str
) -> None:
    """An operator acts differently on a full store than on an absent one."""
    error: ApiError = from_store(failure)
    assert (error.status, error.code) == (503, code)
    assert error.headers["Retry-After"] == retry_after_s
    assert error.fix
