"""Programs are found in the promised order, and none below its floor is ever used.

The floor of etcd is security: below it, a reader of one key watches everything behind it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from isthmus.deploy.binaries import (
    NAMES,
    Binary,
    Name,
    cache_folder,
    find,
    find_all,
    main,
    new_enough,
    parse_version,
    recipe_folder,
)
from isthmus.deploy.errors import BinaryMissing, BinaryTooOld, CommandFailed


def _fake(folder: Path, name: str, says: str) -> Path:
    """A program that only says its version."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """An environment in which nothing is found."""
    return {"HOME": str(tmp_path / "home"), "PATH": str(tmp_path / "path")}


@pytest.mark.parametrize(
    ("version", "good"),
    [
        ((3, 4, 99), False),
        ((3, 5, 32), False),
        ((3, 5, 33), True),
        ((3, 6, 13), False),
        ((3, 6, 14), True),
        ((3, 7, 0), False),
        ((3, 7, 1), True),
        ((3, 8, 0), True),
        ((4, 0, 0), True),
        ((2, 99, 99), False),
    ],
)
def test_the_floor_of_etcd_is_per_minor_line(version: tuple[int, int, int], good: bool) -> None:
    """3.7.0 is newer than 3.6.14 and leaks; 3.6.14 does not."""
    assert new_enough("etcd", version) is good
    assert new_enough("etcdctl", version) is good


def test_the_floor_of_toxiproxy_is_what_was_measured() -> None:
    """Its toxics behave as we rely on from this version on."""
    assert not new_enough("toxiproxy-server", (2, 11, 9))
    assert new_enough("toxiproxy-server", (2, 12, 0))


@pytest.mark.parametrize(
    ("says", "version"),
    [
        ("etcd Version: 3.7.3\nGit SHA: module:v3.7.3@h1:Kc=", (3, 7, 3)),
        ("etcdctl version: 3.6.14\nAPI version: 3.6", (3, 6, 14)),
        ("toxiproxy-server version 2.12.0", (2, 12, 0)),
        ("usage: etcd [flags]", None),
        ("", None),
    ],
)
def test_versions_are_read_from_what_programs_really_print(
    says: str, version: tuple[int, int, int] | None
) -> None:
    """Three programs, three ways of saying it."""
    assert parse_version(says) == version


async def test_the_order_is_folder_cache_path(tmp_path: Path, environ: dict[str, str]) -> None:
    """The user's word first, then our own build, then what the machine happens to have."""
    on_path = _fake(tmp_path / "path", "etcd", "etcd Version: 3.6.14")
    assert await find("etcd", environ) == Binary("etcd", on_path, "3.6.14", "PATH")
    cached = _fake(cache_folder(environ), "etcd", "etcd Version: 3.7.3")
    assert await find("etcd", environ) == Binary("etcd", cached, "3.7.3", "cache")
    named = _fake(tmp_path / "named", "etcd", "etcd Version: 3.7.1")
    environ["ISTHMUS_BIN_DIR"] = str(tmp_path / "named")
    assert await find("etcd", environ) == Binary("etcd", named, "3.7.1", "ISTHMUS_BIN_DIR")


async def test_too_old_where_the_user_pointed_is_an_error(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    """Silently taking another one would surprise the person who set the variable."""
    _fake(tmp_path / "named", "etcd", "etcd Version: 3.5.30")
    _fake(tmp_path / "path", "etcd", "etcd Version: 3.7.3")
    environ["ISTHMUS_BIN_DIR"] = str(tmp_path / "named")
    with pytest.raises(
        BinaryTooOld, match=r"3\.5\.30, below the floor 3\.7\.1 / 3\.6\.14 / 3\.5\.33"
    ):
        await find("etcd", environ)


async def test_too_old_on_path_is_passed_over_with_the_reason(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    """A distribution's etcd must not stop us, and must not be used."""
    _fake(tmp_path / "path", "etcd", "etcd Version: 3.4.23")
    with pytest.raises(BinaryMissing, match=r"3\.4\.23, below the floor"):
        await find("etcd", environ)


async def test_a_program_that_says_no_version_is_not_taken(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    """Something else of that name, or a wrapper that is broken."""
    _fake(tmp_path / "path", "etcd", "hello")
    with pytest.raises(BinaryMissing, match="does not say its version"):
        await find("etcd", environ)


async def test_a_program_that_fails_where_the_user_pointed_says_so(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    """For example one of another processor's kind."""
    broken = _fake(tmp_path / "named", "etcd", "")
    broken.write_text("#!/bin/sh\necho cannot execute; exit 126\n")
    environ["ISTHMUS_BIN_DIR"] = str(tmp_path / "named")
    with pytest.raises(CommandFailed, match="cannot execute"):
        await find("etcd", environ)


async def test_missing_names_every_place_and_the_way_out(environ: dict[str, str]) -> None:
    """One message, enough to act on."""
    environ["ISTHMUS_BIN_DIR"] = "/nowhere"
    with pytest.raises(BinaryMissing) as caught:
        await find("toxiproxy-cli", environ)
    text = str(caught.value)
    for part in (
        "ISTHMUS_BIN_DIR=/nowhere",
        str(cache_folder(environ)),
        "PATH",
        "binaries ensure",
        ">= 2.12.0",
    ):
        assert part in text


def test_another_recipe_has_another_cache(environ: dict[str, str]) -> None:
    """An upgrade of the pins can never be answered by yesterday's build."""
    folder = cache_folder(environ)
    assert folder.parent == Path(environ["HOME"]) / ".cache" / "isthmus" / "bin"
    assert cache_folder({**environ, "XDG_CACHE_HOME": "/c"}) == Path("/c/isthmus/bin") / folder.name


def test_the_recipe_pins_what_we_promise() -> None:
    """etcd and toxiproxy by version and checksum; Go by its floor."""
    folder = recipe_folder()
    sums = (folder / "go.sum").read_text()
    assert "go.etcd.io/etcd/server/v3 v3.7.3 h1:" in sums
    assert "github.com/Shopify/toxiproxy/v2 v2.12.0 h1:" in sums
    assert "\ngo 1.26.0\n" in (folder / "go.mod").read_text()


def test_the_command_line_refuses_what_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 is bad usage everywhere in the house."""
    assert main(["install"]) == 2
    assert "usage" in capsys.readouterr().err


async def test_this_machine_has_them_all() -> None:
    """The rest of the tests stand on these; better one clear failure here than fifty there."""
    found = await find_all(os.environ)
    assert tuple(found) == NAMES
    name: Name
    for name, binary in found.items():
        version = parse_version(f"version {binary.version}")
        assert version is not None
        assert new_enough(name, version)
