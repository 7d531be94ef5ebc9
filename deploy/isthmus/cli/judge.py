"""``isthmus judge``: what recorded histories say about each promise (issue 5)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from isthmus.cli.failures import FAILED, OK, USAGE, CliFailure

if TYPE_CHECKING:
    from isthmus.chaos.history import History, Verdict

FILE = click.Path(dir_okay=False, path_type=Path)


class BadHistory(CliFailure):
    """The file is no history, or a promise was misspelt."""

    exit_code = USAGE
    code = "bad-history"


@click.command(
    epilog="\b\nExamples:\n  isthmus judge history.jsonl\n  isthmus judge history.jsonl --only G3,G4 --json\n"
    "  isthmus judge first.jsonl second.jsonl --only G13\n\n\b\nExit codes: 0 kept; 1 a promise is broken, "
    "or there is no data for one that\n  was asked for by --only or by the history's header; 2 this is no history."
)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=FILE)
@click.option("--only", metavar="G3,G4", help="These promises; each must have data.")
@click.option("--json", "as_json", is_flag=True, help="The report as JSON.")
def judge(files: tuple[Path, ...], only: str | None, as_json: bool) -> int:
    """Judge recorded histories (JSON lines, "isthmus.history/1") by the promises of GUARANTEES.md.

    Each file is judged by itself; G13, which compares two runs of one seed, sees all files together. Without --only,
    promises that the history tells nothing about are named but fail only a history that keeps none at all.
    """
    from isthmus.chaos.history import json_report, text_report

    names = None if only is None else [name.strip() for name in only.split(",")]
    histories = [_read(path) for path in files]
    verdicts = [_judge(path, one, names) for path, one in zip(files, histories, strict=True)]
    verdicts = _together(histories, verdicts, names)
    if as_json:
        reports = [json_report(*pair) for pair in zip(histories, verdicts, strict=True)]
        click.echo(json.dumps(reports[0] if len(reports) == 1 else reports, indent=2))
    else:
        for pair in zip(histories, verdicts, strict=True):
            click.echo(text_report(*pair))
    return _code(histories, verdicts, asked=names is not None)


def _read(path: Path) -> History:
    from isthmus.chaos.history import HistoryFileError, read
    from isthmus.chaos.history.errors import HistoryError

    try:
        return read(path)
    except HistoryFileError as error:
        raise BadHistory(str(error)) from None
    except HistoryError as error:
        raise BadHistory(f"{path}: {error}") from None


def _judge(path: Path, history: History, only: list[str] | None) -> list[Verdict]:
    from isthmus.chaos.history.judge import UnknownPromise, judge_file

    try:
        return judge_file(history, only)
    except UnknownPromise as error:
        where = "--only" if only is not None else f"{path}: header.promises"
        raise BadHistory(f"{where}: {error}") from None


def _together(
    histories: list[History], verdicts: list[list[Verdict]], only: list[str] | None
) -> list[list[Verdict]]:
    """G13 as seen over all files, in each report."""
    from isthmus.chaos.history.judge import judge_runs

    runs = judge_runs(histories, only)
    if runs is None:
        return verdicts
    return [[runs if v.promise.id == "G13" else v for v in of_one] for of_one in verdicts]


def _code(histories: list[History], verdicts: list[list[Verdict]], *, asked: bool) -> int:
    from isthmus.chaos.history import unkept

    pairs = zip(histories, verdicts, strict=True)
    return FAILED if any(unkept(one, of_one, asked=asked) for one, of_one in pairs) else OK
