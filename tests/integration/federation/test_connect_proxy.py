"""A site that may leave its network by an HTTP CONNECT proxy only: the link is the same link (issue 7, point 7)."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from tests.federation_support import holds_value, intents_at_site, outbox, until
from tests.integration.federation.connect_proxy import connect_proxy
from tests.integration.federation.lab import lab

from isthmus.federation.settings import SiteLinkSettings

pytestmark = pytest.mark.etcd


async def test_the_link_runs_through_a_connect_proxy_and_comes_back(tmp_path: Path) -> None:
    """Why: TLS must run from end to end, so that whoever owns the proxy reads nothing; and its restart is a cut."""
    async with lab(tmp_path, linked=False) as world, connect_proxy() as proxy:
        await world.hub.put(outbox("intents/acme/web"), b"SECRET-5b1e")
        world.run_gateway()
        world.run_site(proxy=f"127.0.0.1:{proxy.port}")
        await until(
            lambda: holds_value(intents_at_site(world.site), "intents/acme/web", b"SECRET-5b1e"),
            "the first copy came through the proxy",
        )
        assert set(proxy.asked) == {f"CONNECT 127.0.0.1:{world.proxy.port}"}
        assert proxy.carried, "it did carry the bytes"
        assert b"SECRET" not in proxy.carried
        proxy.drop()
        await world.hub.put(outbox("intents/acme/web"), b"after the cut")
        await until(
            lambda: holds_value(intents_at_site(world.site), "intents/acme/web", b"after the cut"),
            "the link came back through the proxy",
        )
        assert len(proxy.asked) >= 2


async def test_a_proxy_that_refuses_is_an_outage_that_is_told(tmp_path: Path) -> None:
    """Why: the operator must read that there is no way out, and the site must go on trying."""
    async with lab(tmp_path, linked=False) as world, connect_proxy(refuse=True) as proxy:
        world.run_gateway()
        world.run_site(proxy=f"127.0.0.1:{proxy.port}")
        await until(lambda: len(proxy.asked) >= 2, "it was tried again")
        await until(lambda: "lost: no connection" in world.seen["site"].last_error, "and is told")
        assert not world.seen["site"].connected


async def test_the_environment_does_not_redirect_a_link(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Why: a variable meant for a package manager must not send a site's control link elsewhere."""
    async with lab(tmp_path, linked=False) as world, connect_proxy() as proxy:
        for name in ("http_proxy", "https_proxy", "grpc_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        for name in ("no_proxy", "no_grpc_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        world.run_gateway()
        world.run_site()
        await until(world.connected, "the link is up")
        assert proxy.asked == []


@pytest.mark.parametrize(
    "proxy", ["proxy", "http://proxy:3128", "me:secret@proxy:3128", ":1", "p:0"]
)
def test_what_is_no_address_is_refused_by_name(proxy: str) -> None:
    """Why: a mistake must be told when the settings are read, not by a link that never comes."""
    document = {
        "name": "milan", "credentials": "/c", "bundles": {"carrier.example": "/b"},
        "dial": ["gateway:1"], "proxy": proxy, "store": {"endpoints": ["127.0.0.1:1"]},
        "peer": {"name": "global", "identity": "spiffe://carrier.example/global/gateway"},
    }  # fmt: skip
    with pytest.raises(ValidationError, match="host:port"):
        SiteLinkSettings.model_validate(document)
    SiteLinkSettings.model_validate({**document, "proxy": "proxy.example:3128"})
