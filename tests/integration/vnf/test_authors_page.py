"""The page for authors is run as it is written: a sample that does not work costs a stranger his first day (R28)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import tempfile
from pathlib import Path

import pytest
import yaml
from tests.integration.vnf.secure_etcd import SecureEtcd

from isthmus.deploy.binaries import find
from isthmus.functions import shipped
from isthmus.vnf.conformance import Case, check_function, check_publishes
from isthmus.vnf.relay import Relay, RelayLimits

PAGE = Path(__file__).resolve().parents[3] / "docs" / "vnf-authors.md"
EXAMPLES = PAGE.parent / "examples"
INSTANCE = "i-00000000000d"


def block(name: str) -> str:
    """The code behind ``<!-- test: name -->``."""
    found = re.search(rf"<!-- test: {name} -->\n```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found, f"{PAGE.name} has no block {name!r}"
    return found.group(1)


def test_the_kernel_sample_conforms() -> None:
    """Copied as it stands, it must pass the kit the page ends with."""
    names: dict[str, object] = {"__name__": "sieve"}
    exec(compile(block("kernel function"), "sieve", "exec", dont_inherit=True), names)
    sieve = names["Sieve"]
    assert callable(sieve)
    cases = (Case({"protocol": "tcp"}), Case({"protocol": "tcp; drop"}, accepted=False))
    assert check_function(sieve(), cases) == ()


@pytest.mark.etcd
async def test_the_process_sample_conforms_through_the_relay(tmp_path: Path) -> None:
    """The proof that a function in any language needs only an etcd client and the contract."""
    script = tmp_path / "volume.py"
    script.write_text(block("process function"))
    binaries = str((await find("etcdctl")).path.parent)
    with tempfile.TemporaryDirectory(prefix="va") as name:
        etcd = await SecureEtcd(Path(name) / "etcd").start()
        await etcd.admit(INSTANCE, owner="ems-conformance")
        place = etcd.make_folder(Path(name), INSTANCE, type_="volume", form="process")
        relay = Relay(
            place / "kv.sock", etcd.upstream, place / "cert.pem", place / "key.pem", RelayLimits()
        )
        await relay.start()

        async def run() -> None:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-I", str(script), str(place), INSTANCE, "1"),
                env={"PATH": f"{binaries}:{os.environ['PATH']}"},
                stdout=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
            try:
                await process.wait()
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # with the client it may be waiting for
                await process.wait()

        try:
            findings = await check_publishes(
                etcd.root,
                run,
                instance=INSTANCE,
                incarnation=1,
                type_="volume",
                version="1",
                cases=(Case({"volume": 11}), Case({"volume": "loud"}, accepted=False)),
                timeout_s=30.0,
            )
            assert findings == ()
        finally:
            await relay.aclose()
            await etcd.stop()


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_every_function_of_an_example_chain_is_accepted_by_its_type(example: Path) -> None:
    """The first thing a stranger applies must not be refused by the function itself."""
    chains = [chain for chain in yaml.safe_load_all(example.read_text()) if chain]
    functions = [function for chain in chains for function in chain["functions"]]
    assert functions
    for function in functions:
        found = shipped().find(function["type"], str(function.get("version", "1")))
        found.descriptor.check(function.get("config", {}))
