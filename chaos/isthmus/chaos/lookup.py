"""Process ids across pid namespaces: what a process calls itself, and what it is called here."""

from __future__ import annotations

from pathlib import Path


def outer_pid(inner: int, argument: str = "") -> int | None:
    """The id *here* of the process that is ``inner`` in a namespace below; ``argument`` must occur in its command line.

    None when there is no such process, or more than one.
    """
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text()
            command = (status.parent / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        chain = next((line for line in text.splitlines() if line.startswith("NSpid:")), "").split()
        if len(chain) > 2 and int(chain[-1]) == inner and argument in command:
            found.append(int(chain[1]))
    return found[0] if len(found) == 1 else None
