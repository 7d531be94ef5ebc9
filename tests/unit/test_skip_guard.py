"""The guard against silent skips is itself tested, on real runs of pytest in a folder of its own."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from isthmus.deploy.command import Completed, run

GUARD = Path(__file__).parents[1] / "conftest.py"

TESTS = """
import pytest

def test_passes(): pass

@pytest.mark.skip(reason="no such machine")
def test_marked(): pass

@pytest.mark.parametrize("n", [1, 2])
def test_skips_itself(n): pytest.skip("not today")

@pytest.mark.xfail(strict=True)
def test_expected_to_fail(): assert False
"""


class Folder:
    """A folder with the guard, a list and one test file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        shutil.copy(GUARD, path / "conftest.py")

    def write(self, tests: str, *listed: str) -> None:
        (self.path / "test_it.py").write_text(tests)
        (self.path / "allowed_skips.txt").write_text("# head\n\n" + "\n".join(listed) + "\n")

    async def pytest(self) -> Completed:
        argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir=."]
        return await run(argv, timeout_s=60, check=False, cwd=self.path)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """See Folder."""
    return Folder(tmp_path)


async def test_an_unlisted_skip_turns_a_green_run_red_and_is_named(folder: Folder) -> None:
    """Otherwise a machine without etcd would pass everything."""
    folder.write(TESTS, "test_it.py::test_marked  # there is no such machine")
    done = await folder.pytest()
    assert done.code == 1
    assert "FAILED test_it.py::test_skips_itself[1]: Skipped: not today" in done.output
    assert "test_marked" not in done.output
    assert "test_expected_to_fail" not in done.output


async def test_listed_skips_pass(folder: Folder) -> None:
    """By full id, by the id of a parametrised test without its parameters, or by file."""
    folder.write(TESTS, "test_it.py::test_marked # a", "test_it.py::test_skips_itself # b")
    assert (await folder.pytest()).code == 0
    folder.write(TESTS, "test_it.py # all of it")
    assert (await folder.pytest()).code == 0


async def test_a_file_that_skips_itself_is_seen(folder: Folder) -> None:
    """importorskip at the head of a file drops all its tests without a trace in the tally."""
    folder.write("import pytest\npytest.importorskip('no_such_module')\ndef test_a(): pass\n")
    (folder.path / "test_other.py").write_text("def test_b(): pass\n")
    done = await folder.pytest()
    assert done.code == 1
    assert "FAILED test_it.py: Skipped: could not import 'no_such_module'" in done.output


async def test_a_failing_run_keeps_its_own_code(folder: Folder) -> None:
    """Interrupted (2) or broken (3) must not be told as merely failed."""
    folder.write("import pytest\ndef test_a(): raise KeyboardInterrupt\n")
    assert (await folder.pytest()).code == 2


async def test_a_list_entry_without_a_reason_stops_the_run(folder: Folder) -> None:
    """A list without reasons is how skips become a habit."""
    folder.write("def test_a(): pass\n", "test_it.py::test_a")
    done = await folder.pytest()
    assert done.code == 4
    assert "allowed_skips.txt line 3: 'test_it.py::test_a' has no '# reason'" in done.output


async def test_without_skips_it_says_nothing(folder: Folder) -> None:
    """The closing line of pytest stays the last."""
    folder.write("def test_a(): pass\n")
    done = await folder.pytest()
    assert done.code == 0
    assert done.output.strip().splitlines()[-1].startswith("1 passed")
