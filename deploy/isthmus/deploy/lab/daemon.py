"""``python -m isthmus.deploy.lab.daemon BASE SPEC``: a lab that stays until SIGTERM; run inside a private world.

Progress goes to ``BASE/progress`` line by line; ``ready`` or ``failed: ...`` is its last word before it serves.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from pathlib import Path

from isthmus.deploy.lab.engine import Lab
from isthmus.deploy.lab.heard import heard
from isthmus.deploy.lab.spec import LabSpec
from isthmus.deploy.supervisor import Supervisor

READY = "ready"
FAILED = "failed: "


async def _up(lab: Lab) -> None:
    """Up, and heard of; a lab whose tier cannot place is ended again."""
    await lab.__aenter__()
    try:
        await heard(lab)
    except BaseException:
        await lab.__aexit__(None, None, None)
        raise


async def serve(base: Path, spec: LabSpec) -> int:
    """Bring it up, wait, bring it down; 1 when it did not come up."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with (base / "progress").open("a", buffering=1) as progress:

        def tell(text: str) -> None:
            progress.write(text + "\n")

        lab = Lab(spec, base, tell, Supervisor(state_file=base / "supervisor.json"))
        coming = asyncio.ensure_future(_up(lab))
        stopping = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait({coming, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                return 1
            coming.result()
            tell(READY)
            await stopping
        except Exception as error:
            tell(f"{FAILED}{type(error).__name__}: {error}")
            return 1
        finally:
            stopping.cancel()
            if not coming.done():
                coming.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await coming
            elif not coming.cancelled() and coming.exception() is None:
                await lab.__aexit__(None, None, None)
    return 0


if __name__ == "__main__":
    _, _base, _document = sys.argv
    sys.exit(asyncio.run(serve(Path(_base), LabSpec.model_validate_json(_document))))
