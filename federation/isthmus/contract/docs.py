"""``python -m isthmus.contract.docs --write | --check``: the pages and the schema from the table (DESIGN section 4).

``--check`` is what the tests run: the table is sound, and the files are what it generates, byte for byte. ``--write``
refuses a change of a model that is not additive, since values of the version before are in every store.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from isthmus.contract import reference, schema
from isthmus.contract.errors import ContractError
from isthmus.contract.lint import lint

SPEC, CONTRACT, SCHEMA = "spec.md", "contract.md", "schema.json"
SPEC_LIMIT_LINES = 220
"""Four pages: whoever must read more will not (R46)."""


def generate(folder: Path) -> dict[str, str]:
    """File name to text, of what belongs in ``folder``; reads the frame of the specification there."""
    frame = (folder / SPEC).read_text("utf-8")
    return {
        SPEC: reference.specification(frame),
        CONTRACT: reference.contract_page(),
        SCHEMA: schema.render(),
    }


def problems(folder: Path) -> list[str]:
    """Why the files in ``folder`` are not what the table says; empty when they are."""
    found = [str(finding) for finding in lint()]
    for name, text in generate(folder).items():
        path = folder / name
        if not path.exists() or path.read_text("utf-8") != text:
            found.append(f"{path} is not what the table generates; run with --write")
    lines = (folder / SPEC).read_text("utf-8").count("\n")
    if lines > SPEC_LIMIT_LINES:
        found.append(f"{folder / SPEC} has {lines} lines; at most {SPEC_LIMIT_LINES} (R46)")
    return found


def write(folder: Path) -> list[str]:
    """Write what has changed; the names of it. Raises ContractError for a table or a change that is not sound."""
    unsound = [str(finding) for finding in lint()]
    published = folder / SCHEMA
    if published.exists():
        unsound += schema.breaks(json.loads(published.read_text("utf-8")), schema.document())
    if unsound:
        raise ContractError("\n".join(unsound))
    written = []
    for name, text in generate(folder).items():
        path = folder / name
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
            written.append(name)
    return written


def main(arguments: Sequence[str]) -> int:
    """0 when all is well, 1 when not."""
    parser = argparse.ArgumentParser(prog="isthmus.contract.docs", description=__doc__)
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="the folder of the pages")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", action="store_true", help="write what has changed")
    what.add_argument("--check", action="store_true", help="say what should be written")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.write:
            print(f"written: {', '.join(write(chosen.docs)) or 'nothing, all is up to date'}")
            return 0
        found = problems(chosen.docs)
    except (ContractError, OSError) as error:
        found = [str(error)]
    for line in found:
        print(line, file=sys.stderr)
    if not found:
        print("the contract is sound, and its pages are what it generates")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
