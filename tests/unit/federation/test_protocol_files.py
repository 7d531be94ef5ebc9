"""The checked-in messages are those of the .proto: nobody edits generated code, nobody forgets to generate it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from isthmus.federation import link_pb2

ROOT = Path(__file__).resolve().parents[3] / "federation"
FOLDER = ROOT / "isthmus" / "federation"


@pytest.mark.parametrize("name", ["link_pb2.py", "link_pb2.pyi"])
def test_generated_messages_are_current(name: str, tmp_path: Path) -> None:
    """Generating again gives the same bytes."""
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--python_out={tmp_path}"]
    command += [f"--pyi_out={tmp_path}", "isthmus/federation/link.proto"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)
    again = (tmp_path / "isthmus" / "federation" / name).read_text()
    assert again == (FOLDER / name).read_text(), "run the command at the head of link.proto"


def test_verbs_are_put_and_delete_of_one_key_and_nothing_else() -> None:
    """Attack 8: a range, a lease or a transaction cannot even be written down."""
    assert set(link_pb2.Verb.keys()) == {"VERB_UNSPECIFIED", "VERB_PUT", "VERB_DELETE"}
    fields = {field.name for field in link_pb2.Item.DESCRIPTOR.fields}
    assert fields == {"verb", "key", "value", "revision"}


def test_protocol_is_in_a_package_of_its_own() -> None:
    """A name of etcd's or of anybody else's package would clash in one process."""
    assert link_pb2.DESCRIPTOR.package == "isthmus.federation.v1"
    assert link_pb2.DESCRIPTOR.services_by_name["Link"].methods[0].name == "Open"
