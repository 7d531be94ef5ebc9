"""The agent's command line. It has no functions of its own: the entry that has them is ``isthmus.functions.agent``."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import secrets
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from isthmus.contract.envelope import utc_seconds
from isthmus.vnf.agent import NETNS_FOLDER, Agent, AgentSettings
from isthmus.vnf.descriptor import Registry
from isthmus.vnf.kernel_vnf import VnfSettings
from isthmus.vnf.relay import Upstream


def parse(argv: Sequence[str], program: str) -> AgentSettings:
    """The settings in ``argv``; ends the process with a message and code 2 when they are wrong."""
    parser = argparse.ArgumentParser(prog=program, description="agent of one host")
    parser.add_argument("--instances", type=Path, required=True, help="folder of instance folders")
    parser.add_argument("--etcd", required=True, metavar="HOST:PORT", help="the site's store")
    parser.add_argument("--ca", type=Path, required=True, help="who signed the store's certificate")
    parser.add_argument("--server-name", required=True, help="name in the store's certificate")
    parser.add_argument("--stats-interval-s", type=float, default=1.0, help="default: %(default)s")
    parser.add_argument("--netns-folder", type=Path, default=NETNS_FOLDER, help=argparse.SUPPRESS)
    parser.add_argument("--log-level", default="INFO", choices=("DEBUG", "INFO", "WARNING"))
    options = parser.parse_args(argv)
    host, colon, port = options.etcd.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
        parser.error(f"--etcd: {options.etcd!r} is not HOST:PORT (such as 127.0.0.1:2379)")
    if not options.ca.is_file():
        parser.error(f"--ca: {options.ca} is not a file")
    if not 0.05 <= options.stats_interval_s <= 3600:
        parser.error(f"--stats-interval-s: {options.stats_interval_s} is not within 0.05-3600")
    logging.basicConfig(
        level=options.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    return AgentSettings(
        instances=options.instances,
        upstream=Upstream(host.strip("[]"), int(port), options.server_name, options.ca),
        netns_folder=options.netns_folder,
        vnf=VnfSettings(stats_interval_s=options.stats_interval_s),
    )


async def serve(settings: AgentSettings, registry: Registry) -> None:
    """Run an agent until SIGTERM or SIGINT; rulesets stay in force."""
    agent = Agent(
        settings,
        registry,
        life=f"{os.getpid()}-{secrets.token_hex(4)}",
        clock=utc_seconds,
        monotonic=time.monotonic,
        chance=random.Random(),
    )
    running = asyncio.create_task(agent.run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, running.cancel)
    await asyncio.wait((running,))
    if not running.cancelled() and (error := running.exception()) is not None:
        raise error


def main(argv: Sequence[str], registry: Registry, program: str) -> int:
    """Exit code 0 after a signal, 1 when the instance folder cannot be used, 2 for wrong arguments."""
    settings = parse(argv, program)
    try:
        asyncio.run(serve(settings, registry))
    except OSError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    return 0
