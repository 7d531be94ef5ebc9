"""``isthmus apply | get | describe | explain | delete``: chains, through the API alone (DESIGN section 7)."""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml

from isthmus.cli import show
from isthmus.cli.failures import CliFailure, Missing
from isthmus.cli.session import CHAIN, ChainName, Session, on_api
from isthmus.cli.specs import MAX_FILE_BYTES, LoadedSpec, SpecError, parse
from isthmus.contract.problems import field_text
from isthmus.identity.text import visible

if TYPE_CHECKING:
    from isthmus.cli.client import ApiClient, ApiRefusal

WAIT_S = 60.0
LOOK_S = 0.2
"""How often ``--wait`` looks: often enough for a person, cheap enough for the store (one transaction)."""


@click.command(
    epilog="\b\nExamples:\n  isthmus apply -f chain.yaml --wait\n"
    "  isthmus apply --at milan -f one.yaml -f two.yaml\n"
    "  generate | isthmus apply -f - --dry-run"
)
@click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    required=True,
    metavar="FILE.yaml",
    help="Chain specs; '-' reads standard input. May be repeated.",
)
@click.option("--wait", is_flag=True, help="Wait until every chain runs or is refused.")
@click.option("--dry-run", is_flag=True, help="Only validate; write nothing.")
@on_api
def apply(session: Session, files: tuple[str, ...], wait: bool, dry_run: bool) -> None:
    """Ask for the chains in FILE, or change them. Applying the same spec again changes nothing."""
    loaded = load(files)
    results, refusals = session.run(lambda client: _apply_all(client, loaded, dry_run=dry_run))
    if not session.as_json:
        for result in results:
            click.echo(show.safe(result["message"]))
    told = [str(error) for error in refusals]
    for line in told:
        click.echo(f"isthmus: {line}", err=True)
    unsettled: list[str] = []
    if wait and not dry_run:
        unsettled = session.run(lambda client: _wait_all(client, results, session))
        told += unsettled
    if session.as_json:
        show.print_json({"results": results, "errors": told})
    if told:
        raise CliFailure("; ".join(unsettled) or f"{len(refusals)} of {len(loaded)} refused")


def load(files: Sequence[str]) -> list[LoadedSpec]:
    """The specs of all files; nothing is applied while one of them has a mistake."""
    loaded: list[LoadedSpec] = []
    errors: list[SpecError] = []
    for name in files:
        parsed = parse(_read(name), "<stdin>" if name == "-" else name)
        loaded += parsed.specs
        errors += parsed.errors
    seen: dict[tuple[str, str], str] = {}
    for item in loaded:
        key = (item.spec.tenant, item.spec.chain)
        if seen.setdefault(key, item.file) != item.file:
            message = f"chain {'/'.join(key)} is also in {seen[key]}"
            errors.append(SpecError(item.file, item.line, "chain", "", message, "keep one"))
    if errors:
        for error in errors:
            click.echo(f"isthmus: {error}", err=True)
        count = f"{len(errors)} mistake{'s' if len(errors) > 1 else ''}"
        detail = {"code": "spec-refused", "errors": [str(error) for error in errors]}
        raise CliFailure(f"{count} in the specs; nothing was applied", detail=detail)
    return loaded


def _read(name: str) -> bytes:
    """At most one byte more than may be, so that the parser says what is wrong."""
    if name == "-":
        return sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
    try:
        with Path(name).open("rb") as stream:
            return stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise click.BadParameter(
            f"{visible(name)}: {error.strerror or error}", param_hint="-f"
        ) from None


async def _apply_all(
    client: ApiClient, loaded: Sequence[LoadedSpec], *, dry_run: bool
) -> tuple[list[dict[str, Any]], list[SpecError]]:
    from isthmus.cli.client import ApiRefusal

    results: list[dict[str, Any]] = []
    refused: list[SpecError] = []
    for item in loaded:
        try:
            key = secrets.token_hex(16)
            results.append(await client.apply(item.spec, key=key, dry_run=dry_run))
        except ApiRefusal as refusal:
            refused += _located(item, refusal)
    return results, refused


def _located(item: LoadedSpec, refusal: ApiRefusal) -> list[SpecError]:
    """What the API refused, at the line it stands on."""
    errors = []
    for error in (refusal.detail, *refusal.others):
        path = tuple(error.get("path") or ())
        line = item.line
        if path:
            known = path
            while known and known not in item.lines:
                known = known[:-1]
            line = item.lines.get(known, item.line)
        message = str(error.get("message", ""))
        field = field_text(path)
        if field and message.startswith(f"{field}: "):
            message = message.removeprefix(f"{field}: ")
        name = f"{item.spec.tenant}/{item.spec.chain}: "
        errors.append(
            SpecError(
                item.file,
                line,
                field,
                visible(str(error.get("value", ""))),
                (name if not field else "") + visible(message, 2_000),
                visible(str(error.get("fix", "")), 1_000),
            )
        )
    return errors


