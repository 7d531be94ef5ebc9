"""The checked-in wire messages are exactly what the proto beside them generates."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from isthmus.kv import methods
from isthmus.kv import wire_pb2 as wire
from isthmus.kv.methods import Method

FOLDER = Path(wire.__file__).parent
ROOT = FOLDER.parents[1]


def test_generated_files_are_current(tmp_path: Path) -> None:
    """A proto edited without regenerating would speak another language than it says."""
    arguments = [f"-I{ROOT}", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"]
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", *arguments, "isthmus/kv/wire.proto"],
        check=True,
        timeout=60,
    )
    for name in ("wire_pb2.py", "wire_pb2.pyi"):
        assert (tmp_path / "isthmus/kv" / name).read_bytes() == (FOLDER / name).read_bytes(), (
            f"{name} is stale: run the command at the head of wire.proto"
        )


def test_names_are_our_own() -> None:
    """etcd's own names collide with every other client in one process (a VNF author's, say)."""
    assert wire.DESCRIPTOR.name == "isthmus/kv/wire.proto"
    assert wire.DESCRIPTOR.package == "isthmus.kv.wire"
    assert not wire.DESCRIPTOR.services_by_name


@pytest.mark.parametrize(
    ("message", "forbidden"),
    [
        (wire.RequestOp, "request_txn"),
        (wire.DeleteRangeRequest, "range_end"),
        (wire.DeleteRangeRequest, "prev_kv"),
        (wire.PutRequest, "prev_kv"),
        (wire.Compare, "range_end"),
    ],
)
def test_what_the_port_does_not_offer_cannot_be_encoded(
    message: type[wire.RequestOp], forbidden: str
) -> None:
    """Attack 8: nested transactions, range deletes and previous values have no message here."""
    assert forbidden not in message.DESCRIPTOR.fields_by_name


def test_paths_are_etcds_and_unique() -> None:
    """A typing error in a path would be an UNIMPLEMENTED at run time."""
    table = [entry for entry in vars(methods).values() if isinstance(entry, Method)]
    assert len({entry.path for entry in table}) == len(table) > 30
    for entry in table:
        assert re.fullmatch(
            r"/etcdserverpb\.(KV|Watch|Lease|Auth|Maintenance|Cluster)/[A-Za-z]+", entry.path
        )


def test_field_numbers_are_etcds() -> None:
    """Spot checks of numbers that are easy to get wrong: gaps, upper-case names, late additions."""
    numbers = {
        (wire.WatchResponse, "events"): 11,
        (wire.WatchResponse, "fragment"): 7,
        (wire.WatchCreateRequest, "fragment"): 8,
        (wire.WatchCreateRequest, "watch_id"): 7,
        (wire.WatchRequest, "progress_request"): 3,
        (wire.RangeRequest, "keys_only"): 8,
        (wire.Compare, "lease"): 8,
        (wire.AuthUserAddRequest, "options"): 3,
        (wire.StatusResponse, "dbSizeInUse"): 9,
        (wire.LeaseGrantResponse, "TTL"): 3,
        (wire.Permission, "range_end"): 3,
    }
    for (message, field), number in numbers.items():
        assert message.DESCRIPTOR.fields_by_name[field].number == number  # type: ignore[attr-defined]
