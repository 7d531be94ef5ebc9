"""``isthmus agreement`` as a person types it: the page's own example runs, and every mistake is one clear line."""

from __future__ import annotations

import json
import re
import shlex
import time
from pathlib import Path

import pytest

from isthmus.cli import agreement
from isthmus.cli.main import main
from isthmus.federation.agreement import load
from isthmus.identity import TrustDomain
from isthmus.trust import AuthorityStore

PAGE = Path(__file__).parents[3] / "docs" / "agreements.md"
DOMAINS = ("carrier.example", "helvetia.example")
RECORDING = (
    {"key": "/isthmus/v1/outbox/helvetia/intents/acme/web", "value": "{}", "at": 1.0},
    {"key": "/isthmus/v1/outbox/helvetia/intents/rival/web", "value": "{}", "at": 2.0},
    {"key": "/isthmus/v1/vnis/7", "value": "{}", "at": 3.0},
    {"key": "summary/site", "value": "{}", "at": 3.0},
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two operators' authorities and bundles in the working directory, and a recording."""
    monkeypatch.chdir(tmp_path)
    for name in DOMAINS:
        store = AuthorityStore(tmp_path / "authorities" / name, TrustDomain(name))
        store.root(now_s=time.time())
        bundle = tmp_path / f"{name.split('.')[0]}.pem"
        bundle.write_bytes(store.bundle_pem())
        bundle.chmod(0o644)
    (tmp_path / "recording.jsonl").write_text("\n".join(map(json.dumps, RECORDING)))
    return tmp_path


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert found is not None
    return found.group(1)


def run(line: str) -> int:
    return main(shlex.split(line)[1:])


def new(name: str = "alps.yaml") -> Path:
    tier, site = DOMAINS
    assert run(f"isthmus agreement new {name} --tier {tier} --site {site} --tenant acme") == 0
    return Path(name)


def test_the_example_of_the_page_runs_line_by_line(capsys: pytest.CaptureFixture[str]) -> None:
    """What is documented is what happens."""
    for line in block("sh").strip().splitlines():
        assert run(line) == 0, f"{line}\n{capsys.readouterr().err}"
    told = capsys.readouterr().out
    assert "signed by carrier.example; helvetia.example has still to sign" in told
    assert "both have signed" in told
    assert "alps version 1 is in force" in told
    assert "summary/site  totals; never host, instance" in told
    assert "helvetia.example may keep what it gets in: ch" in told
    assert "crossed    /isthmus/v1/outbox/helvetia/intents/acme/web" in told
    assert "intents/rival/web: agreement-denied" in told
    assert "summary/site: agreement-aggregation" in told
    assert "root-denied: 1" in told


def test_the_terms_of_the_page_are_good_terms(capsys: pytest.CaptureFixture[str]) -> None:
    """The YAML shown reads, signs and verifies."""
    Path("page.yaml").write_text(block("yaml"))
    Path("page.yaml").chmod(0o644)
    for name in DOMAINS:
        assert run(f"isthmus agreement sign page.yaml --authority authorities/{name}") == 0
    roots = " ".join(f"--roots {name}={name.split('.')[0]}.pem" for name in DOMAINS)
    capsys.readouterr()
    assert run(f"isthmus agreement verify page.yaml {roots} --json") == 0
    assert set(json.loads(capsys.readouterr().out)["signers"]) == set(DOMAINS)
    terms = load(Path("page.yaml")).agreement
    assert terms.flow(*reversed(DOMAINS)).clauses[0].min_members == 3


def test_simulation_as_json_has_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    """For scripts: one document per direction."""
    new()
    capsys.readouterr()
    assert run("isthmus agreement simulate alps.yaml recording.jsonl --peer helvetia --json") == 0
    down, up = json.loads(capsys.readouterr().out)
    assert (down["counts"]["crossed"], down["counts"]["outside"], down["records"]) == (1, 1, 4)
    assert down["bytes"] == len("intents/acme/web") + 2
    assert up["reasons"]["agreement-aggregation"] == 1
    assert (
        run("isthmus agreement simulate alps.yaml recording.jsonl --sender helvetia.example") == 0
    )
    assert "carrier.example to" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("new alps.yaml --tier carrier.example --site helvetia.example", 1, ("exists", "another name")),
        ("new b.yaml --tier Carrier --site helvetia.example", 2, ("trust_domain", "lower case", "Carrier")),
        ("new b.yaml --tier a.example --site a.example", 2, ("two different",)),
        ("new b.yaml --tier a.example --site b.example --tenant A/B", 2, ("pattern",)),
        ("new b.yaml --tier a.example", 2, ("--site",)),
        ("sign alps.yaml --authority nowhere", 1, ("nowhere", "missing")),
        ("sign none.yaml --authority authorities/carrier.example", 1, ("none.yaml", "missing")),
        ("verify alps.yaml", 1, ("alps.yaml", "carrier.example has not signed", "agreement sign")),
        ("verify alps.yaml --roots x", 2, ("--roots x", "DOMAIN=FILE.pem")),
        ("show recording.jsonl", 1, ("recording.jsonl", "not an agreement")),
        ("simulate alps.yaml", 2, ("--from",)),
        ("simulate alps.yaml none.jsonl", 1, ("none.jsonl",)),
        ("simulate alps.yaml alps.yaml", 1, ("alps.yaml:1", "key, value and at")),
        ("simulate alps.yaml recording.jsonl --peer a/b", 2, ("--peer",)),
        ("simulate alps.yaml recording.jsonl --sender x.example", 1, ("x.example", "senders are")),
        ("simulate alps.yaml --from 127.0.0.1:1", 3, ("127.0.0.1:1", "is it an etcd")),
    ],
)  # fmt: skip
def test_each_mistake_is_one_line_with_the_fix(
    line: str,
    code: int,
    words: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No stack trace; file or option, value, and what to do."""
    monkeypatch.setattr(agreement, "ANSWER_S", 0.5)
    new()
    capsys.readouterr()
    assert run(f"isthmus agreement {line}") == code
    told = capsys.readouterr().err
    assert "Traceback" not in told
    for word in words:
        assert word in told, told


def test_a_changed_term_is_noticed_by_verify(capsys: pytest.CaptureFixture[str]) -> None:
    """Who edits after signing signs again."""
    path = new()
    for name in DOMAINS:
        assert run(f"isthmus agreement sign alps.yaml --authority authorities/{name}") == 0
    path.write_text(path.read_text().replace("wires/", "wires/w/"))
    path.chmod(0o644)
    roots = " ".join(f"--roots {name}={name.split('.')[0]}.pem" for name in DOMAINS)
    assert run(f"isthmus agreement verify alps.yaml {roots}") == 1
    assert "sign them again" in capsys.readouterr().err
    assert run("isthmus agreement sign alps.yaml --authority authorities/carrier.example") == 0
    third = AuthorityStore(
        Path("authorities/third.example").absolute(), TrustDomain("third.example")
    )
    third.root(now_s=time.time())
    assert run("isthmus agreement sign alps.yaml --authority authorities/third.example") == 1
    assert "is of third.example" in capsys.readouterr().err