async def _wait_all(
    client: ApiClient, results: Sequence[Mapping[str, Any]], session: Session
) -> list[str]:
    """Look at every chain until it runs or is refused; what did not come to run, in words."""
    limit_s = session.timeout_s if session.timeout_s is not None else WAIT_S
    progress = Progress()
    failed = []
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limit_s
    for result in results:
        name = f"{result['tenant']}/{result['chain']}"
        while True:
            row = (await client.get(f"/v1/chains/{name}"))["row"]
            phase = row["phase"] if row["observed"] else "pending"
            if row["observed"] and (row["decision"] == "refused" or phase == "refused"):
                failed.append(f"{name} was refused: {show.safe(row['reason'])}")
                break
            if phase == "running":
                break
            if loop.time() >= deadline:
                why = show.safe(row["reason"] or "no reason is known yet")
                failed.append(f"{name} does not run after {limit_s:g} s: {phase} ({why})")
                break
            progress.say(f"{name}: {phase}, {row['connected_hops']}/{row['hops']} hops")
            await asyncio.sleep(LOOK_S)
        progress.done(f"{name}: {phase}")
    return failed


class Progress:
    """One line on standard error: rewritten on a terminal, else written when it changes."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._last = ""

    def say(self, text: str) -> None:
        """What is going on."""
        if text != self._last:
            self._last = text
            start, end = ("\r\x1b[K", "") if self._terminal else ("", "\n")
            click.echo(f"{start}{show.safe(text)}{end}", nl=False, err=True)

    def done(self, text: str) -> None:
        """How it ended."""
        start = "\r\x1b[K" if self._terminal else ""
        click.echo(f"{start}{show.safe(text)}", err=True)
        self._last = ""


class Subject(ChainName):
    """``chains``, ``sites``, ``events`` or ``TENANT/CHAIN``."""

    name = "chains|sites|events|TENANT/CHAIN"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """A list is ``(name, "")``."""
        if value in ("chains", "chain", "sites", "site", "events", "event"):
            return f"{value.rstrip('s')}s", ""
        if not isinstance(value, tuple) and "/" not in str(value):
            self.fail(
                f"'{visible(str(value))}' is none of chains, sites, events, TENANT/CHAIN",
                param,
                ctx,
            )
        return super().convert(value, param, ctx)


@click.command(
    epilog="\b\nExamples:\n  isthmus get\n  isthmus get acme/shop -o wide\n"
    "  isthmus get sites --json"
)
@click.argument("subject", type=Subject(), default="chains")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "wide", "json", "name"]),
    default="table",
    help="How much is shown.",
)
@on_api
def get(session: Session, subject: tuple[str, str], output: str) -> None:
    """List chains (or sites, or events), or show one chain in a line."""
    if subject == ("events", ""):
        document = session.run(lambda client: client.get("/v1/events"))
        text = "\n".join(show.event_line(event) for event in document["events"])
        names = [event["subject"] for event in document["events"]]
    elif subject == ("sites", ""):
        document = session.run(lambda client: client.get("/v1/sites"))
        text = show.site_rows(document["sites"], wide=output == "wide")
        names = [site["site"] for site in document["sites"]]
    else:
        document = session.run(lambda client: _chains(client, subject))
        text = show.chain_rows(document["chains"], wide=output == "wide")
        names = [f"{chain['tenant']}/{chain['chain']}" for chain in document["chains"]]
    if session.as_json or output == "json":
        show.print_json(document)
    else:
        click.echo("\n".join(show.safe(name) for name in names) if output == "name" else text)


async def _chains(client: ApiClient, subject: tuple[str, str]) -> dict[str, Any]:
    if subject == ("chains", ""):
        return await client.chains()
    return {"chains": [(await client.get(f"/v1/chains/{subject[0]}/{subject[1]}"))["row"]]}


@click.command(epilog="\b\nExample:\n  isthmus describe acme/shop --at milan")
@click.argument("name", type=CHAIN)
@on_api
def describe(session: Session, name: tuple[str, str]) -> None:
    """Everything about one chain: request, place, functions with their counters, reasons."""
    detail = session.run(lambda client: client.get(f"/v1/chains/{name[0]}/{name[1]}"))
    if session.as_json:
        show.print_json(detail)
        return
    sections = [_head(detail["row"])]
    functions = (detail["status"] or {}).get("functions")
    if functions:
        sections.append(_functions(functions))
    if detail["explanations"]:
        sections.append(_explanations(detail["explanations"]))
    if detail["request"]:
        spec = yaml.safe_dump(detail["request"]["spec"], sort_keys=False, allow_unicode=False)
        sections.append("Spec:\n" + "\n".join(f"  {line}" for line in spec.splitlines()))
    click.echo("\n\n".join(sections))


def _head(row: Mapping[str, Any]) -> str:
    observed = "" if row["observed"] else " (of an older request; the newest is being looked at)"
    budget = show.milliseconds(row["latency_budget_ms"])
    return show.fields(
        [
            ("Chain", f"{row['tenant']}/{row['chain']}"),
            ("Phase", f"{row['phase']}{observed if row['phase'] != 'pending' else ''}"),
            ("Reason", show.reason(row)),
            ("Asked by", row["source"]),
            ("Generation", row["generation"]),
            ("Path", show.path(row)),
            ("Hops", f"{row['connected_hops']} of {row['hops']} connected"),
            ("Latency", f"{show.milliseconds(row['model_latency_ms'])} of {budget} ms"),
            ("Reported", f"{show.age(row['age_s'])} ago" if row["age_s"] is not None else "never"),
        ]
    )


def _functions(functions: Sequence[Mapping[str, Any]]) -> str:
    columns = ("FUNCTION", "TYPE", "SITE", "HOST", "INSTANCE", "LIFE", "PHASE")
    counters = ("packets_forward", "packets_reverse", "packets_dropped")
    keys = ("function", "type", "site", "host", "instance", "incarnation", "phase", *counters)
    rows = [[function.get(key) for key in keys] for function in functions]
    return show.table((*columns, "FORWARD", "REVERSE", "DROPPED"), rows)


def _explanations(explanations: Sequence[Mapping[str, Any]]) -> str:
    """Each component's decision: the number that failed, the candidates, what would make it fit."""
    sections = []
    for item in explanations:
        why = item["explanation"]
        old = "" if item["current"] else " (about an older request)"
        pairs: list[tuple[str, object]] = [("Decision", f"{why['decision']}{old}")]
        if why["constraint"]:
            pairs.append(("Constraint", why["constraint"]))
        pairs.append(("Reason", why["reason"]))
        if why["nearest_relaxation"]:
            pairs.append(("Would fit", why["nearest_relaxation"]))
        pairs += [(name, value) for name, value in sorted(why.get("figures", {}).items())]
        text = f"{show.safe(item['component'])}, {show.age(item['age_s'])} ago:\n"
        text += show.fields([(show.safe(name), value) for name, value in pairs], "  ")
        if why["candidates"]:
            rows = [[c["name"], c["verdict"], c["cost"]] for c in why["candidates"]]
            listed = show.table(("CANDIDATE", "VERDICT", "COST"), rows)
            text += "\n" + "\n".join(f"  {line}" for line in listed.splitlines())
        sections.append(text)
    return "\n\n".join(sections)


