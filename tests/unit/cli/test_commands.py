"""The command against a live API: what people read, what scripts get, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable

from tests.live_api import LiveApi
from tests.support import eventually
from tests.unit.cli.chains import NAMES, SpecFile, ageless, refuse_chain, run_chain
from tests.unit.cli.conftest import Command

from isthmus.cli.client import PAGE
from isthmus.contract import families
from isthmus.contract.alarms import raised
from isthmus.contract.chain import ChainStatus, Explanation, Phase
from isthmus.contract.instance import HostInventory, OperationalEvent, SiteSummary
from isthmus.kv.errors import Unavailable
from isthmus.site.figures import SiteFacts, body


def test_get_shows_an_aligned_table(live: LiveApi, isthmus: Command, spec_file: SpecFile) -> None:
    """The whole answer as a golden text: columns line up, nothing is coloured in a pipe."""
    isthmus("apply", "-f", spec_file("shop"), "-f", spec_file("blog"))
    run_chain(live)
    assert isthmus("get").stdout == (
        "CHAIN      PHASE    FUNCTIONS  HOPS  LATENCY/BUDGET  REASON\n"
        "acme/blog  pending  guard      0/0   -/1000.0 ms     no report yet\n"
        "acme/shop  running  guard      2/2   1.2/1000.0 ms   -\n"
    )
    wide = isthmus("get", "acme/shop", "-o", "wide").stdout
    assert "milan/h1/guard" in wide
    assert isthmus("get", "-o", "name").stdout == "acme/blog\nacme/shop\n"
    assert isthmus.json("get", "acme/shop")["chains"][0]["phase"] == "running"
    assert json.loads(isthmus("get", "-o", "json").stdout)["chains"][1]["chain"] == "shop"


def test_get_reads_every_page(live: LiveApi, isthmus: Command) -> None:
    """More chains than one page holds are still all listed."""
    status = ChainStatus(phase=Phase.RUNNING)

    async def write_all() -> None:
        from isthmus.contract import Stamp, seal

        value = seal(status, Stamp(origin="t", incarnation="1"), as_of=0)
        for number in range(PAGE + 5):
            key = families.STATUS.key(tenant="acme", chain=f"c{number:05}")
            await live.store.put(key, value)

    live.do(write_all())
    names = isthmus("get", "-o", "name").stdout.splitlines()
    assert names == [f"acme/c{number:05}" for number in range(PAGE + 5)]


def test_describe_and_explain_tell_the_whole_story(
    live: LiveApi, isthmus: Command, spec_file: SpecFile
) -> None:
    """Counters of each function, the number that failed, the nearest relaxation."""
    isthmus("apply", "-f", spec_file("shop"))
    run_chain(live)
    text = isthmus("describe", "acme/shop").stdout
    assert "Phase:      running\n" in text
    assert "guard     firewall  milan  h1    i-0123456789ab  1     running  42" in text
    assert "  bandwidth_kbps: 10000" in text
    isthmus("apply", "-f", spec_file("shop", extra="priority: 9\n"))
    refuse_chain(live)
    assert ageless(isthmus("explain", "acme/shop").stdout) == (
        "acme/shop: running\n\n"
        "placer, Ns ago:\n"
        "  Decision:         refused\n"
        "  Constraint:       cpu\n"
        "  Reason:           guard needs 900 millicores, 500 are free\n"
        "  Would fit:        cpu_milli 500\n"
        "  cpu_milli_needed: 900\n"
        "  CANDIDATE  VERDICT        COST\n"
        "  h1         cpu 500 < 900  3.5\n"
    )
    assert "the newest request was refused" in isthmus("get").stdout
    assert isthmus.json("explain", "acme/shop")["explanations"][0]["current"] is True
    assert isthmus.json("describe", "acme/shop")["request"]["generation"] == 2


def test_delete_and_what_is_not_there(isthmus: Command, spec_file: SpecFile) -> None:
    """Exit 4 for no such chain, 0 with --if-exists; what could be deleted is deleted."""
    isthmus("apply", "-f", spec_file("shop"), "-f", spec_file("blog"))
    assert "acme/shop deleted" in isthmus("delete", "acme/shop").stdout
    for arguments in (["get"], ["describe"], ["explain"], ["delete"]):
        failed = isthmus(*arguments, "acme/shop", code=4)
        assert failed.stderr.startswith("isthmus: there is no chain acme/shop here")
    assert isthmus("delete", "acme/shop", "--if-exists").stdout == ""
    isthmus("delete", "acme/nope", "acme/blog", code=4)
    assert isthmus.json("get")["chains"] == []
    error = json.loads(isthmus("delete", "acme/shop", "--json", code=4).stderr)["error"]
    assert error["code"] == "not-found"


def test_sites_events_and_status(live: LiveApi, isthmus: Command) -> None:
    """A site shows itself, its hosts, its events and its store."""
    host = HostInventory(host="h1", cpu_milli=4000, memory_mib=2048, attachments=("a", "b"))
    live.write(families.INVENTORY, host, host="h1")
    assert ageless(isthmus("sites").stdout).splitlines()[-1] == (
        "h1    up     Ns     4000m  2048 MiB  kernel      none   a,b"
    )
    assert ageless(isthmus("get", "sites").stdout) == ageless(isthmus("sites").stdout)
    assert isthmus.json("sites")["sites"][0]["site"] == "milan"
    for number in range(3):
        event = OperationalEvent(kind="healed", subject="acme/shop", message=f"number {number}")
        live.write(families.EVENTS, event, component="healer", id=f"e{number}")
    lines = isthmus("events", "--limit", "2").stdout.splitlines()
    assert [line.rsplit("  ", 1)[1] for line in lines] == ["number 1", "number 2"]
    assert "  info     healer  healed  acme/shop  number 1" in lines[0]
    text = isthmus("status").stdout
    assert "Tier:     site milan\n" in text
    assert "Health:   ok\n" in text


def test_sites_show_free_slots_the_hottest_host_and_the_worst_alarms(
    live: LiveApi, isthmus: Command
) -> None:
    """Issue 7 point 3: an operator of many sites sees where to look first, and how large a function still fits."""
    hosts = [HostInventory(host=f"h{n}", cpu_milli=4000, memory_mib=64) for n in (1, 2, 3)]
    alarms = raised({"hosts-down": (1, 4), "chains-refused": (2, 9)})
    facts = SiteFacts(hosts, {"h1": (3400, 0)}, [], [], 900, {"h1": 3600}, alarms)
    fields, told = body(facts, None, 1_800_000_000.0)
    live.write(families.SITE_SUMMARY, SiteSummary(**fields, told=told), ttl_s=15.0)
    text = isthmus("sites", "-o", "wide").stdout
    assert "2 of 4000m, 1 of 500m" in text
    assert "90%" in text
    raised_rows = [line.split("  ", 3)[1:] for line in text.splitlines()[-2:]]
    assert [row[0].strip() for row in raised_rows] == ["error", "warning"]
    assert text.splitlines()[-2].endswith("2027-01-15T08:00:00Z  1 of 4 hosts carry no packets")
    assert text.splitlines()[-1].endswith("2 of 9 chains are refused")
    narrow = isthmus("sites").stdout
    assert "carry no packets" in narrow
    assert "HOTTEST" not in narrow


def test_foreign_text_cannot_touch_the_terminal(
    live: LiveApi, isthmus: Command, spec_file: SpecFile
) -> None:
    """Attack 20: reasons, events and specs come from stores that others write to."""
    isthmus("apply", "-f", spec_file("shop"))
    evil = "\x1b[2J\x1b]0;owned\x07\u202egnp\r\nfake line"
    run_chain(live, reason=evil)
    refused = Explanation(decision="refused", constraint=evil, reason=evil)
    live.write(families.EXPLAIN, refused, component="intake", **NAMES)
    event = OperationalEvent(kind="healed", subject=evil, message=evil)
    live.write(families.EVENTS, event, component="healer", id="e1")
    for arguments in (["get"], ["get", "-o", "wide"], ["describe", "acme/shop"],
                      ["explain", "acme/shop"], ["events"], ["get", "events", "-o", "name"]):  # fmt: skip
        text = isthmus(*arguments).stdout
        assert "\\x1b" in text, arguments
        for line in text.splitlines():
            assert line.isascii()
            assert line.isprintable()
    assert "\x1b" not in isthmus("describe", "acme/shop", "--json").stdout


def test_an_api_without_a_store_is_exit_3(live: LiveApi, isthmus: Command) -> None:
    """A script tells "nobody there" from "no"; the text says what it means."""

    def away(call: str, key: str) -> None:
        raise Unavailable("gone")

    live.view.faults.before = away
    failed = isthmus("get", code=3)
    assert failed.stderr == (
        "isthmus: the store of this tier does not answer; what runs goes on running; "
        "try again; 'isthmus doctor' at the site says what is wrong\n"
    )
    assert json.loads(isthmus("get", "--json", code=3).stderr)["error"]["code"] == (
        "store-unreachable"
    )


def test_events_are_followed_through_a_break_of_the_stream(live: LiveApi) -> None:
    """A real process follows; the API's watch breaks, the process resumes; Ctrl-C ends it with 130."""
    arguments = [sys.executable, "-m", "isthmus.cli", "events", "--follow", "--json"]
    process = subprocess.Popen(
        [*arguments, "--api", live.api],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    try:
        for number in range(4):
            event = OperationalEvent(kind="healed", subject="acme/shop", message=f"n{number}")
            live.write(families.EVENTS, event, component="healer", id=f"e{number}")
            assert json.loads(process.stdout.readline())["message"] == f"n{number}"
            if number == 1:
                live.do(_break_watches(live))
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    finally:
        process.kill()
        _, notices = process.communicate()
    assert "isthmus: the store of this tier does not answer" in notices
    assert "resuming" in notices


async def _break_watches(live: LiveApi) -> None:
    """The open watch of the API ends with an error, once, as when its etcd goes away."""

    def away(call: str, key: str) -> None:
        if call == "watch":
            live.view.faults.before = lambda call, key: None
            raise Unavailable("gone")

    async def watched() -> bool:
        return live.store.watch_count > 0

    standing: Callable[[], bool | Awaitable[bool]] = watched
    await eventually(standing, "the API watches the events")
    live.view.faults.before = away
    live.view.cut()
