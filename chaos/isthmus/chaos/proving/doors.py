"""The admin's way into a store from outside its namespace: no component of ours has such a door.

A small splice inside the tier's namespace joins a Unix socket with the store's TLS port, by the admin's key.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from isthmus.chaos.ending import end
from isthmus.deploy.lab.engine import Lab
from isthmus.deploy.lab.trust import ADMIN
from isthmus.kv.etcd import EtcdStore
from isthmus.kv.settings import EtcdSettings
from isthmus.vswitch import Node

READY_S = 30.0

SPLICE = """
import asyncio, ssl, sys
path, folder, name = sys.argv[1:]
context = ssl.create_default_context(cafile=folder + "/ca.pem")
context.load_cert_chain(folder + "/cert.pem", folder + "/key.pem")
context.set_alpn_protocols(["h2"])
async def copy(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
async def one(reader, writer):
    try:
        theirs = await asyncio.open_connection(
            "127.0.0.1", 2379, ssl=context, server_hostname=name)
    except OSError:
        writer.close()
        return
    await asyncio.gather(copy(reader, theirs[1]), copy(theirs[0], writer))
async def main():
    server = await asyncio.start_unix_server(one, path)
    print("ready", flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


@asynccontextmanager
async def door(lab: Lab, tier: str) -> AsyncIterator[EtcdStore]:
    """A store of the lab, for as long as the block lasts; it survives the store's own deaths."""
    path = lab.base / tier / "door.sock"
    more = (str(path), str(lab.trust.folder(tier, ADMIN)), lab.trust.store_name(tier))
    process = await asyncio.create_subprocess_exec(
        *Node(tier).command(sys.executable, "-I", "-c", SPLICE, *more),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(READY_S):
            line = await process.stdout.readline()
        if line != b"ready\n":
            raise RuntimeError(f"the door into the store of {tier} did not open: {line!r}")
        store = EtcdStore.connect(EtcdSettings(endpoints=(f"unix:{path}",)))
        try:
            yield store
        finally:
            await store.aclose()
    finally:
        await end(process)
