"""Large data elsewhere (R41): a pointer finds exactly what was put, or nothing; nothing is ever half there."""

from __future__ import annotations

import asyncio
import hashlib
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from isthmus.contract.blobs import FileStore
from isthmus.contract.envelope import VALUE_LIMIT_BYTES, Stamp, seal, unseal
from isthmus.contract.errors import PointerRefused, ValueRefused
from isthmus.contract.instance import InstanceConfig
from isthmus.contract.pointer import (
    ObjectUrl,
    Pointer,
    content_hash,
    content_url,
    follow,
    seal_or_point,
    unseal_or_follow,
)

STAMP = Stamp(origin="test", incarnation="1")
MIB = 1024 * 1024


class Bucket:
    """An object store of memory that may lie."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.asked: list[str] = []

    async def fetch(self, url: ObjectUrl, *, limit_bytes: int, timeout_s: float) -> bytes:
        self.asked.append(str(url))
        assert timeout_s > 0
        return self.answer


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    """With room for a megabyte."""
    return FileStore(tmp_path / "blobs", limit_bytes=MIB)


@given(st.binary(max_size=2000))
@settings(max_examples=50, deadline=None)
def test_what_was_put_is_found_by_its_pointer(data: bytes) -> None:
    """And its name is the one that RFC 6920 gives it, there and back."""
    with tempfile.TemporaryDirectory() as folder:
        store = FileStore(Path(folder), limit_bytes=4096)
        digest = store.put(data)
        assert store.put(data) == digest == hashlib.sha256(data).hexdigest()
        assert store.size_bytes == len(data), "the same data is stored once"
        pointer = Pointer.to(data)
        assert content_hash(pointer.url) == digest
        assert asyncio.run(follow(pointer, store)) == data


@given(st.binary(min_size=1, max_size=500), st.data())
@settings(max_examples=50, deadline=None)
def test_any_change_of_the_data_is_noticed(data: bytes, draw: st.DataObject) -> None:
    """The place need not be trusted: one flipped bit, one byte more, one less."""
    index = draw.draw(st.integers(0, len(data) - 1))
    bit = draw.draw(st.integers(0, 7))
    flipped = bytearray(data)
    flipped[index] ^= 1 << bit
    pointer = Pointer.to(data, url="s3://bucket/key")
    assert pointer.verify(data) == data
    for other in (bytes(flipped), data + b"\0", data[:-1]):
        with pytest.raises(PointerRefused):
            pointer.verify(other)


@given(st.text(max_size=60))
@settings(max_examples=200)
def test_no_foreign_url_is_followed_or_normalised(text: str) -> None:
    """What is accepted is exactly what was written; everything else is refused, typed."""
    try:
        assert str(ObjectUrl.parse(text)) == text
    except PointerRefused:
        assert not PROPER.fullmatch(text), "only what no store takes is refused"
    found = content_hash(text)
    assert found is None or content_url(found) == text


PROPER = re.compile(r"s3://[a-z0-9]{3,20}/[A-Za-z0-9]{1,20}")
KEY = st.lists(
    st.from_regex(r"[A-Za-z0-9_'()*!-][A-Za-z0-9._'()*!-]{0,8}", fullmatch=True),
    min_size=1,
    max_size=4,
)


@given(st.from_regex(r"[a-z0-9][a-z0-9-]{1,20}[a-z0-9]", fullmatch=True), KEY)
@settings(max_examples=100)
def test_proper_object_urls_are_taken(bucket: str, parts: list[str]) -> None:
    """There and back."""
    key = "/".join(parts)
    assert ObjectUrl.parse(f"s3://{bucket}/{key}") == ObjectUrl(bucket, key)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "s3://",
        "s3://bucket",
        "s3://bucket/",
        "s3:///key",
        "s3://ab/key",
        "s3://Bucket/key",
        "s3://buck..et/key",
        "s3://10.0.0.1/key",
        "s3://bucket/../key",
        "s3://bucket/a//b",
        "s3://bucket/./b",
        "s3://bucket/a b",
        "s3://bucket/a?versionId=1",
        "s3://bucket/a%2Fb",
        "s3://user:secret@bucket/key",
        "s3://bucket:80/key",
        "S3://bucket/key",
        "file:///etc/passwd",
        "http://169.254.169.254/latest",
        "ni:///sha-256;AAAA",
        "ni://host/sha-256;" + "A" * 43,
        "ni:///sha-256;" + "A" * 42 + "B",
    ],
)
def test_each_url_that_could_lead_astray_is_refused(url: str) -> None:
    """A pointer is another component's word: it must not make its reader open a file or an address."""
    with pytest.raises(ValidationError, match="url"):
        Pointer(sha256="0" * 64, size_bytes=1, url=url)


def test_a_pointer_to_another_hash_than_its_own_is_refused() -> None:
    """Two names for one thing must agree."""
    with pytest.raises(ValidationError, match="another hash"):
        Pointer(sha256="0" * 64, size_bytes=1, url=content_url("1" * 64))


