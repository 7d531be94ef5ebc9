"""The audit: a chain that shows tampering, text that cannot act, a flood that costs little
(attack 20).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isthmus.trust import AuditBroken, AuditLog, FileRefused, audit

NOW_S = 1_800_000_000.0


def lines(path: Path) -> list[dict[str, Any]]:
    """All records of a file."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_records_are_chained_and_verify(tmp_path: Path) -> None:
    """Ten records, one chain; the head returned is the head held."""
    path = tmp_path / "audit.jsonl"
    with AuditLog.open(path, now_s=NOW_S) as log:
        for number in range(10):
            assert log.record("peer", "expired", now_s=NOW_S + number, peer=f"p{number}")
        assert audit.verify(path) == (10, log.head)
    assert [record["seq"] for record in lines(path)] == list(range(1, 11))
    assert path.stat().st_mode & 0o777 == 0o600


def test_reopening_continues_the_chain(tmp_path: Path) -> None:
    """A restart is no gap."""
    path = tmp_path / "audit.jsonl"
    for number in range(3):
        with AuditLog.open(path, now_s=NOW_S) as log:
            log.record("start", "ok", now_s=NOW_S, run=str(number))
    assert audit.verify(path)[0] == 3


@pytest.mark.parametrize("attack", ["edit", "delete", "swap", "insert", "renumber"])
def test_tampering_names_the_line(tmp_path: Path, attack: str) -> None:
    """Whoever edits the file has to break every later hash."""
    path = tmp_path / "audit.jsonl"
    with AuditLog.open(path, now_s=NOW_S) as log:
        for number in range(6):
            log.record("peer", "revoked", now_s=NOW_S + number, who=f"p{number}")
    rows = path.read_bytes().splitlines(keepends=True)
    if attack == "edit":
        rows[2] = rows[2].replace(b"p2", b"px")
    elif attack == "delete":
        del rows[2]
    elif attack == "swap":
        rows[2], rows[3] = rows[3], rows[2]
    elif attack == "insert":
        rows.insert(3, rows[2])
    else:
        rows[0] = rows[0].replace(b'"seq":1', b'"seq":7')
    path.write_bytes(b"".join(rows))
    with pytest.raises(AuditBroken) as caught:
        audit.verify(path)
    assert 2 <= caught.value.line <= 4


def test_a_torn_line_is_cut_off_and_told(tmp_path: Path) -> None:
    """kill -9 in mid-write: the whole lines stay, the chain goes on, and the tear is on record."""
    path = tmp_path / "audit.jsonl"
    with AuditLog.open(path, now_s=NOW_S) as log:
        log.record("peer", "expired", now_s=NOW_S)
        log.record("peer", "expired", now_s=NOW_S + 1)
    path.write_bytes(path.read_bytes()[:-30])
    with AuditLog.open(path, now_s=NOW_S + 2) as log:
        log.record("peer", "expired", now_s=NOW_S + 3)
    assert audit.verify(path)[0] == 3
    assert [record["reason"] for record in lines(path)] == ["expired", "torn-line", "expired"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(texts=st.lists(st.text(), min_size=1, max_size=5))
def test_foreign_text_is_one_line_of_printable_ascii(tmp_path: Path, texts: list[str]) -> None:
    """Whatever a stranger is called: one record a line, nothing that acts on a terminal."""
    path = tmp_path / "audit.jsonl"
    path.unlink(missing_ok=True)
    with AuditLog.open(path, now_s=NOW_S) as log:
        for number, text in enumerate(texts):
            log.record("peer", text, now_s=NOW_S + number, name=text)
        assert audit.verify(path) == (len(texts), log.head)
    data = path.read_bytes()
    assert data.count(b"\n") == len(texts)
    assert all(byte == 0x0A or 0x20 <= byte < 0x7F for byte in data)


def test_a_flood_of_one_reason_is_counted_not_written(tmp_path: Path) -> None:
    """Ten thousand refusals in a second: twenty lines and one sum; other reasons are not hidden."""
    path = tmp_path / "audit.jsonl"
    with AuditLog.open(path, now_s=NOW_S) as log:
        for _ in range(10_000):
            log.record("peer", "wrong-authority", now_s=NOW_S)
        assert log.record("peer", "revoked", now_s=NOW_S)
        log.flush(now_s=NOW_S + 1)
        assert log.counts[("peer", "wrong-authority")] == 10_000
    records = lines(path)
    assert len(records) == audit.MAX_LINES_PER_S + 2
    assert records[-1]["detail"] == {"suppressed": str(10_000 - audit.MAX_LINES_PER_S)}
    assert audit.verify(path)[0] == len(records)


def test_reasons_are_bounded(tmp_path: Path) -> None:
    """A stranger who could invent reasons could fill memory: beyond the limit they share one
    count.
    """
    with AuditLog.open(tmp_path / "audit.jsonl", now_s=NOW_S) as log:
        for number in range(1_000):
            log.record("peer", f"reason-{number}", now_s=NOW_S)
        assert len(log.counts) <= audit.MAX_REASONS + 1
        assert log.counts.total() == 1_000


def test_a_full_file_is_put_aside_and_the_chain_goes_on(tmp_path: Path) -> None:
    """The second file starts with the head of the first, also after a restart between the two."""
    path = tmp_path / "audit.jsonl"
    with AuditLog.open(path, now_s=NOW_S, max_bytes=400) as log:
        for number in range(4):
            log.record("peer", "expired", now_s=NOW_S + number)
    (aside,) = tmp_path.glob("audit.jsonl.0*")
    count, head = audit.verify(aside)
    more, _ = audit.verify(path, head=head)
    assert count + more == 4
    path.write_bytes(b"")  # killed right after the new file was made
    with AuditLog.open(path, now_s=NOW_S) as log:
        log.record("peer", "expired", now_s=NOW_S)
    assert audit.verify(path, head=head)[0] == 1


def test_a_file_others_can_write_is_not_an_audit(tmp_path: Path) -> None:
    """Append-only means only for us."""
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"")
    path.chmod(0o666)
    with pytest.raises(FileRefused, match="chmod 600"):
        AuditLog.open(path, now_s=NOW_S)


def test_long_details_are_cut(tmp_path: Path) -> None:
    """A megabyte of foreign text costs a line of some hundred bytes."""
    path = tmp_path / "audit.jsonl"
    with AuditLog.open(path, now_s=NOW_S) as log:
        log.record("peer", "expired", now_s=NOW_S, name="z" * 2**20)
    assert path.stat().st_size < 1_000
