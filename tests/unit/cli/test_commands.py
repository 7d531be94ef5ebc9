"""The command against a live API: what people read, what scripts get, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.live_api import LiveApi, live_api
from tests.support import eventually
from tests.unit.cli.conftest import Command

from isthmus.cli import show
from isthmus.cli.client import PAGE
from isthmus.cli.main import COMMANDS, cli, main
from isthmus.contract import families
from isthmus.contract.chain import (
    Candidate,
    ChainRecord,
    ChainStatus,
    Explanation,
    FunctionSpec,
    FunctionStatus,
    Phase,
    Segment,
    Terminal,
)
from isthmus.contract.instance import CatalogEntry, HostInventory, OperationalEvent
from isthmus.kv.errors import AmbiguousOutcome, Unavailable

SpecFile = Callable[..., str]
NAMES: dict[str, Any] = {"tenant": "acme", "chain": "shop"}


def ageless(text: str) -> str:
    """The text with every age replaced, for a test never depends on how long it took."""
    return re.sub(r"\b[0-9]+s\b", "Ns", text)


def run_chain(live: LiveApi, reason: str = "") -> None:
    """The site's microcontrollers admit the chain and report that it runs."""
    end = Terminal(kind="attachment", name="customer")
    guard = FunctionSpec(name="guard", type="firewall")
    segment = Segment(tenant="acme", chain="shop", left=end, right=end, functions=(guard,))
    live.write(families.SPECS, ChainRecord(segment=segment), **NAMES)
    status = ChainStatus(
        phase=Phase.RUNNING,
        reason=reason,
        path=("milan/h1/guard",),
        connected_hops=2,
        hops=2,
        model_latency_ms=1.25,
        functions=(
            FunctionStatus(
                function="guard",
                type="firewall",
                site="milan",
                host="h1",
                instance="i-0123456789ab",
                incarnation=1,
                phase="running",
                packets_forward=42,
            ),
        ),
    )
    live.write(families.STATUS, status, **NAMES)


def refuse_chain(live: LiveApi) -> None:
    """The placer says no."""
    entry = live.do(live.store.get(families.REQUESTS.key(**NAMES)))
    assert entry is not None
    why = Explanation(
        decision="refused",
        constraint="cpu",
        reason="guard needs 900 millicores, 500 are free",
        candidates=(Candidate(name="h1", verdict="cpu 500 < 900", cost=3.5),),
        nearest_relaxation="cpu_milli 500",
        input_revision=entry.mod_revision,
        figures={"cpu_milli_needed": 900},
    )
    live.write(families.EXPLAIN, why, component="placer", **NAMES)


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


def test_no_api_is_exit_3_and_says_who_named_it(tmp_path: Path) -> None:
    """Absent socket, dead socket, nothing listening, something else listening."""
    runner = CliRunner()
    for api in (f"unix:{tmp_path}/none.sock", "http://127.0.0.1:9"):
        result = runner.invoke(cli, ["get", "--api", api])
        assert result.exit_code == 3
        assert f"cannot reach the API at {api}, named by --api" in result.stderr


def test_the_lab_names_its_apis(
    live: LiveApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec_file: SpecFile
) -> None:
    """``--at`` and the default come from the lab's state file; ISTHMUS_API goes before the default."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("ISTHMUS_API", raising=False)
    run = CliRunner().invoke
    nothing = run(cli, ["get"])
    assert nothing.exit_code == 3
    assert "no API is named" in nothing.stderr
    state = tmp_path / "isthmus" / "lab.json"
    state.parent.mkdir()
    gone = str(tmp_path / "gone.sock")
    apis = {"global": gone, "milan": str(live.settings.socket_path)}
    state.write_text(json.dumps({"name": "demo", "apis": apis}))
    assert run(cli, ["get", "--at", "milan"]).exit_code == 0
    stale = run(cli, ["get"])
    assert stale.exit_code == 3
    assert "does the lab still run? see 'isthmus lab status'" in stale.stderr
    unknown = run(cli, ["get", "--at", "rome"])
    assert unknown.exit_code == 2
    assert "(there are: global, milan)" in unknown.stderr
    monkeypatch.setenv("ISTHMUS_API", live.api)
    assert run(cli, ["get"]).exit_code == 0
    both = run(cli, ["get", "--at", "milan", "--api", live.api])
    assert both.exit_code == 2
    state.write_text("[broken")
    monkeypatch.delenv("ISTHMUS_API")
    assert run(cli, ["get"]).exit_code == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ["get", "acme"],
        ["get", "ACME/shop"],
        ["get", "acme/../x"],
        ["get", "acme/shop/x"],
        ["describe", "acme"],
        ["delete"],
        ["apply"],
        ["apply", "-f", "/nonexistent.yaml"],
        ["apply", "-f", "/"],
        ["get", "--timeout", "0"],
        ["get", "--api", "ftp://x"],
        ["get", "--api", "http://user:secret@x"],
        ["get", "--api", "unix:relative"],
        ["get", "--api", "http://x:99999"],
        ["get", "--api", "http://x/path"],
        ["events", "--limit", "0"],
        ["nonsense"],
        ["token", "new", "--file", "x"],
        ["token", "new", "--file", "x", "--operator", "--tenant", "a"],
    ],
)
def test_wrong_usage_is_exit_2(arguments: list[str]) -> None:
    """Before anything is asked or written."""
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2, result.output


def test_tokens_come_from_private_files_and_never_travel_in_clear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack 22: a loose file is refused; so is http beyond this machine."""
    monkeypatch.delenv("ISTHMUS_API", raising=False)
    path = tmp_path / "token"
    path.write_text("isthmus_x")
    path.chmod(0o644)
    run = CliRunner().invoke
    loose = run(cli, ["get", "--api", "http://127.0.0.1:9", "--token-file", str(path)])
    assert loose.exit_code == 2
    assert "mode 0644 lets others read it; chmod 600" in loose.stderr
    path.chmod(0o600)
    clear = run(cli, ["get", "--api", "http://api.example", "--token-file", str(path)])
    assert clear.exit_code == 2
    assert "a token in clear is a token lost" in clear.stderr


