"""The programs Isthmus runs but does not ship: where they are, whether they are new enough.

etcd, etcdctl and etcdutl are the store; toxiproxy-server and -cli sit on the links of the lab.
Each is looked for, one by one, in this order (DESIGN section 8):

1. the folder in ``ISTHMUS_BIN_DIR``: the user's word; too old there is an error, not a miss;
2. the cache, ``~/.cache/isthmus/bin/<digest of the recipe>``: what we built ourselves;
3. PATH, if new enough;
4. else built with Go from the modules that ``deploy/binaries/go.sum`` pins (``build``).

The floor of etcd is a matter of security: below 3.7.1 / 3.6.14 / 3.5.33 a reader of one key can
watch everything behind it.

    python -m isthmus.deploy.binaries ensure      build what is missing, say where all of it is
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from isthmus.deploy.command import run
from isthmus.deploy.errors import BinaryMissing, BinaryTooOld, DeployError

BIN_DIR_VARIABLE: Final = "ISTHMUS_BIN_DIR"

Name = Literal["etcd", "etcdctl", "etcdutl", "toxiproxy-server", "toxiproxy-cli"]
Origin = Literal["ISTHMUS_BIN_DIR", "cache", "PATH", "built"]
Version = tuple[int, int, int]

NAMES: Final[tuple[Name, ...]] = get_args(Name)

# The oldest patch of each minor line that is safe; newer lines than these are safe, older are not.
_ETCD_FLOOR: Final[Mapping[tuple[int, int], int]] = {(3, 5): 33, (3, 6): 14, (3, 7): 1}
_TOXIPROXY_FLOOR: Final[Version] = (2, 12, 0)  # the one whose behaviour was measured

_ASK_VERSION_S: Final = 20.0  # generous: a cold 25 MB program on a loaded machine
_VERSION = re.compile(r"version:?\s+v?(\d+)\.(\d+)\.(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Binary:
    """A program that is there and new enough."""

    name: Name
    path: Path
    version: str
    origin: Origin


def recipe_folder() -> Path:
    """Where go.mod and go.sum are: beside the source tree, or inside an installed package."""
    here = Path(__file__).resolve()
    beside = here.parents[2] / "binaries"
    return beside if (beside / "go.sum").is_file() else here.parent / "recipe"


def cache_folder(environ: Mapping[str, str] = os.environ, recipe: Path | None = None) -> Path:
    """The folder of what was built from exactly this recipe (ours); another recipe, another folder."""
    base = environ.get("XDG_CACHE_HOME") or str(
        Path(environ.get("HOME", "~")).expanduser() / ".cache"
    )
    digest = hashlib.sha256(((recipe or recipe_folder()) / "go.sum").read_bytes()).hexdigest()[:16]
    return Path(base) / "isthmus" / "bin" / digest


def parse_version(output: str) -> Version | None:
    """The version in what a program prints about itself, None when there is none."""
    found = _VERSION.search(output)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def floor_text(name: Name) -> str:
    """The floor in words, for messages."""
    if name.startswith("toxiproxy"):
        return ">= " + ".".join(map(str, _TOXIPROXY_FLOOR))
    return " / ".join(f"{a}.{b}.{p}" for (a, b), p in sorted(_ETCD_FLOOR.items(), reverse=True))


def new_enough(name: Name, version: Version) -> bool:
    """Is ``version`` of ``name`` at or above the floor of its line?"""
    if name.startswith("toxiproxy"):
        return version >= _TOXIPROXY_FLOOR
    line, patch = version[:2], version[2]
    return line > max(_ETCD_FLOOR) or patch >= _ETCD_FLOOR.get(line, sys.maxsize)


async def probe(name: Name, path: Path, origin: Origin) -> Binary:
    """Ask the program at ``path`` for its version. BinaryTooOld, or DeployError if it is none."""
    flag = "version" if name in ("etcdctl", "etcdutl") else "--version"
    answer = await run([str(path), flag], timeout_s=_ASK_VERSION_S)
    version = parse_version(answer.output)
    if version is None:
        raise BinaryTooOld(f"{name}: {path} does not say its version; it is not what we look for")
    text = ".".join(map(str, version))
    if not new_enough(name, version):
        raise BinaryTooOld(
            f"{name}: {path} is {text}, below the floor {floor_text(name)}; "
            f"upgrade it, or unset {BIN_DIR_VARIABLE} to have it built"
        )
    return Binary(name, path, text, origin)


async def find(name: Name, environ: Mapping[str, str] = os.environ) -> Binary:
    """Find one program without building. BinaryMissing says where it was looked for."""
    looked: list[str] = []
    named = environ.get(BIN_DIR_VARIABLE)
    if named:
        path = Path(named).expanduser() / name
        if _executable(path):
            return await probe(name, path, "ISTHMUS_BIN_DIR")
        looked.append(f"{BIN_DIR_VARIABLE}={named}")
    cached = cache_folder(environ) / name
    if _executable(cached):
        return await probe(name, cached, "cache")
    looked.append(str(cached.parent))
    on_path = shutil.which(name, path=environ.get("PATH", os.defpath))
    if on_path is not None:
        try:
            return await probe(name, Path(on_path), "PATH")
        except DeployError as error:
            looked.append(f"PATH ({error})")
    else:
        looked.append("PATH")
    raise BinaryMissing(
        f"{name}: not in {'; not in '.join(looked)}. "
        "Run `python -m isthmus.deploy.binaries ensure` to build it, "
        f"or set {BIN_DIR_VARIABLE} to a folder that has it ({floor_text(name)})"
    )


async def find_all(environ: Mapping[str, str] = os.environ) -> dict[Name, Binary]:
    """Find all programs without building; the first that is missing raises."""
    found = await asyncio.gather(*(find(name, environ) for name in NAMES))
    return dict(zip(NAMES, found, strict=True))


def _executable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def main(argv: Sequence[str]) -> int:
    """The command line: ``ensure`` builds what is missing, ``find`` only looks."""
    from isthmus.deploy.build import ensure  # here: build stands on this module

    if list(argv) not in (["ensure"], ["find"]):
        print("usage: python -m isthmus.deploy.binaries ensure|find", file=sys.stderr)
        return 2
    try:
        found = asyncio.run(ensure(progress=print) if argv[0] == "ensure" else find_all())
    except DeployError as error:
        print(error, file=sys.stderr)
        return 1
    if argv[0] == "ensure":
        each = ", ".join(f"{binary.name} {binary.version}" for binary in found.values())
        print(f"programs: all {len(found)} are there ({each})")
        return 0
    for binary in found.values():
        print(f"{binary.name:<17} {binary.version:<8} {binary.origin:<16} {binary.path}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit("interrupted")
