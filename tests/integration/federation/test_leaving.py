"""``isthmus federation forget`` as a person types it, beside a real store, a real gateway and a peer that leaves."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from tests.federation_support import SITE, until
from tests.integration.federation.lab import lab

from isthmus.cli.main import main

pytestmark = pytest.mark.etcd


async def run(*arguments: str) -> int:
    """The command, beside the running lab."""
    return await asyncio.to_thread(main, arguments)


async def test_a_peer_is_forgotten_once_it_is_unlisted_and_its_link_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Why: what a partner told us does not stay behind; nor is it taken from under a link that lives."""
    async with lab(tmp_path) as world:
        await world.site.put("/isthmus/v1/summary/site", b"12345")
        held = f"/isthmus/v1/remote/{SITE}/summary/site"

        async def there() -> bool:
            return await world.hub.get(held) is not None

        await until(there, "the hub has the site's word")
        file = tmp_path / "gateway.json"
        told = tmp_path / "gateway-status.json"
        listed = world.gateway_settings(status_file=told)
        file.write_text(listed.model_dump_json())
        assert await run("federation", "forget", str(file), SITE) == 1
        assert f"'{SITE}' is still listed; take it out" in capsys.readouterr().err
        assert await there()
        assert await run("federation", "forget", str(file), SITE, "--dry-run", "--json") == 0
        seen = json.loads(capsys.readouterr().out)
        assert (seen["kinds"]["summary"], seen["removed"]) == (1, False)
        await world.end("site")
        await world.end("gateway")
        file.write_text(listed.model_copy(update={"peers": ()}).model_dump_json())
        assert await run("federation", "forget", str(file), SITE) == 0
        assert f"of {SITE} {seen['keys']} keys" in capsys.readouterr().out
        assert (await world.hub.snapshot(f"/isthmus/v1/remote/{SITE}/")).entries == ()
        assert await run("federation", "forget", str(file), SITE) == 0
        assert f"of {SITE} nothing was held" in capsys.readouterr().out
        assert await run("federation", "forget", str(file), "../x") == 2