def test_a_tenant_works_with_a_token_over_tcp(tmp_path: Path, spec_file: SpecFile) -> None:
    """The whole way: a token is made, its owner applies; without it the answer is no."""
    tokens = tmp_path / "tokens.json"
    runner = CliRunner()
    made = runner.invoke(cli, ["token", "new", "--file", str(tokens), "--tenant", "acme"])
    token_file = tmp_path / "token"
    token_file.touch(0o600)
    token_file.write_text(made.stdout)
    from isthmus.deploy.etcd_process import free_port

    port = free_port()
    with live_api(tmp_path, tokens_file=tokens, tcp={"port": port}):
        api = f"http://127.0.0.1:{port}"
        allowed = ["--api", api, "--token-file", str(token_file)]
        applied = runner.invoke(cli, ["apply", "-f", spec_file("shop"), *allowed])
        assert applied.stdout == "chain acme/shop created\n"
        assert runner.invoke(cli, ["sites", *allowed]).exit_code == 1
        refused = runner.invoke(cli, ["get", "--api", api])
        assert refused.exit_code == 1
        assert "no token" in refused.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str) -> None:
    """Issue 3: help with examples; groups show their commands."""
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0
    assert "Example" in result.output or "Commands:" in result.output
    if name in ("apply", "get", "describe", "explain", "delete", "sites", "events", "status"):
        assert "--json" in result.output
        assert "--timeout" in result.output


def test_help_imports_nothing_heavy() -> None:
    """People type it often: no web framework, no HTTP client, no gRPC, no Ray for a help text."""
    program = (
        "import sys; from isthmus.cli.main import main; main(['--help'])\n"
        "heavy = {'fastapi', 'httpx', 'grpc', 'ray', 'pydantic', 'cryptography'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_parts_that_are_not_installed_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain install has a whole command; what is missing is one sentence."""
    from isthmus.cli import machine

    with pytest.raises(Exception, match=r"no isthmus\.nowhere"):
        machine.hand_over("isthmus.nowhere", "run")
    with pytest.raises(Exception, match=r"no isthmus\.deploy\.doctor\.nothing"):
        machine.hand_over("isthmus.deploy.doctor", "nothing")


def test_the_machines_commands_reach_their_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a lab each says so in a sentence; a wrong sabotage names the right ones."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    run = CliRunner().invoke
    assert "none is running" in run(cli, ["lab", "status"]).stdout
    assert json.loads(run(cli, ["lab", "down", "--json"]).stdout) == {"lab": "none was running"}
    outside = run(cli, ["lab", "exec", "milan", "--", "true"])
    assert outside.exit_code == 1
    assert outside.stderr == "isthmus: no lab is running; start one with 'isthmus lab up'\n"
    wrong = run(cli, ["demo", "--sabotage", "nonsense"])
    assert wrong.exit_code == 1
    assert "no-firewall" in wrong.stderr
    for group in ("site", "global"):
        unusable = run(cli, [group, "api", "--settings", str(tmp_path / "none.json")])
        assert unusable.exit_code == 1
        assert "none.json: cannot be read" in unusable.stderr


def test_colours_are_for_terminals_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """And never where NO_COLOR asks for none; widths stay the same."""
    rows = [["a", "running"], ["b", "refused"]]
    plain = show.table(("X", "PHASE"), rows)
    assert "\x1b" not in plain
    monkeypatch.setattr(show, "colourful", lambda: True)
    coloured = show.table(("X", "PHASE"), rows)
    assert "\x1b[32mrunning" in coloured
    assert "\x1b[31mrefused" in coloured


def test_main_gives_exit_codes_without_click(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The console script's own way of ending: codes as promised, messages on standard error."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("ISTHMUS_API", raising=False)
    assert main(["--version"]) == 0
    assert main(["get"]) == 3
    assert main(["get", "x y"]) == 2
    assert main(["get", "--api", f"unix:{tmp_path}/x", "--json"]) == 3
    assert '"code": "unreachable"' in capsys.readouterr().err

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("isthmus.cli.session.resolve", interrupted)
    assert main(["get"]) == 130
    assert capsys.readouterr().err.endswith("isthmus: interrupted\n")


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
