"""``isthmus``: one command for a site, the global tier and the lab (issue 3, point 8).

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 no API could be reached, 4 no such thing, 130 interrupted.
Commands are imported when they are called, so that help and completion are fast.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

import click

from isthmus.cli.failures import INTERRUPTED, USAGE

COMMANDS: dict[str, tuple[str, str, str]] = {
    "apply": ("isthmus.cli.chains", "apply", "Ask for chains, or change them."),
    "get": ("isthmus.cli.chains", "get", "List chains, sites or events, or show one chain."),
    "describe": ("isthmus.cli.chains", "describe", "Everything about one chain."),
    "explain": ("isthmus.cli.chains", "explain", "Why a chain is where it is, or cannot be."),
    "delete": ("isthmus.cli.chains", "delete", "Take chains down."),
    "sites": ("isthmus.cli.tier", "sites", "The sites, and how old the news of them are."),
    "events": ("isthmus.cli.tier", "events", "What happened, and what happens."),
    "status": ("isthmus.cli.tier", "status", "A tier in one look."),
    "brake": ("isthmus.cli.brake", "brake", "Deletions that a site holds; confirm them."),
    "doctor": ("isthmus.cli.machine", "doctor", "What this machine lacks, and how to get it."),
    "lab": ("isthmus.cli.machine", "lab", "A carrier on this machine."),
    "demo": ("isthmus.cli.machine", "demo", "Watch a carrier; ends with a verdict."),
    "bench": ("isthmus.cli.machine", "bench", "Measure."),
    "simulate": ("isthmus.cli.simulate", "simulate", "A carrier in virtual time, under faults."),
    "prove": ("isthmus.cli.proving", "prove", "Faults on real processes; judges each promise."),
    "explore": ("isthmus.cli.explore", "explore", "Small worlds of the cores, in every order."),
    "judge": ("isthmus.cli.judge", "judge", "What recorded histories say about each promise."),
    "failpoints": ("isthmus.cli.proving", "failpoints", "Where a process can be told to fail."),
    "federation": ("isthmus.cli.federation", "federation", "Links: state, and what crosses."),
    "agreement": (
        "isthmus.cli.agreement",
        "agreement",
        "What two operators let cross: draft, sign, verify, simulate.",
    ),
    "mirror": ("isthmus.cli.federation", "mirror", "Keep a prefix of one etcd equal in another."),
    "conformance": (
        "isthmus.cli.conformance",
        "conformance",
        "Does a component or a VNF keep docs/spec.md?",
    ),
    "place": ("isthmus.cli.place", "place_command", "Place the chains of a problem file."),
    "what-if": (
        "isthmus.cli.place",
        "what_if_command",
        "What a loss would cost, what room would gain.",
    ),
    "site": ("isthmus.cli.machine", "site", "The processes of a site."),
    "global": ("isthmus.cli.machine", "global_", "The processes of the global tier."),
    "token": ("isthmus.cli.machine", "token", "Tokens for callers over TCP."),
}


class Commands(click.Group):
    """A group whose commands are imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which a person meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of the help, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nExamples:\n  isthmus lab up\n  isthmus apply -f chain.yaml --wait\n"
    "  isthmus get\n  isthmus explain acme/shop\n\n\b\nExit codes: 0 done, 1 refused or failed, "
    "2 usage, 3 no API reached,\n  4 no such thing, 130 interrupted.",
)
@click.version_option(package_name="isthmus", message="isthmus %(version)s")
def cli() -> None:
    """Service chains over sites that go on by themselves.

    Commands talk to one API: --api unix:/path or https://host:port, --at NAME of the running lab, the
    environment's ISTHMUS_API, or else the running lab's global tier.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. Never shows a stack trace for what a user can put right."""
    try:
        result: Any = cli.main(
            args=list(arguments) if arguments is not None else None,
            prog_name="isthmus",
            standalone_mode=False,
        )
    except click.UsageError as error:
        error.show()
        return USAGE
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("isthmus: interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read us has seen enough; nothing may be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    return result if isinstance(result, int) else 0


if __name__ == "__main__":
    sys.exit(main())
