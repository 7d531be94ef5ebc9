"""Who may have a link, on the real gateway behind the real proxy: certificates, names, revocation (G8, G9)."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.attacks.federation.kit import of, save
from tests.chaos.two_tiers.kit import MILAN, PARIS, ROGUE, SWISS, WEB, ZURICH, World
from tests.support import eventually
from tests.support_certificates import DAY_S, forge, uri

from isthmus.contract.families import G_REMOTE
from isthmus.deploy.lab import tier as tier_files
from isthmus.deploy.lab.spec import CARRIER, GLOBAL
from isthmus.federation.status import LinkStatus, read_status
from isthmus.identity import Identity, TrustDomain
from isthmus.trust import ca, revocation
from isthmus.trust.store import AuthorityStore

CUT_S = 5.0
"""G9: an open stream ends so soon after its certificate is revoked."""


AT_THE_HANDSHAKE = ("no connection", "handshake", "certificate", "expired", "chain")
"""TLS 1.3 tells a client that is refused as good as nothing; which of these depends on who closes first."""


def authority(two: World, site: str) -> ca.Authority:
    """The signer of a site."""
    domain = two.lab.spec.site(site).trust_domain
    store = AuthorityStore(two.lab.base / "authorities" / domain, TrustDomain(domain))
    return store.tier(f"site/{site}", now_s=time.time())


def credentials(two: World, kind: str) -> Path:
    """A folder with a certificate that must not open milan's link."""
    trust = two.lab.trust
    milan = [uri(str(trust.identity(MILAN, "federation")))]
    match kind:
        case "signed by the partner":
            signer, now_s = authority(two, ZURICH), time.time()
        case "signed by another site":
            signer, now_s = authority(two, PARIS), time.time()
        case _:
            signer, now_s = authority(two, MILAN), time.time() - 3 * DAY_S
    made = of(signer, forge(signer, milan, now_s=now_s))
    folder = two.lab.base / "rogues" / kind.replace(" ", "-")
    return save(folder, *made, trust.bundle(CARRIER).read_bytes())


@asynccontextmanager
async def rogue(two: World, folder: Path, **more: Any) -> AsyncIterator[Path]:
    """A second link process in milan with other credentials; the path of its status."""
    settings = tier_files.link_settings(two.lab.files, two.lab.spec.site(MILAN))
    status = two.lab.base / "rogues" / "links.json"
    status.parent.mkdir(exist_ok=True)
    status.unlink(missing_ok=True)
    settings |= {"credentials": str(folder), "status_file": str(status), **more}
    path = status.with_name("link.json")
    path.write_text(json.dumps(settings))
    name = two.lab.start(MILAN, ROGUE[1:], "isthmus.federation.site_main", str(path))
    try:
        yield status
    finally:
        await two.lab.supervisor.stop(name, 1)


def told(path: Path) -> LinkStatus | None:
    """The rogue's own word."""
    with contextlib.suppress(OSError, ValueError):
        return read_status(path)[0]
    return None


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("signed by the partner", AT_THE_HANDSHAKE),
        ("signed by another site", ("UNAUTHENTICATED: authority-scope",)),
        ("expired", AT_THE_HANDSHAKE),
    ],
)
async def test_a_wrong_certificate_opens_no_link_and_says_why(
    two: World, kind: str, words: tuple[str, ...]
) -> None:
    """Why: one signature in the wrong place would let a partner speak as a site of ours (attacks 1 to 3); and a link
    that is refused without a reason costs an operator the night.
    """
    before = two.link(MILAN).reconnects
    async with rogue(two, credentials(two, kind)) as status:

        def refused() -> LinkStatus | None:
            now = told(status)
            known = now is not None and any(word in now.last_error for word in words)
            return now if known else None

        found = await eventually(refused, f"the rogue was refused ({told(status)})")
        assert found is not None
        print(f"reason: {kind}: {found.last_error}")
        assert not found.connected
        assert found.keys_imported == 0
    assert two.link(MILAN).reconnects == before, "the honest link was not disturbed"


async def test_a_frame_that_names_another_site_writes_nothing(two: World) -> None:
    """Why: names come from certificates; what a frame claims is checked against it, at the first frame (attack 3)."""
    before = await two.keys(GLOBAL, G_REMOTE.key(site=MILAN))
    folder = two.lab.trust.folder(PARIS, "federation")
    async with rogue(two, folder) as status:
        reasons: set[str] = set()

        def refused() -> bool:
            if (now := told(status)) is not None:
                reasons.add(now.last_error)
            return any("claim-refused" in reason for reason in reasons)

        try:
            await eventually(refused, "the claim was refused")
        except AssertionError as error:
            raise AssertionError(f"{error}; told: {reasons}") from None
        after = await two.keys(GLOBAL, G_REMOTE.key(site=MILAN))
        assert before.keys() == after.keys()
    await two.converged(PARIS)


async def test_a_revoked_partner_is_cut_at_once_and_comes_back_when_forgiven(two: World) -> None:
    """Why: an open stream outlives its certificate (measured), so cutting is ours; packets go on (G9)."""
    path = two.lab.files.revocations(GLOBAL)
    identity = Identity.parse(str(two.lab.trust.identity(ZURICH, "federation")))
    listed = revocation.load(path) if path.exists() else revocation.NONE_REVOKED
    revoked = revocation.revoke(listed, time.time(), identities=[identity])
    mark = G_REMOTE.key(site=ZURICH) + "meta.quarantine"
    address = two.lab.addresses.customer("zurich-a")

    def told_why() -> bool:
        return "revoked" in two.link(ZURICH).last_error

    try:
        async with (
            two.stage.serving("zurich-a", (8080,)),
            two.stage.probing("paris-b", address) as probe,
        ):
            began = time.monotonic()
            revocation.save(path, revoked)
            await eventually(lambda: two.link(GLOBAL, ZURICH).state != "open", "the link is cut")
            took_s = time.monotonic() - began
            two.measured("partner revoked: link cut", took_s)
            assert took_s <= CUT_S
            await eventually(told_why, "the partner is told why")

            async def marked() -> bool:
                return await two.stores[GLOBAL].get(mark) is not None

            await eventually(marked, "what is held of it is marked")
            two.kill(f"{ZURICH}.link")
            began_s = time.time()
            await eventually(
                lambda: two.link(ZURICH).as_of > began_s and told_why(),
                "dialling anew does not help",
            )
            assert two.link(MILAN).synced, "nobody else is cut"
        assert probe.lost == 0, "packets of its chain go on"
    finally:
        revocation.save(path, revocation.RevocationList(revoked.version + 1, time.time()))
        began = time.monotonic()
        two.kill(f"{ZURICH}.link")
    await two.converged(ZURICH)
    two.measured("partner forgiven: digests agree", time.monotonic() - began)
    assert await two.stores[GLOBAL].get(mark) is None, "the mark is gone"
    for name in (WEB, SWISS):
        await two.stage.phase(name, "running")
