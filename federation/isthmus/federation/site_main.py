"""``python -m isthmus.federation.site_main SETTINGS``: a site's link to its tier as a process of its own."""

from __future__ import annotations

import sys

from isthmus.federation.errors import SettingsRefused
from isthmus.federation.mains import arguments, run
from isthmus.federation.run import run_site_link
from isthmus.federation.settings import load_site


def main() -> int:
    """Run until SIGTERM."""
    given = arguments("Keep this site linked to the tier above.")
    try:
        settings = load_site(given.settings)
    except SettingsRefused as refused:
        print(f"error: {refused}", file=sys.stderr)
        return 2
    told = {"tap": given.tap, "status_file": given.status}
    settings = settings.model_copy(update={name: path for name, path in told.items() if path})
    return run(settings.store, lambda store: run_site_link(settings, store))


if __name__ == "__main__":
    raise SystemExit(main())
