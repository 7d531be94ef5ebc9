"""``python -m isthmus.api.main --settings FILE``: one process that serves one tier's API.

It listens on a Unix socket that only its own user may open (whoever can is the operator) and, if told so, on a TCP port
for holders of tokens. A store that is away does not stop it: it answers 503 until the store is back. SIGTERM and
SIGINT end it cleanly: event streams are closed, open answers are finished, the socket is removed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from isthmus.api.app import Application, create_app
from isthmus.api.auth import DOOR, TCP, UNIX, Tokens, TokensRefused
from isthmus.api.settings import ServeSettings, SettingsRefused, TcpDoor, load
from isthmus.contract import utc_seconds
from isthmus.kv.etcd import EtcdStore
from isthmus.kv.port import KeyValueStore

log = logging.getLogger(__name__)

GRACE_S = 5
"""Open answers have so long to finish. Every answer is bounded by the store's deadline, which is shorter."""
CONCURRENCY = 256
"""Beyond it uvicorn answers 503 at once: an API under attack must not take the machine's memory."""


class CannotServe(Exception):
    """The process cannot start; one sentence for the operator."""


class Door:
    """Marks every request of one listener, so that the application knows how it came in."""

    def __init__(self, app: ASGIApp, kind: str) -> None:
        self._app = app
        self._kind = kind

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[DOOR] = self._kind
        await self._app(scope, receive, send)


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: two listeners share one process and one way to end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def open_unix_socket(path: Path) -> socket.socket:
    """Listen on ``path``, for this user only. A socket that nobody serves any more is replaced; a live one is not."""
    if path.is_socket():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(2.0)
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise CannotServe(f"{path}: cannot tell who serves it ({error})") from None
            else:
                raise CannotServe(f"{path}: another API serves it; stop that one first")
    elif path.exists():
        raise CannotServe(f"{path}: is in the way and no socket; remove it or choose another")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    previous = os.umask(0o177)
    try:
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise CannotServe(f"{path}: {error.strerror}; does its folder exist?") from None
    finally:
        os.umask(previous)
    listener.listen(128)
    return listener


def open_tcp_socket(door: TcpDoor) -> socket.socket:
    """Listen on the TCP door."""
    family = socket.AF_INET6 if ":" in door.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((door.host, door.port))
    except OSError as error:
        listener.close()
        raise CannotServe(f"{door.host}:{door.port}: {error.strerror}; is it in use?") from None
    listener.listen(128)
    return listener


def _server(app: ASGIApp, kind: str, door: TcpDoor | None = None) -> _Server:
    config = uvicorn.Config(
        Door(app, kind),
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=GRACE_S,
        limit_concurrency=CONCURRENCY,
        h11_max_incomplete_event_size=16 * 1024,
        ssl_certfile=door.cert_file if door else None,
        ssl_keyfile=door.key_file if door else None,
    )
    return _Server(config)


async def serve(settings: ServeSettings, *, stop: asyncio.Event) -> None:
    """Serve the etcd of ``settings`` until ``stop`` is set; raises CannotServe."""
    store = EtcdStore.connect(settings.store)
    try:
        await serve_store(settings, store, stop=stop)
    finally:
        await store.aclose()


async def serve_store(
    settings: ServeSettings, store: KeyValueStore, *, stop: asyncio.Event
) -> None:
    """Serve ``store``, whatever it is, until ``stop`` is set; raises CannotServe."""
    check_tokens(settings)
    listener = open_unix_socket(settings.socket_path)
    try:
        app = create_app(
            settings.tier,
            settings.name,
            store,
            settings.api,
            clock=utc_seconds,
            new_id=lambda: secrets.token_hex(8),
        )
        servers = [(_server(app, UNIX), listener)]
        if settings.tcp is not None:
            door = open_tcp_socket(settings.tcp)
            log.info("tokens are taken on %s:%d", *door.getsockname()[:2])
            servers.append((_server(app, TCP, settings.tcp), door))
        log.info("%s %s is served on %s", settings.tier.value, settings.name, settings.socket_path)
        await _run(app, servers, stop)
    finally:
        listener.close()
        settings.socket_path.unlink(missing_ok=True)


def check_tokens(settings: ServeSettings) -> None:
    """A tokens file that is missing, loose or broken is told at the start, not at the first request."""
    if settings.api.tokens_file is None:
        return
    try:
        Tokens(settings.api.tokens_file).load()
    except TokensRefused as error:
        raise CannotServe(str(error)) from None


async def _run(
    app: Application, servers: Sequence[tuple[_Server, socket.socket]], stop: asyncio.Event
) -> None:
    running = [asyncio.create_task(server.serve(sockets=[sock])) for server, sock in servers]
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((*running, stopping), return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        app.close_streams()
        for server, _ in servers:
            server.should_exit = True
        await asyncio.gather(*running)


async def _main(settings: ServeSettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(settings, stop=stop)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until a signal; the exit code."""
    parser = argparse.ArgumentParser(prog="isthmus.api", description="Serve one tier's API.")
    parser.add_argument("--settings", required=True, type=Path, metavar="FILE.json")
    options = parser.parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        asyncio.run(_main(load(options.settings)))
    except (SettingsRefused, CannotServe) as error:
        print(f"isthmus.api: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
