"""A lab is ready when its tier can place: when it has heard from every site how much room there is.

Processes that run are not enough: the first chain asked of a tier that does not know a site's room yet is refused,
rightly, and whoever typed it after ``isthmus lab up`` thinks that the lab is broken.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import httpx

from isthmus.deploy.lab.files import LabFiles
from isthmus.deploy.lab.spec import GLOBAL, LabSpec

HEARD_S = 60.0
"""Sites tell within a second or two; a machine with twenty labs at once is given time."""
ASK_S = 5.0
EVERY_S = 0.1


class Known(Protocol):
    """The part of a lab that is needed."""

    spec: LabSpec
    files: LabFiles


def silent(document: dict[str, Any], spec: LabSpec) -> tuple[str, ...]:
    """Sites of ``spec`` that the tier's list of sites (``GET /v1/sites``) does not know with a host that is up."""
    told = {
        row["site"]
        for row in document["sites"]
        if row["state"] == "alive" and (row.get("summary") or {}).get("hosts_up", 0) > 0
    }
    return tuple(site.site for site in spec.sites if site.site not in told)


async def heard(
    lab: Known, *, timeout_s: float = HEARD_S, transport: httpx.AsyncBaseTransport | None = None
) -> None:
    """Wait until the tier knows the room of every site; raises TimeoutError that names those who said nothing."""
    if not lab.spec.tier:
        return
    missing = tuple(site.site for site in lab.spec.sites)
    socket = transport or httpx.AsyncHTTPTransport(uds=str(lab.files.api_socket(GLOBAL)))
    try:
        async with (
            asyncio.timeout(timeout_s),
            httpx.AsyncClient(transport=socket, base_url="http://isthmus", timeout=ASK_S) as api,
        ):
            while missing:
                try:
                    answer = await api.get("/v1/sites")
                    if answer.status_code == httpx.codes.OK:
                        missing = silent(answer.json(), lab.spec)
                except httpx.HTTPError:
                    pass  # the API or its store is still coming up; the time has an end
                await asyncio.sleep(EVERY_S if missing else 0)
    except TimeoutError:
        names = ", ".join(missing)
        raise TimeoutError(
            f"not within {timeout_s:.0f} s: word of room from {names}; see {lab.files.log(missing[0], 'link')}"
        ) from None
