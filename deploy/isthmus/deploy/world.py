"""A private world for everything that touches the kernel: nothing of it can leak.

    python -m isthmus.deploy.world -- CMD...

runs CMD in mount, network and pid namespaces of its own (and a user namespace when we are not
root). A lab, and each test that builds network namespaces, lives in one (DESIGN section 8). When
its first process ends, for whatever reason and were it SIGKILL, the kernel ends every process in
the world and frees every namespace, interface, rule and mount: there is no clean-up to forget.

Inside, ``/run/netns`` is an empty tmpfs of the world's own, so names of network namespaces never
collide with the machine's; ``/proc`` and ``/sys`` show the world only; ``lo`` is up; the
environment says ``ISTHMUS_WORLD=1``.

Two processes stand watch. The *gate* stays outside, passes on signals and the exit code. The
*init* is process 1 inside: it starts CMD, reaps orphans, passes on signals, and dies with the
gate (parent death signal). A terminal's ctrl-C reaches the whole foreground group by itself
(``si_code`` tells), so it is not passed on a second time: a second one would cut clean-up short.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from isthmus.deploy import kernel
from isthmus.deploy.errors import NoWorld
from isthmus.deploy.packages import search_path

WORLD_VARIABLE: Final = "ISTHMUS_WORLD"
NETNS_FOLDER: Final = Path("/run/netns")

_PASSED_ON: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_SENT_BY_KERNEL: Final = 0x80  # SI_KERNEL: the terminal's, seen by the whole foreground group
_CODE_NO_WORLD: Final = 69  # EX_UNAVAILABLE of sysexits.h: told from any exit code of CMD's habit
_CODE_NOT_FOUND: Final = 127


def in_world(environ: Mapping[str, str] = os.environ) -> bool:
    """True when this process was started inside a private world."""
    return environ.get(WORLD_VARIABLE) == "1"


def world_command(argv: Sequence[str], *, python: str = sys.executable) -> list[str]:
    """The argument list that runs ``argv`` in a private world."""
    return [python, "-m", "isthmus.deploy.world", "--", *argv]


def enter(argv: Sequence[str]) -> int:
    """Make a world, run ``argv`` in it, return its exit code (128 + n when signal n ended it).

    Changes the namespaces of the calling process: meant for a process that does nothing else.
    Raises NoWorld when the kernel grants no namespaces.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {*_PASSED_ON, signal.SIGCHLD})
    as_user = _unshare()
    alive_read, alive_write = os.pipe()
    report_read, report_write = os.pipe()
    init = os.fork()
    if init == 0:
        os.close(alive_write)
        os.close(report_read)
        _child(lambda: _init(argv, alive_read, report_write, as_user=as_user))
    os.close(alive_read)
    os.close(report_write)
    with os.fdopen(report_read) as report:
        problem = report.read()
    code = _wait_for(init)
    os.close(alive_write)
    if problem:
        raise NoWorld(problem)
    return code


