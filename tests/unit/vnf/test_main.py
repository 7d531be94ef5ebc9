"""The agent's command line is read by supervisors and by people at night: one clear sentence, exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.vnf.main import parse


def arguments(tmp_path: Path, **changes: str) -> list[str]:
    authority = tmp_path / "ca.pem"
    authority.write_text("ca")
    given = {
        "--instances": str(tmp_path / "instances"),
        "--etcd": "127.0.0.1:2379",
        "--ca": str(authority),
        "--server-name": "etcd.a.site.carrier.example",
    }
    given |= {f"--{name.replace('_', '-')}": value for name, value in changes.items()}
    return [f"{name}={value}" for name, value in given.items()]


def test_what_is_given_arrives(tmp_path: Path) -> None:
    """One of each, so that none is ever dropped on the way."""
    settings = parse(arguments(tmp_path, etcd="[::1]:2379", stats_interval_s="0.5"), "agent")
    assert (settings.upstream.host, settings.upstream.port) == ("::1", 2379)
    assert settings.upstream.server_name == "etcd.a.site.carrier.example"
    assert settings.instances == tmp_path / "instances"
    assert settings.vnf.stats_interval_s == 0.5


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"etcd": "127.0.0.1"}, "--etcd: '127.0.0.1' is not HOST:PORT"),
        ({"etcd": "127.0.0.1:0"}, "HOST:PORT"),
        ({"etcd": "127.0.0.1:http"}, "HOST:PORT"),
        ({"ca": "nowhere.pem"}, "--ca: nowhere.pem is not a file"),
        ({"stats_interval_s": "0"}, "--stats-interval-s: 0.0 is not within 0.05-3600"),
        ({"stats_interval_s": "often"}, "invalid float"),
    ],
)
def test_a_wrong_argument_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, str], said: str
) -> None:
    """No stack trace, and the process ends before it touches anything."""
    with pytest.raises(SystemExit) as ended:
        parse(arguments(tmp_path, **changes), "agent")
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
