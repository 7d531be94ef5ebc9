"""Applying chains by command: what became of each, what is refused and where, how long it is waited for."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.live_api import LiveApi
from tests.unit.cli.chains import SpecFile, refuse_chain, run_chain
from tests.unit.cli.conftest import Command

from isthmus.contract import families
from isthmus.contract.instance import CatalogEntry
from isthmus.kv.errors import AmbiguousOutcome


def test_apply_says_what_became_of_each_chain(isthmus: Command, spec_file: SpecFile) -> None:
    """Created, unchanged, updated: the words a person needs after the third try."""
    both = ["apply", "-f", spec_file("shop"), "-f", spec_file("blog")]
    assert isthmus(*both).stdout == "chain acme/shop created\nchain acme/blog created\n"
    assert "acme/shop is already so: nothing changed" in isthmus(*both).stdout
    path = spec_file("shop", extra="priority: 7\n")
    assert (
        "existed with another spec: updated to generation 2" in isthmus("apply", "-f", path).stdout
    )
    (result,) = isthmus.json("apply", "-f", path)["results"]
    assert (result["result"], result["generation"]) == ("unchanged", 2)


def test_apply_reads_standard_input(isthmus: Command, spec_file: SpecFile) -> None:
    """Generated specs need no file; their mistakes are in "<stdin>"."""
    text = Path(spec_file("shop")).read_text()
    assert isthmus("apply", "-f", "-", stdin=text).stdout == "chain acme/shop created\n"
    wrong = isthmus("apply", "-f", "-", stdin=text + "prioritty: 2\n", code=1)
    assert wrong.stderr.splitlines()[0] == (
        "isthmus: <stdin>:7: prioritty: unknown field 'prioritty' (found: 2); "
        "did you mean 'priority'?"
    )


def test_a_mistake_in_one_file_applies_nothing_of_any(
    isthmus: Command, spec_file: SpecFile
) -> None:
    """Half an apply is worse than none; with --json the mistakes are data."""
    files = ["-f", spec_file("shop"), "-f", spec_file("blog", extra="priority: x\n")]
    failed = isthmus("apply", *files, code=1)
    assert failed.stderr.endswith("1 mistake in the specs; nothing was applied\n")
    assert isthmus.json("get")["chains"] == []
    told = isthmus("apply", *files, "--json", code=1).stderr.splitlines()[-1]
    assert json.loads(told)["error"]["code"] == "spec-refused"


def test_the_same_chain_in_two_files_is_refused(isthmus: Command, spec_file: SpecFile) -> None:
    """Which one is meant? The command does not guess."""
    files = ["-f", spec_file("shop"), "-f", spec_file("shop", name="other.yaml")]
    assert "chain acme/shop is also in" in isthmus("apply", *files, code=1).stderr


def test_what_the_api_refuses_is_told_with_file_and_line(
    live: LiveApi, isthmus: Command, spec_file: SpecFile
) -> None:
    """The API knows the field, the command knows where it stands."""
    entry = CatalogEntry(type="firewal", version="1")
    live.write(families.CATALOG, entry, type="firewal", version="1")
    path = spec_file("shop")
    assert isthmus("apply", "-f", path, code=1).stderr == (
        f'isthmus: {path}:6: functions[0].type: unknown VNF type (found: "firewall"); '
        "did you mean 'firewal'?\nisthmus: 1 of 1 refused\n"
    )


def test_dry_run_writes_nothing(isthmus: Command, spec_file: SpecFile) -> None:
    """It says that the spec is valid, and leaves no chain."""
    done = isthmus("apply", "-f", spec_file("shop"), "--dry-run", "--wait")
    assert done.stdout == "chain acme/shop is valid; nothing was written (dry run)\n"
    assert isthmus.json("get")["chains"] == []


def test_wait_ends_when_the_chain_runs(
    live: LiveApi, isthmus: Command, spec_file: SpecFile
) -> None:
    """The sites' report comes while the command waits."""

    async def site() -> None:
        async for batch in live.store.watch(families.REQUESTS.prefix()):
            if batch.events:
                return

    seen = asyncio.run_coroutine_threadsafe(site(), live.loop)
    seen.add_done_callback(lambda _: asyncio.run_coroutine_threadsafe(_report(live), live.loop))
    done = isthmus("apply", "-f", spec_file("shop"), "--wait")
    assert done.stdout == "chain acme/shop created\n"
    assert done.stderr.splitlines()[-1] == "acme/shop: running"


async def _report(live: LiveApi) -> None:
    await asyncio.to_thread(run_chain, live)


def test_wait_ends_when_the_chain_is_refused(
    live: LiveApi, isthmus: Command, spec_file: SpecFile
) -> None:
    """Exit 1 and the number that failed."""
    path = spec_file("shop")
    isthmus("apply", "-f", path)
    refuse_chain(live)
    failed = isthmus("apply", "-f", path, "--wait", code=1)
    assert failed.stderr.splitlines()[-1] == (
        "isthmus: acme/shop was refused: guard needs 900 millicores, 500 are free"
    )
    answer = isthmus("apply", "-f", path, "--wait", "--json", code=1)
    assert "was refused" in json.loads(answer.stdout)["errors"][0]


def test_wait_gives_up_at_its_timeout(isthmus: Command, spec_file: SpecFile) -> None:
    """Never for ever; and it says where the chain stands."""
    path = spec_file("shop")
    failed = isthmus("apply", "-f", path, "--wait", "--timeout", "0.5", code=1)
    assert "acme/shop does not run after 0.5 s: pending (no report yet)" in failed.stderr


def test_a_lost_answer_is_settled_by_repeating(
    live: LiveApi, isthmus: Command, spec_file: SpecFile
) -> None:
    """G3: the first write was applied, its answer was lost; the chain exists once."""
    lost: list[str] = []

    def lose(call: str, key: str) -> None:
        if not lost:
            lost.append(call)
            raise AmbiguousOutcome("the link broke")

    live.view.faults.after = lose
    done = isthmus("apply", "-f", spec_file("shop"))
    assert done.stdout == "chain acme/shop is already so: nothing changed\n"
    assert lost == ["txn"]