async def test_a_value_over_the_cap_is_refused_with_the_way_out(store: FileStore) -> None:
    """R41: the message names the pointer; the pointer then takes the same body there and back."""
    body = InstanceConfig(type="firewall", parameters={"rules": "x" * VALUE_LIMIT_BYTES})
    with pytest.raises(ValueRefused, match=r"write a pointer .*isthmus\.contract\.pointer"):
        seal(body, STAMP, as_of=1.0)
    value = seal_or_point(body, STAMP, store, as_of=5.0, ttl_s=9.0)
    assert len(value) < 1000
    assert unseal(value, Pointer).body.of == "InstanceConfig/1"
    held = await unseal_or_follow(value, InstanceConfig, store)
    assert held.body == body
    assert (held.schema_, held.as_of, held.ttl_s, held.origin) == (
        "InstanceConfig/1",
        5.0,
        9.0,
        "test",
    )


async def test_a_value_under_the_cap_stays_where_it_is(store: FileStore) -> None:
    """A pointer costs a second look; small facts are in the key."""
    body = InstanceConfig(type="firewall")
    value = seal_or_point(body, STAMP, store, as_of=1.0)
    assert value == seal(body, STAMP, as_of=1.0)
    assert store.size_bytes == 0
    assert (await unseal_or_follow(value, InstanceConfig, store)).body == body


async def test_a_pointer_where_another_body_is_expected_is_refused(store: FileStore) -> None:
    """The schema says what lies there; what lies there must be it."""
    data = b'{"type": 5}'
    store.put(data)
    lies = Pointer.to(data, of="InstanceConfig/1")
    with pytest.raises(ValueRefused, match="no InstanceConfig"):
        await unseal_or_follow(seal(lies, STAMP, as_of=1.0), InstanceConfig, store)
    other = Pointer.to(data, of="ChainPlan/1")
    with pytest.raises(ValueRefused, match="ChainPlan/1"):
        await unseal_or_follow(seal(other, STAMP, as_of=1.0), InstanceConfig, store)
    with pytest.raises(ValueRefused, match="schema"):
        await unseal_or_follow(b'{"schema":"A/1","body":{}}', InstanceConfig, store)


async def test_objects_are_fetched_by_the_port_and_checked(store: FileStore) -> None:
    """The port may be anybody's; its answer is believed when the hash is right."""
    pointer = Pointer.to(b"data", url="s3://bucket/key")
    bucket = Bucket(b"data")
    assert await follow(pointer, store, bucket) == b"data"
    assert bucket.asked == ["s3://bucket/key"]
    with pytest.raises(PointerRefused, match="hash"):
        await follow(pointer, store, Bucket(b"dato"))
    with pytest.raises(PointerRefused, match="ObjectPort"):
        await follow(pointer, store)
    with pytest.raises(PointerRefused, match="this reader takes 3"):
        await follow(pointer, store, bucket, limit_bytes=3)
    assert len(bucket.asked) == 1, "too large is known before anything is fetched"


def test_the_store_is_bounded_and_sweeps_what_nobody_points_to(tmp_path: Path) -> None:
    """Both sides of the limit; what is pointed to stays."""
    store = FileStore(tmp_path, limit_bytes=10)
    kept, idle = store.put(b"12345"), store.put(b"67890")
    with pytest.raises(PointerRefused, match="sweep"):
        store.put(b"x")
    assert store.put(b"12345") == kept, "what is there needs no room"
    assert store.sweep({kept}, keep_bytes=5) == 0
    assert store.sweep({kept}) == 1
    with pytest.raises(PointerRefused, match="no content"):
        store.get(idle, limit_bytes=10)
    assert store.get(kept, limit_bytes=5) == b"12345"
    with pytest.raises(PointerRefused, match="more than the 4"):
        store.get(kept, limit_bytes=4)
    with pytest.raises(PointerRefused, match="limit_bytes=0"):
        FileStore(tmp_path, limit_bytes=0)


def test_half_a_file_never_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk or a crash in the middle of a write leaves nothing that a reader could find."""
    store = FileStore(tmp_path, limit_bytes=MIB)

    def fails(*_: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("os.fsync", fails)
        with pytest.raises(OSError, match="no space"):
            store.put(b"data")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".partial-left").write_bytes(b"da")
    assert FileStore(tmp_path, limit_bytes=MIB).size_bytes == 0
    assert not (tmp_path / ".partial-left").exists()


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: data + b"x", lambda data: b""]
)
def test_a_damaged_file_is_refused_and_can_be_written_again(
    store: FileStore, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    """Disks lie, too."""
    digest = store.put(b"data")
    path = tmp_path / "blobs" / digest
    path.write_bytes(damage(b"data"))
    with pytest.raises(PointerRefused):
        store.get(digest, limit_bytes=4)
    assert store.put(b"data") == digest
    assert store.get(digest, limit_bytes=4) == b"data"


@pytest.mark.parametrize("name", ["../../etc/passwd", "0" * 63, "0" * 65, "A" * 64, ""])
def test_only_hashes_are_names(store: FileStore, name: str) -> None:
    """The name becomes a path."""
    with pytest.raises(PointerRefused, match="no sha256"):
        store.get(name, limit_bytes=1)