def _unshare() -> bool:
    """Leave our namespaces; True when that took a user namespace as well."""
    flags = kernel.CLONE_NEWNS | kernel.CLONE_NEWNET | kernel.CLONE_NEWPID
    if os.geteuid() == 0:
        try:
            kernel.unshare(flags)
        except PermissionError:
            pass  # root of a container without CAP_SYS_ADMIN: a user namespace may still work
        else:
            return False
    user, group = os.geteuid(), os.getegid()
    try:
        kernel.unshare(flags | kernel.CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    except OSError as error:
        raise NoWorld(_why_not(error)) from error
    return True


def _why_not(error: OSError) -> str:
    who = "root without CAP_SYS_ADMIN" if os.geteuid() == 0 else f"user {os.geteuid()}"
    advice = {
        errno.EPERM: "run as root, or allow user namespaces: a container needs "
        "--cap-add SYS_ADMIN --cap-add NET_ADMIN, and a host with AppArmor "
        "`sysctl kernel.apparmor_restrict_unprivileged_userns=0`",
        errno.EACCES: "run as root, or `sysctl kernel.apparmor_restrict_unprivileged_userns=0`",
        errno.ENOSPC: "run as root, or raise `sysctl user.max_user_namespaces` (0 is off)",
        errno.EINVAL: "run as root; this kernel was built without user namespaces",
        errno.ENOSYS: "run as root, outside the system call filter that hides unshare",
    }
    return (
        f"no private world: {who} got no namespaces ({error.strerror}); "
        f"{advice.get(error.errno or 0, 'run as root')}"
    )


def _child(body: Callable[[], int]) -> None:
    """Run ``body`` as the whole life of a forked child: no exception or clean-up escapes it."""
    code = 1
    try:
        code = body()
    except OSError as error:
        print(f"world: {error}", file=sys.stderr)
    finally:
        os._exit(code)


def _init(argv: Sequence[str], alive: int, report: int, *, as_user: bool) -> int:
    """Process 1 of the world: prepare it, start the command, reap until the command is done."""
    kernel.set_parent_death_signal(signal.SIGKILL)
    gate = select.poll()
    gate.register(alive, select.POLLIN)
    if gate.poll(0):
        return 1  # the gate died before the death signal was armed
    try:
        _furnish(as_user=as_user)
    except OSError as error:
        reason = f"no private world: the kernel refused to furnish it ({error.strerror})"
        os.write(report, f"{reason}; run as root, outside a container that masks /proc".encode())
        return _CODE_NO_WORLD
    os.close(report)
    command = os.fork()
    if command == 0:
        _child(lambda: _execute(argv))
    return _wait_for(command)


def _execute(argv: Sequence[str]) -> int:
    """Become the command, with the signal mask a program expects."""
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    os.environ[WORLD_VARIABLE] = "1"
    os.environ["PATH"] = search_path()  # inside, a user is root: its tools are at hand
    try:
        os.execvp(argv[0], list(argv))
    except OSError as error:
        print(f"world: cannot run {argv[0]!r}: {error.strerror}", file=sys.stderr)
        return _CODE_NOT_FOUND


def _furnish(*, as_user: bool) -> None:
    """Give the world its own /proc, /sys, /run/netns and a loopback that is up."""
    kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
    safe = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
    kernel.mount("proc", "/proc", "proc", safe)
    with _kept("/sys/fs/cgroup"):
        kernel.mount("sysfs", "/sys", "sysfs", safe)
    if not as_user:
        NETNS_FOLDER.mkdir(parents=True, exist_ok=True)
    if not NETNS_FOLDER.is_dir():  # as a user we may not create it in the machine's /run
        with _kept(f"/run/user/{_outer_user()}"):
            kernel.mount("tmpfs", "/run", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755")
        NETNS_FOLDER.mkdir()
    kernel.mount("tmpfs", str(NETNS_FOLDER), "tmpfs", kernel.MS_NOSUID, "mode=755")
    kernel.loopback_up()


def _outer_user() -> int:
    """The user id that is root in here, as the machine knows it."""
    return int(Path("/proc/self/uid_map").read_text().split()[1])


@contextlib.contextmanager
def _kept(folder: str) -> Iterator[None]:
    """Carry ``folder``, if it exists, over a mount that is about to hide it."""
    try:
        handle = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield
        return
    try:
        yield
        with contextlib.suppress(OSError):  # a convenience (cgroups, sockets), not the world itself
            Path(folder).mkdir(parents=True, exist_ok=True)
            source = f"/proc/self/fd/{handle}"
            kernel.mount(source, folder, flags=kernel.MS_BIND | kernel.MS_REC)
    finally:
        os.close(handle)


def _wait_for(child: int) -> int:
    """Reap every child and pass on signals until ``child`` ends; its code is the result."""
    while True:
        info = signal.sigwaitinfo({*_PASSED_ON, signal.SIGCHLD})
        if info.si_signo != signal.SIGCHLD:
            if info.si_code != _SENT_BY_KERNEL:
                os.kill(child, info.si_signo)
            continue
        status = _reap(child)
        if status is not None:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _reap(child: int) -> int | None:
    """Reap all that ended; the wait status of ``child`` if it was among them."""
    found: int | None = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == child:
                found = status
    return found


def main(argv: Sequence[str]) -> int:
    """The command line: everything after ``--`` runs in a world."""
    if not argv or argv[0] != "--" or len(argv) == 1:
        print("usage: python -m isthmus.deploy.world -- COMMAND [ARGUMENT...]", file=sys.stderr)
        return 2
    try:
        return enter(argv[1:])
    except NoWorld as error:
        print(error, file=sys.stderr)
        return _CODE_NO_WORLD


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
