"""The house's shape is a promise: six source roots, one namespace, small modules, no Ray below.

DESIGN sections 3 and 9. One ``__init__.py`` in the wrong folder hides five sixths of the packages,
and a Ray import that slipped into a lower layer would put 240 MB on every edge site.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import isthmus
from isthmus.deploy.command import run

HOUSE = Path(__file__).parents[2]
ROOTS = ("global", "site", "federation", "security", "deploy", "chaos")
MODULE_LINES = 400
FUNCTION_LINES = 60

PACKAGES = sorted(p.parent for root in ROOTS for p in HOUSE.glob(f"{root}/isthmus/*/__init__.py"))
MODULES = sorted(
    path
    for root in ROOTS
    for path in (HOUSE / root / "isthmus").rglob("*.py")
    if not path.name.endswith(("_pb2.py", "_pb2_grpc.py"))
)


TESTS = sorted((HOUSE / "tests").rglob("*.py"))


def _inside(path: Path) -> str:
    return str(path.relative_to(HOUSE))


def _name(package: Path) -> str:
    return f"isthmus.{package.name}"


@pytest.mark.parametrize("root", ROOTS)
def test_no_init_at_either_level_of_a_source_root(root: str) -> None:
    """It would end the namespace: whichever root came first would hide the others."""
    assert not (HOUSE / root / "__init__.py").exists()
    assert not (HOUSE / root / "isthmus" / "__init__.py").exists()


def test_every_source_root_is_on_the_namespace() -> None:
    """An editable install that forgot a root is found here, not by an odd ModuleNotFoundError."""
    portions = {Path(entry).resolve() for entry in isthmus.__path__}
    assert {(HOUSE / root / "isthmus").resolve() for root in ROOTS} <= portions


def test_every_folder_below_a_root_is_a_typed_package() -> None:
    """A folder without __init__.py would become a namespace of its own, unseen by import-linter."""
    for root in ROOTS:
        for folder in (HOUSE / root / "isthmus").iterdir():
            if folder.is_dir() and folder.name != "__pycache__":
                assert (folder / "__init__.py").is_file(), _inside(folder)
                assert (folder / "py.typed").is_file(), _inside(folder)


@pytest.mark.parametrize("path", [*MODULES, *TESTS], ids=_inside)
def test_modules_and_functions_are_small(path: Path) -> None:
    """A module is read in one sitting, a function on one screen; both limits are hard, for tests, too."""
    source = path.read_text()
    assert source.count("\n") <= MODULE_LINES, f"{_inside(path)}: more than {MODULE_LINES} lines"
    for name, lines in _functions(ast.parse(source)):
        assert lines <= FUNCTION_LINES, f"{_inside(path)}: {name} has {lines} lines"


def _functions(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1


@pytest.mark.parametrize("path", MODULES, ids=_inside)
def test_every_module_tells_its_story(path: Path) -> None:
    """Why it exists, before what it does."""
    assert ast.get_docstring(ast.parse(path.read_text())), f"{_inside(path)}: no module docstring"


@pytest.mark.parametrize("package", PACKAGES, ids=_inside)
def test_public_names_are_declared_sorted_and_there(package: Path) -> None:
    """``__all__`` is the promise of a package: complete, in order, each name importable."""
    module = importlib.import_module(_name(package))
    names = getattr(module, "__all__", None)
    if names is None:
        public = [n for n in vars(module) if not n.startswith("_") and n != "annotations"]
        loaded = {m.name for m in pkgutil.iter_modules([str(package)])}
        assert set(public) <= loaded, f"{module.__name__} exports {public} without __all__"
        return
    assert list(names) == sorted(names, key=_rank), f"{module.__name__}.__all__ is not sorted"
    assert len(names) == len(set(names))
    for name in names:
        assert hasattr(module, name), f"{module.__name__}.__all__ names {name}, which is not there"


def _rank(name: str) -> tuple[int, str]:
    """The formatter's order: CONSTANTS, Classes, functions; each by name."""
    return (0 if name.isupper() else 1 if name[:1].isupper() else 2, name)


WITHOUT_RAY = """
import sys
sys.modules["ray"] = None
import importlib, pkgutil
import isthmus
count = 0
for found in pkgutil.walk_packages(isthmus.__path__, "isthmus."):
    name = found.name
    if name.startswith("isthmus.global_tier") or name.endswith("__main__"):
        continue
    importlib.import_module(name)
    count += 1
print(count)
"""


async def test_everything_but_the_global_tier_works_without_ray() -> None:
    """A plain install is a site: 240 MB lighter, and nothing there may miss it."""
    done = await run([sys.executable, "-c", WITHOUT_RAY], timeout_s=100)
    assert int(done.output.split()[-1]) >= len(PACKAGES)


def test_nobody_names_the_machines_of_those_who_built_it() -> None:
    """Absolute paths of a builder's machine are of no use to anybody else."""
    forbidden = ("/tmp/" + "isthmus", "/work" + "/")
    for path in [*MODULES, *TESTS]:
        text = path.read_text()
        for part in forbidden:
            assert part not in text, f"{_inside(path)} names {part}"
