"""``python -m isthmus.api.main`` over a secured etcd: its rights suffice, faults are told, it ends cleanly.

The twin cannot prove what etcd itself refuses (status needs its own right, ranges are exact); this does, with users
by certificate and the very role that the contract gives to ``api``.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.api_world import error_of, path_of, spec, sse_events
from tests.integration.vnf.secure_etcd import SERVER_NAME, STAMP, SecureEtcd
from tests.support import eventually

from isthmus.contract import Tier, families, seal
from isthmus.contract.chain import ChainStatus, Phase
from isthmus.contract.instance import OperationalEvent
from isthmus.contract.roles import role
from isthmus.kv.grants import Access, Grant

pytestmark = pytest.mark.etcd
Condition = Callable[[], Any | Awaitable[Any]]


@pytest.fixture
async def etcd(tmp_path: Path) -> AsyncIterator[SecureEtcd]:
    """A site's store with authentication on and the user ``api``."""
    server = await SecureEtcd(tmp_path / "etcd").start()
    rights = role(Tier.SITE, "api")
    grants = [Grant.of(grant.target, Access[grant.access.name]) for grant in rights.grants]
    await server.admin.ensure_role("api", grants)
    await server.admin.ensure_user("api", ["api"])
    try:
        yield server
    finally:
        await server.stop()


@dataclass
class ApiProcess:
    """The running process, and a client of its Unix socket."""

    process: asyncio.subprocess.Process
    socket_path: Path
    client: httpx.AsyncClient

    async def wait(self) -> int:
        """Its exit code."""
        return await asyncio.wait_for(self.process.wait(), 20)


def settings_of(etcd: SecureEtcd, folder: Path, **changes: Any) -> Path:
    """The settings file, as a deployment writes it."""
    cert, key = etcd.files_of("api")
    store = {
        "endpoints": [etcd.server.endpoint],
        "ca_file": str(etcd.authority.ca_file),
        "cert_file": str(cert),
        "key_file": str(key),
        "server_name": SERVER_NAME,
    }
    return written(folder, {"store": store, **changes})


def written(folder: Path, changes: dict[str, Any]) -> Path:
    """Settings whose store is nowhere, unless ``changes`` name one."""
    document = {
        "tier": "site",
        "name": "milan",
        "socket_path": str(folder / "api.sock"),
        "store": {"endpoints": ["127.0.0.1:1"]},
        "api": {"store_timeout_s": 2.0, "beat_s": 0.5},
        **changes,
    }
    path = folder / "api.json"
    path.write_text(json.dumps(document))
    return path


@asynccontextmanager
async def api_process(settings: Path) -> AsyncIterator[ApiProcess]:
    """Start it and wait until it answers; whatever happens, it is gone afterwards."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "isthmus.api.main", "--settings", str(settings),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    socket_path = Path(json.loads(settings.read_text())["socket_path"])
    transport = httpx.AsyncHTTPTransport(uds=str(socket_path))
    async with httpx.AsyncClient(transport=transport, base_url="http://x", timeout=15) as client:
        running = ApiProcess(process, socket_path, client)

        async def answers() -> bool:
            try:
                return (await client.get("/healthz")).status_code == 200
            except httpx.TransportError:
                assert process.returncode is None, await process.communicate()
                return False

        condition: Condition = answers
        try:
            await eventually(condition, "the API process answers")
            yield running
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()


async def test_the_contracts_role_suffices_for_every_route(
    etcd: SecureEtcd, tmp_path: Path
) -> None:
    """Real etcd, real user, real process: apply, list, read, explain, sites, events, status, delete."""
    async with api_process(settings_of(etcd, tmp_path)) as api:
        client = api.client
        assert (await client.put(path_of(spec()), json=spec())).status_code == 201
        status = seal(ChainStatus(phase=Phase.RUNNING), STAMP, as_of=0)
        await etcd.root.put(families.STATUS.key(tenant="acme", chain="shop"), status)
        listed = (await client.get("/v1/chains")).json()["chains"]
        assert [(row["chain"], row["phase"]) for row in listed] == [("shop", "running")]
        for path in (
            path_of(spec()),
            path_of(spec()) + "/explain",
            "/v1/sites",
            "/v1/events",
            "/readyz",
            "/metrics",
        ):
            answer = await client.get(path)
            assert answer.status_code == 200, f"{path}: {answer.text}"
        found = (await client.get("/v1/status")).json()
        assert found["store"]["version"].startswith("3.")
        assert found["store"]["revision"] >= 2
        assert (await client.delete(path_of(spec()))).status_code == 200


async def test_only_its_own_user_may_open_the_socket(etcd: SecureEtcd, tmp_path: Path) -> None:
    """The socket is the operator's door: mode 0600 from the first moment, whatever the umask."""
    async with api_process(settings_of(etcd, tmp_path)) as api:
        assert stat.S_IMODE(api.socket_path.stat().st_mode) == 0o600


