"""Instance folders are written by another process: whole or not at all, and checked before a name becomes a path."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from tests.integration.vnf.secure_etcd import Authority

from isthmus.vnf.errors import FolderRefused
from isthmus.vnf.folder import identity_in, read_folder, scan
from isthmus.vnf.inotify import FolderWatch

ONE = "i-000000000001"


def make(base: Path, **changes: object) -> Path:
    document = {
        "instance": ONE,
        "incarnation": 1,
        "type": "firewall",
        "version": "1",
        "form": "kernel",
        "netns": "isthmus@a@h1@i-1@1",
        "legs": {"in": "v1", "out": "v2"},
    }
    folder = base / ONE
    folder.mkdir(parents=True)
    for file in ("cert.pem", "key.pem", "ca.pem"):
        (folder / file).write_text(file)
    (folder / "instance.json").write_text(json.dumps(document | changes))
    return folder


def test_a_whole_folder_is_read(tmp_path: Path) -> None:
    """The names of the Linux plug-in's namespaces are among what must be possible."""
    folder = read_folder(make(tmp_path))
    assert folder.document.netns == "isthmus@a@h1@i-1@1"
    assert folder.socket == tmp_path / ONE / "kv.sock"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("netns", "../../proc/1/ns/net"),
        ("netns", "a/b"),
        ("netns", "-x"),
        ("netns", "."),
        ("incarnation", 0),
        ("incarnation", "soon"),
        ("form", "magic"),
        ("type", "Fire wall"),
        ("instance", "i-000000000002"),
    ],
)
def test_a_wrong_field_is_refused_by_name(tmp_path: Path, field: str, value: object) -> None:
    """The agent is root and enters the namespace that is named here."""
    with pytest.raises(FolderRefused, match=field if field != "instance" else "names"):
        read_folder(make(tmp_path, **{field: value}))


@pytest.mark.parametrize("file", ["instance.json", "cert.pem", "key.pem"])
def test_a_missing_file_is_named(tmp_path: Path, file: str) -> None:
    """Half a folder is no instance yet."""
    folder = make(tmp_path)
    (folder / file).unlink()
    with pytest.raises(FolderRefused, match=file):
        read_folder(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, "\x00"])
def test_no_document_crashes_the_reader(tmp_path: Path, text: str) -> None:
    """One broken folder must not stop the scan of the others."""
    folder = make(tmp_path)
    (folder / "instance.json").write_text(text)
    with pytest.raises(FolderRefused, match=ONE):
        read_folder(folder)


def test_a_scan_finds_whole_ones_complains_about_broken_ones_and_skips_names_in_the_making(
    tmp_path: Path,
) -> None:
    """A launcher builds aside, under a name with a dot, and renames."""
    make(tmp_path)
    make(tmp_path / "aside").rename(tmp_path / ".new-i-000000000003")
    (tmp_path / "i-000000000002").mkdir()
    (tmp_path / "README").write_text("a file")
    found, refused = scan(tmp_path)
    assert set(found) == {ONE}
    assert set(refused) == {"aside", "i-000000000002"}
    assert scan(tmp_path / "nowhere") == ({}, {})


def test_a_new_life_and_renewed_credentials_are_told_apart(tmp_path: Path) -> None:
    """The one starts the function anew, the other must not even close a socket."""
    before = read_folder(make(tmp_path))
    renewed_cert = tmp_path / "cert.new"
    renewed_cert.write_text("renewed")
    renewed_cert.rename(tmp_path / ONE / "cert.pem")
    renewed = read_folder(tmp_path / ONE)
    assert renewed.life == before.life
    assert renewed.credentials != before.credentials
    (tmp_path / ONE).rename(tmp_path / ".old")
    reborn = read_folder(make(tmp_path, incarnation=2))
    assert reborn.life != before.life


async def test_a_rename_into_the_folder_is_noticed_by_itself(tmp_path: Path) -> None:
    """An instance must not wait for the next scan."""
    staged, watched = tmp_path / "staged", tmp_path / "watched"
    watched.mkdir()
    watch = FolderWatch(watched)
    try:
        assert watch.live
        make(staged)
        assert not watch.changed.is_set()
        (staged / ONE).rename(watched / ONE)
        async with asyncio.timeout(5):
            await watch.changed.wait()
        watch.changed.clear()
        (watched / ONE).rename(staged / ONE)
        async with asyncio.timeout(5):
            await watch.changed.wait()
    finally:
        watch.close()
        watch.close()


async def test_a_folder_that_cannot_be_watched_is_only_scanned(tmp_path: Path) -> None:
    """Machines run out of inotify watches; then it is slower, not dead."""
    watch = FolderWatch(tmp_path / "nowhere")
    assert not watch.live
    watch.close()


def test_the_identity_in_a_certificate_is_found_and_nonsense_is_none(tmp_path: Path) -> None:
    """Every value says who wrote it; a broken certificate must not stop the writer."""
    authority = Authority(tmp_path)
    cert, _ = authority.leaf(f"instance.{ONE}", tmp_path / "leaf")
    assert identity_in(cert.read_text()) == f"spiffe://carrier.example/site/a/instance.{ONE}"
    assert identity_in(authority.ca_file.read_text()) in ("", "spiffe://carrier.example")
    for nonsense in (
        "",
        "no certificate",
        "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----",
    ):
        assert identity_in(nonsense) == ""
