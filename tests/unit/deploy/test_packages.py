"""System tools: found, installed as root through apt, or named with the command that gets them.

``apt-get`` is a stand-in that records what it was asked and "installs" by making the tool appear.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.deploy import packages
from isthmus.deploy.errors import PackagesMissing
from isthmus.deploy.packages import TOOLS, ensure, find_tool, install_command, missing_tools

STAND_IN = """#!/bin/sh
echo "$@" >> {log}
case "$1 {fail}" in
  "install no") for tool in {brings}; do printf '#!/bin/sh\\n' > {bin}/$tool; /bin/chmod +x {bin}/$tool; done;;
  "install yes") echo "E: Unable to locate package"; exit 100;;
esac
"""


class Machine:
    """A machine whose tools are the files of one folder."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.log = folder / "apt.log"
        self.log.touch()
        self.environ = {"PATH": str(self.bin)}

    def put(self, *tools: str) -> None:
        for tool in tools:
            (self.bin / tool).write_text("#!/bin/sh\n")
            (self.bin / tool).chmod(0o755)

    def put_apt(self, *, brings: str = "", fail: str = "no") -> None:
        text = STAND_IN.format(log=self.log, bin=self.bin, brings=brings or "none", fail=fail)
        (self.bin / "apt-get").write_text(text)
        (self.bin / "apt-get").chmod(0o755)

    def asked(self) -> list[str]:
        return self.log.read_text().splitlines()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A bare machine; the real administrator's folders are out of sight."""
    monkeypatch.setattr(packages, "search_path", lambda environ: environ["PATH"])
    return Machine(tmp_path)


async def test_nothing_missing_asks_nobody(machine: Machine) -> None:
    """`make` calls it each time; apt takes seconds and a lock."""
    machine.put(*TOOLS)
    machine.put_apt()
    assert await ensure(environ=machine.environ, is_root=True) == ()
    assert machine.asked() == []


async def test_root_gets_exactly_the_missing_packages(machine: Machine) -> None:
    """One update, one install, each package once, nothing recommended on top."""
    machine.put(*(tool for tool in TOOLS if tool not in ("nft", "ip", "tc")))
    machine.put_apt(brings="nft ip tc")
    said: list[str] = []
    got = await ensure(progress=said.append, environ=machine.environ, is_root=True)
    assert sorted(got) == ["ip", "nft", "tc"]
    assert machine.asked() == [
        "update -q",
        "install -y -q --no-install-recommends iproute2 nftables",
    ]
    assert "iproute2" in said[0]


async def test_a_user_is_told_the_command(machine: Machine) -> None:
    """We never ask for a password behind a person's back."""
    machine.put(*(tool for tool in TOOLS if tool != "nft"))
    machine.put_apt()
    with pytest.raises(
        PackagesMissing, match=r"nft \(nftables\); run as root: apt-get install"
    ) as e:
        await ensure(environ=machine.environ, is_root=False)
    assert e.value.tools == ("nft",)
    assert machine.asked() == []


async def test_without_apt_the_packages_are_named(machine: Machine) -> None:
    """Other distributions have other package managers; the names help anyway."""
    machine.put(*(tool for tool in TOOLS if tool != "haproxy"))
    with pytest.raises(PackagesMissing, match=r"haproxy \(haproxy\); there is no apt-get here"):
        await ensure(environ=machine.environ, is_root=True)


async def test_a_failing_apt_is_told_with_its_words(machine: Machine) -> None:
    """No network: the reason must be in the one message."""
    machine.put(*(tool for tool in TOOLS if tool != "nft"))
    machine.put_apt(fail="yes")
    with pytest.raises(PackagesMissing, match=r"(?s)source reachable.*Unable to locate package"):
        await ensure(environ=machine.environ, is_root=True)


async def test_an_apt_that_brings_nothing_is_not_believed(machine: Machine) -> None:
    """Exit code 0 is a claim, the tool on the machine is the fact."""
    machine.put(*(tool for tool in TOOLS if tool != "nft"))
    machine.put_apt(brings="")
    with pytest.raises(PackagesMissing, match="still missing after"):
        await ensure(environ=machine.environ, is_root=True)


def test_the_administrators_folders_are_searched_too() -> None:
    """On Debian a user's PATH lacks /usr/sbin, where ip, tc and nft are."""
    assert packages.search_path({"PATH": "/bin"}).split(":") == [
        "/bin",
        "/usr/local/sbin",
        "/usr/sbin",
        "/sbin",
    ]
    assert packages.search_path({"PATH": "/usr/sbin:/bin"}).count("/usr/sbin") == 1
    assert find_tool("ip", {"PATH": "/nowhere"}) is not None


def test_the_command_names_each_package_once() -> None:
    """It is meant to be pasted."""
    assert install_command(["ip", "tc", "nft"]).endswith(
        "--no-install-recommends iproute2 nftables"
    )


def test_this_machine_has_them_all() -> None:
    """The rest of the tests stand on these."""
    assert missing_tools() == ()
