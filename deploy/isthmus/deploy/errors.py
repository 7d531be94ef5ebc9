"""What can go wrong while a machine is made ready and processes are kept running.

    DeployError                     every failure of this package; its text is fit for a user
    |-- CommandFailed               a command ended with another exit code than 0
    |-- CommandTimeout              a command did not end in time and was killed
    |-- BinaryProblem               a program Isthmus runs cannot be had
    |   |-- BinaryMissing           found nowhere, and not built
    |   |-- BinaryTooOld            found where the user pointed, but below the floor
    |   `-- BuildFailed             Go could not build it; the text ends with Go's output
    |-- PackagesMissing             system tools are missing; the text says how to get them
    |-- NoWorld                     no private namespaces here; the text says what is missing
    `-- SupervisorProblem
        |-- AlreadySupervised       a process of that name is there already
        |-- NotSupervised           there is no process of that name
        |-- SecretInArguments       a secret would be readable by everybody in the process list
        |-- StartFailed             the program could not be started at all
        `-- NotReady                it runs, or ran, but its readiness probe never said yes in time

None of them shows a user a stack trace: a command line prints the text and ends with code 1
(2 for bad usage).
"""

from __future__ import annotations


class DeployError(Exception):
    """Base of all failures of this package; the text names what, where and the way out."""


class CommandFailed(DeployError):
    """A command ended badly; ``code`` is its exit code, ``output`` the end of what it said."""

    def __init__(self, message: str, *, code: int, output: str) -> None:
        super().__init__(message)
        self.code = code
        self.output = output


class CommandTimeout(DeployError):
    """A command was still running at its deadline and was killed."""


class BinaryProblem(DeployError):
    """One of the programs Isthmus runs cannot be had."""


class BinaryMissing(BinaryProblem):
    """It was found nowhere."""


class BinaryTooOld(BinaryProblem):
    """It was found where the user pointed, and it is below the floor."""


class BuildFailed(BinaryProblem):
    """It could not be built."""


class PackagesMissing(DeployError):
    """System tools are missing and could not be installed; ``tools`` names them."""

    def __init__(self, message: str, *, tools: tuple[str, ...]) -> None:
        super().__init__(message)
        self.tools = tools


class NoWorld(DeployError):
    """The kernel grants neither root nor a user namespace for a private world."""


class SupervisorProblem(DeployError):
    """Base of what a supervisor refuses or could not do."""


class AlreadySupervised(SupervisorProblem):
    """A process of that name is there already."""


class NotSupervised(SupervisorProblem):
    """There is no process of that name."""


class SecretInArguments(SupervisorProblem):
    """A secret was put on a command line, where everybody on the machine can read it."""


class StartFailed(SupervisorProblem):
    """The program could not be started at all."""


class NotReady(SupervisorProblem):
    """The readiness probe did not say yes in time."""
