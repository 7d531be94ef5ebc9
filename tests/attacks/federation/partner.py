"""A carrier's gateway and a partner's site under an agreement that both signed: real TLS, stores of memory.

Both ends are the shipped ones; each has its own copy of the signed file, and a tap.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.attacks.federation.kit import QUICK, operators, save
from tests.federation_support import until
from tests.support_certificates import CARRIER, PARTNER

from isthmus.federation import GatewaySettings, LinkStatus, PeerSettings, SiteLinkSettings
from isthmus.federation.agreement import CONTEXT, Agreement, Terms
from isthmus.federation.dialer import SiteLink
from isthmus.federation.draft import draft
from isthmus.federation.gateway import Gateway
from isthmus.federation.run import real_clocks
from isthmus.federation.tap import FileTap
from isthmus.kv.memory import MemoryStore
from isthmus.trust.signing import sign_detached

HUB, ALPS = "global", "p"
REGION = "ch"


class Alliance:
    """``agreed`` is what both sign; ``write`` replaces the file of one end or of both."""

    def __init__(self, folder: Path, **terms: Any) -> None:
        self.us, self.them = operators()
        self.folder = folder
        self.hub, self.site = MemoryStore(), MemoryStore()
        self.paths = {end: folder / f"agreement.{end}.yaml" for end in ("hub", "site")}
        self.taps = {end: folder / f"{end}.tap" for end in ("hub", "site")}
        self._writes = 0
        self.bundles = {}
        for operator in (self.us, self.them):
            path = folder / f"{operator.domain.name}.pem"
            path.write_bytes(operator.bundle_pem)
            path.chmod(0o644)
            self.bundles[operator.domain.name] = path
        self.write(self.agreed(**terms))
        self._files = {end: FileTap(path, end) for end, path in self.taps.items()}
        self.gateway = Gateway(
            self._gateway_settings(), self.hub, real_clocks(), tap_of=lambda _: self._files["hub"]
        )
        self.link: SiteLink | None = None
        self._task: asyncio.Task[None] | None = None

    def agreed(self, **terms: Any) -> Agreement:
        """The draft with other ``terms``, signed by both."""
        base = draft(
            "alps", tier=self.us.domain.name, site=self.them.domain.name, days=1,
            not_before=datetime.fromtimestamp(int(time.time()) - 60, UTC), tenants=("acme",),
            site_regions=(REGION,),
        )  # fmt: skip
        body = base.agreement.model_dump(mode="json") | terms
        made = Agreement(agreement=Terms.model_validate(body))
        for operator in (self.us, self.them):
            mark = sign_detached(operator.root.key, CONTEXT, made.agreement.canonical())
            made = made.signed_by(operator.domain.name, mark)
        return made

    def write(self, agreement: Agreement, *ends: str) -> None:
        """In one step, as an operator's tool does."""
        for end in ends or tuple(self.paths):
            self._writes += 1
            fresh = self.folder / f".{end}.{self._writes}"
            fresh.write_bytes(agreement.to_yaml())
            fresh.chmod(0o644)
            os.replace(fresh, self.paths[end])

    def _gateway_settings(self) -> GatewaySettings:
        credentials = save(
            self.folder / "gateway", *self.us.issue("gateway", "global"), self.us.bundle_pem
        )
        partner = PeerSettings(
            name=ALPS,
            identity=str(self.them.identity()),
            agreement=self.paths["hub"],
            region=REGION,
        )
        other = PeerSettings(name="a", identity=str(self.us.identity()))
        return GatewaySettings(
            name=HUB, credentials=credentials, bundles=self.bundles, listen="127.0.0.1:0",
            peers=(partner, other), limits=QUICK, partners_need_agreement=True,
        )  # fmt: skip

    async def start(self, *, own_agreement: bool = True) -> None:
        """Both ends; ``own_agreement`` False: the partner's end was told of none and asks for none."""
        await self.gateway.start()
        credentials = save(self.folder / "site", *self.them.issue(), self.them.bundle_pem)
        peer: dict[str, Any] = {"name": HUB, "identity": str(self.us.identity("gateway", "global"))}
        if own_agreement:
            peer["agreement"] = self.paths["site"]
        settings = SiteLinkSettings.model_validate(
            {
                "name": ALPS, "credentials": credentials, "peer": peer, "limits": QUICK,
                "bundles": {self.us.domain.name: self.bundles[self.us.domain.name]},
                "dial": (f"127.0.0.1:{self.gateway.port}",), "region": REGION,
                "backoff_max_s": 0.2, "refused_backoff_s": 0.2,
            }
        )  # fmt: skip
        self.link = SiteLink(
            settings, self.site, real_clocks(), jitter=lambda: 0.5, tap=self._files["site"]
        )
        self._task = asyncio.create_task(self.link.run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.gateway.stop(0.1)
        for tap in self._files.values():
            tap.close()

    def at_hub(self) -> LinkStatus:
        return next(one for one in self.gateway.status() if one.peer == ALPS)

    def at_site(self) -> LinkStatus:
        assert self.link is not None
        return self.link.status()

    def stands(self) -> bool:
        return self.at_hub().connected and self.at_site().connected and self.at_site().synced

    async def dump(self, store: MemoryStore, prefix: str = "/") -> str:
        """All keys and values, as text to be searched."""
        snapshot = await store.snapshot(prefix)
        return "\n".join(
            f"{one.key} {one.value.decode(errors='replace')}" for one in snapshot.entries
        )


@contextlib.asynccontextmanager
async def alliance(folder: Path, *, linked: bool = True, **terms: Any) -> AsyncIterator[Alliance]:
    """Standing, with the link up unless ``linked`` is False."""
    made = Alliance(folder, **terms)
    try:
        await made.start()
        if linked:
            await until(made.stands, "the link stands")
        yield made
    finally:
        await made.stop()


def clauses(
    down: list[dict[str, Any]] | None, up: list[dict[str, Any]] | None = None, **flow: Any
) -> dict[str, Any]:
    """Terms whose clauses are these (None: as drafted); ``flow`` goes to both directions."""
    base = draft(
        "alps", tier=CARRIER.name, site=PARTNER.name, days=1, tenants=("acme",),
        not_before=datetime.now(UTC),
    )  # fmt: skip
    flows = base.agreement.model_dump(mode="json", exclude_defaults=True)["flows"]
    for one, wanted in zip(flows, (down, up), strict=True):
        one |= flow
        if wanted is not None:
            one["clauses"] = wanted
    return {"flows": flows}


def later(**delta: float) -> str:
    """A moment from now, as terms have it."""
    return (datetime.now(UTC) + timedelta(**delta)).isoformat()