async def test_a_killed_store_is_503_and_its_return_is_noticed(
    etcd: SecureEtcd, tmp_path: Path
) -> None:
    """etcd killed -9: every answer comes within the deadline; when it is back, so is the API."""
    async with api_process(settings_of(etcd, tmp_path)) as api:
        await api.client.put(path_of(spec()), json=spec())
        etcd.server.kill()
        async with asyncio.timeout(12):
            error = error_of(await api.client.get("/v1/chains"), 503)
            assert error["code"] == "store-unreachable"
            error_of(await api.client.put(path_of(spec("acme", "b")), json=spec("acme", "b")), 503)
        assert (await api.client.get("/healthz")).status_code == 200
        await etcd.server.start()

        async def back() -> bool:
            return (await api.client.get("/readyz")).status_code == 200

        condition: Condition = back
        await eventually(condition, "the API found its store again")
        assert len((await api.client.get("/v1/chains")).json()["chains"]) == 1


async def test_it_starts_without_a_store(tmp_path: Path) -> None:
    """After a power cut nobody knows who is up first."""
    async with api_process(written(tmp_path, {})) as api:
        error_of(await api.client.get("/readyz"), 503)


async def test_events_are_streamed_and_a_stop_ends_the_stream(
    etcd: SecureEtcd, tmp_path: Path
) -> None:
    """SIGTERM with a listener attached: the stream ends, the process ends with 0, the socket is gone."""
    async with api_process(settings_of(etcd, tmp_path)) as api:
        async with api.client.stream("GET", "/v1/events/stream") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            text = aiter(answer.aiter_text())
            await anext(text)
            event = OperationalEvent(kind="healed", subject="acme/shop", message="hello")
            key = families.EVENTS.key(component="healer", id="e1")
            revision = await etcd.root.put(key, seal(event, STAMP, as_of=1.0))
            seen = ""
            while "hello" not in seen:
                seen += await asyncio.wait_for(anext(text), 15)
            assert sse_events(seen)[0]["id"] == revision
            api.process.send_signal(signal.SIGTERM)
            async for _ in text:
                pass
        assert await api.wait() == 0
        assert not api.socket_path.exists()


async def test_a_second_api_on_the_same_socket_is_refused_and_a_dead_one_replaced(
    etcd: SecureEtcd, tmp_path: Path
) -> None:
    """A running API is never robbed of its socket; one that was killed leaves no obstacle."""
    settings = settings_of(etcd, tmp_path)
    async with api_process(settings) as api:
        second = await _run_to_its_end(settings)
        assert second == (1, f"isthmus.api: {api.socket_path}: another API serves it; "
                             "stop that one first")  # fmt: skip
        assert (await api.client.get("/healthz")).status_code == 200
        api.process.kill()
        await api.wait()
        assert api.socket_path.exists()
    async with api_process(settings) as again:
        assert (await again.client.get("/healthz")).status_code == 200


async def _run_to_its_end(settings: Path) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "isthmus.api.main", "--settings", str(settings),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, told = await asyncio.wait_for(process.communicate(), 20)
    return process.returncode, told.decode().strip().splitlines()[-1]


async def test_a_tcp_port_in_use_is_told(tmp_path: Path) -> None:
    """Issue 3: ports in use."""
    tokens = tmp_path / "tokens.json"
    tokens.touch(0o600)
    tokens.write_text('{"tokens": []}')
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        doors = {"tcp": {"port": port}, "api": {"tokens_file": str(tokens)}}
        settings = written(tmp_path, doors)
        code, told = await _run_to_its_end(settings)
    assert code == 1
    assert f"127.0.0.1:{port}: Address already in use; is it in use?" in told
    assert not (tmp_path / "api.sock").exists()


async def test_raw_requests_that_are_no_http_hurt_nobody(etcd: SecureEtcd, tmp_path: Path) -> None:
    """Garbage, endless headers, a body that never comes: the honest caller is still served."""
    settings = settings_of(etcd, tmp_path, api={"body_timeout_s": 0.3, "store_timeout_s": 2.0})
    async with api_process(settings) as api:
        head = b"PUT /v1/chains/acme/shop HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        attacks = {
            b"\x16\x03\x01 not http\r\n\r\n": b"400",
            b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 40_000: b"",
            head + b"Content-Length: 100\r\n\r\n{": b"408",
            head + b"Content-Length: 999999999\r\n\r\n{": b"413",
            head + b"Content-Length: -1\r\n\r\n": b"400",
            head + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n": b"",
        }
        for attack, status in attacks.items():
            reader, writer = await asyncio.open_unix_connection(str(api.socket_path))
            writer.write(attack)
            answer = await asyncio.wait_for(reader.read(4_096), 15)
            writer.close()
            assert status in answer.split(b"\r\n")[0], (attack[:60], answer[:200])
            assert b"Traceback" not in answer
            assert (await api.client.get("/readyz")).status_code == 200


async def test_the_process_shows_no_secret(etcd: SecureEtcd, tmp_path: Path) -> None:
    """Attack 22: settings are a file, so neither arguments nor environment hold a key or a token."""
    async with api_process(settings_of(etcd, tmp_path)) as api:
        proc = Path(f"/proc/{api.process.pid}")
        shown = (proc / "cmdline").read_bytes() + (proc / "environ").read_bytes()
        assert b"PRIVATE KEY" not in shown
        assert b"isthmus_" not in shown.replace(os.environ.get("VIRTUAL_ENV", "-").encode(), b"")
