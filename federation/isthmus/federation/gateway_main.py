"""``python -m isthmus.federation.gateway_main SETTINGS``: a tier's gateway as a process of its own."""

from __future__ import annotations

import sys

from isthmus.federation.errors import SettingsRefused
from isthmus.federation.mains import arguments, run
from isthmus.federation.run import run_gateway
from isthmus.federation.settings import load_gateway


def main() -> int:
    """Run until SIGTERM."""
    given = arguments("Serve the sites that dial in.")
    try:
        settings = load_gateway(given.settings)
    except SettingsRefused as refused:
        print(f"error: {refused}", file=sys.stderr)
        return 2
    told = {"tap": given.tap, "status_file": given.status}
    settings = settings.model_copy(update={name: path for name, path in told.items() if path})

    def listening(port: int) -> None:
        print(f"listening port={port}", flush=True)

    return run(settings.store, lambda store: run_gateway(settings, store, on_listening=listening))


if __name__ == "__main__":
    raise SystemExit(main())
