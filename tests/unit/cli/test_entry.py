"""How the command is entered: which API, which token, help, wrong usage, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.live_api import LiveApi, live_api
from tests.unit.cli.chains import SpecFile

from isthmus.cli import show
from isthmus.cli.main import COMMANDS, cli, main


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
