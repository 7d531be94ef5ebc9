"""One gRPC channel to one store, with the options that measurements asked for.

Keep-alive alone is blind to a server that is stopped while its kernel still acknowledges; the ping
time-out sees it (research: 5 to 10 s), and the heartbeat of a watch sees it within 3 s.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from isthmus.kv.settings import EtcdSettings

END_OF_STREAM: Any = vars(grpc.aio)["EOF"]
"""What a stream's ``read`` returns after its last message (the published stubs do not know it)."""

_BALANCE = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})


def options(settings: EtcdSettings) -> list[tuple[str, Any]]:
    """Channel arguments for ``settings``."""
    chosen: list[tuple[str, Any]] = [
        ("grpc.keepalive_time_ms", settings.keepalive_time_ms),
        ("grpc.keepalive_timeout_ms", settings.keepalive_timeout_ms),
        ("grpc.http2.ping_timeout_ms", settings.ping_timeout_ms),
        # etcd counts pings of an idle connection as abuse (GOAWAY too_many_pings): only with calls.
        ("grpc.keepalive_permit_without_calls", 0),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.initial_reconnect_backoff_ms", int(settings.backoff_min_s * 1000)),
        ("grpc.max_reconnect_backoff_ms", int(settings.backoff_max_s * 1000)),
        ("grpc.min_reconnect_backoff_ms", settings.connect_timeout_ms),
        ("grpc.use_local_subchannel_pool", 1),  # a store of its own connection, never a neighbour's
        ("grpc.enable_http_proxy", 0),  # a site's store is never behind a web proxy
        ("grpc.service_config", _BALANCE),
    ]
    if settings.ca_file is not None:
        chosen.append(("grpc.ssl_target_name_override", settings.expected_server_name))
    return chosen


def open_channel(settings: EtcdSettings) -> Any:
    """A ``grpc.aio.Channel``; it connects by itself on the first call. Needs a running event loop."""
    # gRPC's core writes every lost connection to standard error, past all logging; ours are typed.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    if settings.ca_file is None:
        return grpc.aio.insecure_channel(settings.target, options=options(settings))
    credentials = grpc.ssl_channel_credentials(
        root_certificates=settings.ca_file.read_bytes(),
        private_key=None if settings.key_file is None else settings.key_file.read_bytes(),
        certificate_chain=None if settings.cert_file is None else settings.cert_file.read_bytes(),
    )
    return grpc.aio.secure_channel(settings.target, credentials, options=options(settings))


FileStamps = tuple[tuple[int, int, int] | None, ...]


def file_stamps(settings: EtcdSettings) -> FileStamps:
    """Which files the credentials were read from: other stamps mean other certificates."""
    files = (settings.ca_file, settings.cert_file, settings.key_file)
    return tuple(_stamp(file) for file in files if file is not None)


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None  # just being replaced: another stamp than before and than after
    return found.st_mtime_ns, found.st_size, found.st_ino
