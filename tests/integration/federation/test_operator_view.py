"""``isthmus federation status|lens`` and ``isthmus mirror`` as a person types them."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.federation_support import HUB, SITE, outbox, until
from tests.integration.federation.lab import PARTNER, lab

from isthmus.cli.main import main
from isthmus.contract import unseal
from isthmus.contract.instance import OperationalEvent
from isthmus.federation import PeerSettings
from isthmus.federation.agreement import CONTEXT
from isthmus.federation.draft import draft
from isthmus.identity import Identity
from isthmus.kv.etcd import EtcdStore
from isthmus.trust.signing import sign_detached

ALPS = Identity.of_site(PARTNER, "alps", "federation")

pytestmark = pytest.mark.etcd


async def run(*arguments: str) -> int:
    """The command, beside the running lab."""
    return await asyncio.to_thread(main, arguments)


async def test_lens_shows_exactly_what_crosses_and_what_is_held_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same filter as the wire's: one key crosses, one is stopped by the scope, the rest is outside."""
    async with lab(tmp_path, linked=False) as world:
        await world.hub.put(outbox("intents/acme/web"), b"12345")
        await world.hub.put(outbox("secret/acme"), b"x")
        await world.hub.put("/isthmus/v1/vnis/1", b"x")
        path = tmp_path / "gateway.json"
        path.write_text(world.gateway_settings().model_dump_json())
        assert await run("federation", "lens", str(path), SITE, "--everything") == 0
        told = capsys.readouterr().out
        assert "crosses    intents/acme/web  (5 bytes" in told
        assert "scope-denied" in told
        assert "outside    vnis/: 1 keys" in told
        assert "1 keys, 21 bytes cross to paris; 1 held back" in told
        assert await run("federation", "lens", str(path), SITE, "--json") == 0
        assert json.loads(capsys.readouterr().out)["crossing"][0]["relative"] == "intents/acme/web"
        assert await run("federation", "lens", str(path), "nobody") == 1
        assert "not listed" in capsys.readouterr().err


async def test_lens_shows_what_the_agreement_holds_back_and_when_there_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its share of the verdict, by the very file that the gateway uses; an ended one lets nothing cross."""
    async with lab(tmp_path, linked=False) as world:
        world.enroll(ALPS)
        for name in ("intents/acme/web", "intents/rival/web", "secret/acme"):
            await world.hub.put(f"/isthmus/v1/outbox/alps/{name}", b"12345")
        agreed = tmp_path / "alps.yaml"
        settings = tmp_path / "gateway.json"
        peer = PeerSettings(name="alps", identity=str(ALPS), agreement=agreed)
        settings.write_text(world.gateway_settings(peers=(peer,)).model_dump_json())
        for days, code in ((1, 0), (-1, 1)):
            start = datetime.now(UTC).replace(microsecond=0) + timedelta(days=min(0, 2 * days))
            made = draft("alps", tier="carrier.example", site="partner.example", not_before=start,
                         days=1, tenants=("acme",))  # fmt: skip
            for domain, store in world.authorities.items():
                key = store.root(now_s=start.timestamp()).key
                mark = sign_detached(key, CONTEXT, made.agreement.canonical())
                made = made.signed_by(domain.name, mark)
            agreed.write_bytes(made.to_yaml())
            agreed.chmod(0o644)
            assert await run("federation", "lens", str(settings), "alps") == code
        told = capsys.readouterr()
        assert "crosses    intents/acme/web" in told.out
        assert "intents/rival/web: agreement-denied" in told.out
        assert "holds back 1 of them, the scope 1" in told.out
        assert "nothing crosses to alps: agreement-expired: not_after" in told.err
        endpoint = world.hub_etcd.settings().endpoints[0]
        held = ("--from", endpoint, "--peer", "alps", "--sender", "carrier.example")
        assert await run("agreement", "simulate", str(agreed), *held) == 0
        told = capsys.readouterr()
        assert "crossed    /isthmus/v1/outbox/alps/intents/acme/web  (21 bytes)" in told.out
        assert "3 changes in 0.0 s: 1 crossed, 2 held-back; 21 bytes" in told.out


async def test_status_reads_what_the_process_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line per link, with the digest's verdict."""
    async with lab(tmp_path, linked=False) as world:
        path = tmp_path / "site.status"
        world.run_gateway()
        world.run_site(status_file=path)
        await until(lambda: path.exists() and '"digests_equal":true' in path.read_text(), "written")
        assert await run("federation", "status", str(path)) == 0
        assert "global: open" in capsys.readouterr().out
        assert await run("federation", "status", str(path), "--json") == 0
        told = json.loads(capsys.readouterr().out)
        assert told["links"][0]["digests_equal"] is True
        assert told["refused"] == {}, "a site's end refuses nobody"
        other = tmp_path / "other"
        other.write_text("{")
        assert await run("federation", "status", str(other)) == 1


async def test_a_gateway_tells_whom_it_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Why: a stranger has no link, so no line of a link tells of it; the counter lay in memory where nobody looked."""
    async with lab(tmp_path, linked=False) as world:
        path = tmp_path / "gateway.status"
        world.run_gateway(status_file=path, peers=())
        world.run_site()
        await until(
            lambda: path.exists() and '"peer-unknown":' in path.read_text(), "the refusal is told"
        )
        assert await run("federation", "status", str(path)) == 0
        assert re.search(r"^refused: peer-unknown [0-9]+$", capsys.readouterr().out, re.MULTILINE)
        assert await run("federation", "status", str(path), "--json") == 0
        told = json.loads(capsys.readouterr().out)
        assert told["links"] == []
        assert told["refused"]["peer-unknown"] >= 1


def test_mirror_is_a_command_with_its_own_help(capsys: pytest.CaptureFixture[str]) -> None:
    """The options of the issue, by their names; a wrong one is usage (2)."""
    assert main(["mirror", "--help"]) == 0
    told = capsys.readouterr().out
    for option in ("--from", "--to", "--prefix", "--dest-prefix", "--exclude", "--from-cacert",
                   "--from-cert", "--from-key", "--to-cacert", "--to-cert", "--to-key"):  # fmt: skip
        assert option in told
    assert main(["mirror", "--from", "127.0.0.1:1"]) == 2


async def test_what_happens_to_links_is_in_the_events_and_in_the_metrics(tmp_path: Path) -> None:
    """Why: a status says how it is; what happened in the night, and what wakes somebody, must be kept elsewhere."""
    told = tmp_path / "links.json"

    async with lab(tmp_path, linked=False) as world:

        async def kinds(store: EtcdStore, component: str) -> list[tuple[str, str]]:
            entries = (await store.snapshot(f"/isthmus/v1/events/{component}/")).entries
            bodies = [unseal(entry.value, OperationalEvent).body for entry in entries]
            return [(body.kind, body.subject) for body in bodies]

        world.run_gateway(status_file=told)
        world.run_site()

        async def both_say_open() -> bool:
            above, below = await kinds(world.hub, "gateway"), await kinds(world.site, "federation")
            return ("link-open", SITE) in above and ("link-open", HUB) in below

        await until(both_say_open, "both ends tell that the link opened")

        def up() -> bool:
            file = told.with_suffix(".prom")
            return file.exists() and f'isthmus_link_up{{peer="{SITE}"}} 1' in file.read_text()

        await until(up, "the metrics say so")
        await world.end("site")
        await until(lambda: not up(), "the metrics say that it is lost")
