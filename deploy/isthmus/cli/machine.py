"""``isthmus lab | doctor | demo | bench | site | global | token``: what needs no API (DESIGN section 7).

Each only hands over to the package that does the work, and imports it when it is called: ``isthmus --help`` stays
fast, and a site without the global tier's extras has a whole command.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from isthmus.cli import show
from isthmus.cli.failures import CliFailure

PASS_THROUGH = {"ignore_unknown_options": True, "help_option_names": []}
JSON = click.option("--json", "as_json", is_flag=True, help="Answer with JSON.")


def hand_over(module: str, function: str, /, *arguments: Any, **named: Any) -> Any:
    """Call ``function`` of ``module`` (a coroutine is run to its end); its DeployErrors end the command."""
    from isthmus.deploy.errors import DeployError

    try:
        work = getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as error:
        hint = "pip install 'isthmus[global]'" if error.name == "ray" else "see the README"
        raise CliFailure(f"this installation has no {error.name}: {hint}") from None
    except AttributeError:
        raise CliFailure(f"this installation has no {module}.{function}") from None
    try:
        result = work(*arguments, **named)
        return asyncio.run(result) if inspect.iscoroutine(result) else result
    except DeployError as error:
        raise CliFailure(str(error)) from None


def _end(code: Any) -> None:
    """A part that gives an exit code ends the command with it."""
    if code:
        click.get_current_context().exit(int(code))


@click.group()
def lab() -> None:
    """A carrier on this machine: sites, a partner and the global tier in network namespaces."""


@lab.command(epilog="\b\nExamples:\n  isthmus lab up\n  isthmus lab up --spec my-lab.json --json")
@click.option(
    "--spec",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The lab's sites and links (default: the demo's).",
)
@JSON
def up(spec: Path | None, as_json: bool) -> None:
    """Bring the lab up; ends when it is ready."""
    result = hand_over("isthmus.deploy.lab", "up", spec=spec, tell=_tell)
    if as_json or not isinstance(result, Mapping):
        _report(result, as_json)
        return
    tiers = ", ".join(result["apis"])
    lines = [("lab", result["name"]), ("pid", result["pid"]), ("folder", result["base"])]
    click.echo(show.fields([*lines, ("--at", tiers)]))
    click.echo("next: isthmus sites; isthmus apply -f docs/examples/two-sites.yaml --wait; "
               "isthmus federation status; isthmus lab down")  # fmt: skip


@lab.command(epilog="\b\nExample:\n  isthmus lab down")
@JSON
def down(as_json: bool) -> None:
    """End the lab; nothing of it is left behind."""
    _report(hand_over("isthmus.deploy.lab", "down", tell=_tell), as_json)


@lab.command("status", epilog="\b\nExample:\n  isthmus lab status --json")
@JSON
def lab_status(as_json: bool) -> None:
    """What runs of the lab."""
    _report(hand_over("isthmus.deploy.lab", "status"), as_json)


@lab.command(
    "exec",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog="\b\nExample:\n  isthmus lab exec c-milan-c -- ping -c 3 172.20.4.1",
)
@click.argument("namespace")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def lab_exec(namespace: str, command: tuple[str, ...]) -> None:
    """Run COMMAND in a namespace of the running lab."""
    _end(hand_over("isthmus.deploy.lab", "execute", namespace, list(command)))


def _tell(text: str) -> None:
    click.echo(show.safe(text), err=True)


def _report(result: object, as_json: bool) -> None:
    """What a part of the lab answered: an exit code, a mapping, or nothing."""
    if isinstance(result, int):
        _end(result)
    elif as_json:
        show.print_json(result)
    elif isinstance(result, Mapping):
        click.echo(show.fields([(str(key), value) for key, value in result.items()]))


@click.command(epilog="\b\nExample:\n  isthmus doctor --json")
@JSON
def doctor(as_json: bool) -> None:
    """What Isthmus needs of this machine: found where, which version, or how to get it."""
    diagnosis = hand_over("isthmus.deploy.doctor", "diagnose")
    if as_json:
        click.echo(diagnosis.model_dump_json(indent=1))
    else:
        click.echo(hand_over("isthmus.deploy.doctor", "render_text", diagnosis))
    _end(diagnosis.exit_code)


@click.command(epilog="\b\nExamples:\n  isthmus demo\n  isthmus demo --keep --record facts.json")
@click.option("--keep", is_flag=True, help="Leave the lab up.")
@click.option("--record", type=click.Path(path_type=Path), help="Write the facts as JSON.")
@click.option("--sabotage", default="", metavar="WHAT", help="Break a promise; it must be noticed.")
@click.option(
    "--runtime",
    type=click.Choice(["ray", "in-process"]),
    default="ray",
    show_default=True,
    help="What runs the global microcontrollers.",
)
def demo(keep: bool, record: Path | None, sabotage: str, runtime: str) -> None:
    """Watch a carrier: chains, packets, a cut, healing. Ends with a verdict."""
    _end(
        hand_over(
            "isthmus.chaos.demo",
            "run",
            keep=keep,
            record=record,
            sabotage=sabotage,
            runtime=runtime,
        )
    )


@click.command(
    epilog="\b\nExamples:\n  isthmus bench instantiate\n  isthmus bench heal --json heal.json"
)
@click.argument("name")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures.")
def bench(name: str, json_file: Path | None) -> None:
    """Measure; ends with 0 when it measured, whatever it measured."""
    _end(hand_over("isthmus.chaos.bench", "run", name, json_file=json_file))


@click.group()
def site() -> None:
    """The processes of a site."""


@click.group("global")
def global_() -> None:
    """The processes of the global tier."""


def _runner(group: click.Group, name: str, module: str, text: str) -> None:
    @group.command(name, context_settings=PASS_THROUGH, help=text, add_help_option=False)
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def run(arguments: tuple[str, ...]) -> None:
        try:
            _end(hand_over(module, "main", list(arguments)))
        except SystemExit as end:  # argparse ends the process itself
            _end(end.code if isinstance(end.code, int) else 1)


_SITE_RUN = "Run microcontrollers of a site: --settings FILE (--all | COMPONENT...)."
_runner(site, "run", "isthmus.site.main", _SITE_RUN)
_runner(site, "api", "isthmus.api.main", "Serve a site's API: --settings FILE.")
_GLOBAL_RUN = "Run microcontrollers of the global tier: --settings FILE (--all | COMPONENT...)."
_runner(global_, "run", "isthmus.global_tier.main", _GLOBAL_RUN)
_runner(global_, "api", "isthmus.api.main", "Serve the global tier's API: --settings FILE.")


@click.group()
def token() -> None:
    """Tokens for callers of an API over TCP."""


@token.command(
    epilog="\b\nExamples:\n  isthmus token new --file tokens.json --tenant acme\n"
    "  isthmus token new --file tokens.json --operator"
)
@click.option("--file", "path", type=click.Path(path_type=Path, dir_okay=False), required=True)
@click.option("--tenant", help="Whose chains it may see and change.")
@click.option("--operator", is_flag=True, help="May see and change everything.")
@click.option("--name", default="", help="How the owner is called in records.")
def new(path: Path, tenant: str | None, operator: bool, name: str) -> None:
    """Make a token; only its hash is kept in FILE, so it is shown this once."""
    if bool(tenant) == operator:
        raise click.UsageError("give either --tenant NAME or --operator")
    from pydantic import ValidationError

    from isthmus.api.auth import TokensRefused, issue

    try:
        click.echo(issue(path, tenant=tenant, name=name))
    except ValidationError:
        raise click.BadParameter("use a-z 0-9 . _ -", param_hint="--tenant") from None
    except (TokensRefused, OSError) as error:
        raise CliFailure(str(error)) from None