@click.command(epilog="\b\nExample:\n  isthmus explain acme/shop")
@click.argument("name", type=CHAIN)
@on_api
def explain(session: Session, name: tuple[str, str]) -> None:
    """Why a chain is placed as it is, or which number refused it and what would make it fit."""
    view = session.run(lambda client: client.get(f"/v1/chains/{name[0]}/{name[1]}/explain"))
    if session.as_json:
        show.print_json(view)
        return
    head = f"{view['tenant']}/{view['chain']}: {view['phase']}"
    if view["reason"]:
        head += f": {view['reason']}"
    body = _explanations(view["explanations"]) or "nobody has decided about it yet"
    click.echo(f"{show.safe(head)}\n\n{body}")


@click.command(
    epilog="\b\nExamples:\n  isthmus delete acme/shop\n  isthmus delete acme/shop --if-exists"
)
@click.argument("names", type=CHAIN, nargs=-1, required=True)
@click.option("--if-exists", is_flag=True, help="A chain that is not there is no failure.")
@on_api
def delete(session: Session, names: tuple[tuple[str, str], ...], if_exists: bool) -> None:
    """Take chains down."""
    results = session.run(lambda client: _delete_all(client, names, if_exists=if_exists))
    if session.as_json:
        show.print_json({"results": results})
    else:
        for result in results:
            click.echo(show.safe(result["message"]))


async def _delete_all(
    client: ApiClient, names: Sequence[tuple[str, str]], *, if_exists: bool
) -> list[dict[str, Any]]:
    results = []
    missing: list[Missing] = []
    for tenant, chain in names:
        try:
            results.append(await client.delete(tenant, chain))
        except Missing as failure:
            if not if_exists:
                missing.append(failure)
    if missing:
        for result in results:
            click.echo(show.safe(result["message"]), err=True)
        raise missing[0]
    return results
