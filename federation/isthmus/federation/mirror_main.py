"""``python -m isthmus.federation.mirror_main --from E --to E --prefix P ...``: in place of ``etcdctl make-mirror``."""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from isthmus.federation.mains import calm_collector
from isthmus.federation.mirror import Mirror, MirrorSettings
from isthmus.federation.raw_ends import Synced
from isthmus.federation.run import real_clocks
from isthmus.kv.errors import StoreError
from isthmus.kv.settings import EtcdSettings

EPILOG = """Example:
  isthmus mirror --from 127.0.0.1:2379 --to 127.0.0.1:3379 --prefix /app/ --dest-prefix /copy/
"""


def parser() -> argparse.ArgumentParser:
    """The options, for this program and for ``isthmus mirror``."""
    made = argparse.ArgumentParser(
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EPILOG,
        prog="isthmus mirror",
        description="Keep a prefix of one etcd equal in another: first copy, then every change, over a "
        "mutually authenticated link. What is below the destination's prefix and not at the source "
        "is removed.",
    )
    made.add_argument("--from", dest="source", required=True, metavar="ENDPOINTS")
    made.add_argument("--to", dest="destination", required=True, metavar="ENDPOINTS")
    made.add_argument("--prefix", default="", help="at the source (default: everything)")
    made.add_argument("--dest-prefix", help="takes the place of PREFIX (default: the same)")
    made.add_argument("--exclude", action="append", default=[], metavar="PREFIX")
    for side in ("from", "to"):
        for part in ("cacert", "cert", "key"):
            made.add_argument(f"--{side}-{part}", type=Path, metavar="FILE")
    return made


def settings(given: argparse.Namespace) -> MirrorSettings:
    """From parsed options; raises ValidationError."""
    return MirrorSettings(
        source=_store(given.source, given.from_cacert, given.from_cert, given.from_key),
        destination=_store(given.destination, given.to_cacert, given.to_cert, given.to_key),
        prefix=given.prefix,
        dest_prefix=given.dest_prefix,
        exclude=tuple(given.exclude),
    )


def _store(
    endpoints: str, ca_file: Path | None, cert_file: Path | None, key_file: Path | None
) -> EtcdSettings:
    parts = [part.strip().rstrip("/") for part in endpoints.split(",") if part.strip()]
    if ca_file is None and any(part.startswith("https://") for part in parts):
        raise ValueError(
            f"{endpoints}: https needs --from-cacert or --to-cacert, to judge the server by"
        )
    names = tuple(part.removeprefix("https://").removeprefix("http://") for part in parts)
    server_name = names[0].rpartition(":")[0].strip("[]") if names and ca_file is not None else None
    if len(names) > 1:
        names = tuple(_numeric(name) for name in names)
    return EtcdSettings(
        endpoints=names,
        ca_file=ca_file,
        cert_file=cert_file,
        key_file=key_file,
        server_name=server_name,
    )


def _numeric(endpoint: str) -> str:
    """``host:port`` with the host's first IPv4 address: several endpoints are a list of addresses to gRPC. A name that
    cannot be resolved stays, to be named in the refusal."""
    host, _, port = endpoint.rpartition(":")
    try:
        found = socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)
    except OSError:
        return endpoint
    return f"{found[0][4][0]}:{port}"


async def mirror(wanted: MirrorSettings) -> int:
    """Until SIGTERM or SIGINT (0), or a refusal by a store (1)."""
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    work = asyncio.create_task(
        Mirror(wanted, real_clocks(), on_synced=_synced, on_trouble=_trouble).run()
    )
    stop = asyncio.create_task(told.wait())
    await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
    try:
        if work.done():
            work.result()
    except StoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        for task in (work, stop):
            task.cancel()
        await asyncio.gather(work, stop, return_exceptions=True)
    return 0


def _synced(done: Synced) -> None:
    print(f"synced revision={done.revision} keys={done.keys}", flush=True)


def _trouble(text: str) -> None:
    print(f"retrying: {text}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM."""
    given = parser().parse_args(arguments)
    try:
        wanted = settings(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        why = first["msg"].removeprefix("Value error, ")
        print(f"error: {where or 'options'}: {why}", file=sys.stderr)
        return 2
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    calm_collector()
    return asyncio.run(mirror(wanted))


if __name__ == "__main__":
    raise SystemExit(main())
