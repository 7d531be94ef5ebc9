"""What a lab writes for its processes: one certificate each, settings without secrets that the processes accept."""

from __future__ import annotations

import json
import stat
import time
from pathlib import Path

import pytest

from isthmus.contract.families import GLOBAL_COMPONENTS, SITE_COMPONENTS
from isthmus.deploy.lab import tier as tier_files
from isthmus.deploy.lab.addresses import Addresses
from isthmus.deploy.lab.files import LabFiles
from isthmus.deploy.lab.spec import CARRIER, GLOBAL, LabSite, LabSpec
from isthmus.deploy.lab.trust import ADMIN, ETCD, LabTrust
from isthmus.federation.settings import load_gateway, load_site
from isthmus.global_tier.settings import load as load_global
from isthmus.identity import TrustDomain, Usage
from isthmus.trust import PeerRefused, TrustBundles, verify_chain, workload
from isthmus.trust.files import read_public

HELVETIA = "helvetia.example"
SPEC = LabSpec(
    sites=(
        LabSite(site="milan", hosts=2, attachments=("a1", "a2")),
        LabSite(site="zurich", owner="helvetia", trust_domain=HELVETIA, tenants=("acme",)),
    ),
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> LabFiles:
    """A lab's folder with every certificate."""
    base = tmp_path_factory.mktemp("lab")
    base.chmod(0o700)
    trust = LabTrust(base, SPEC)
    trust.enroll(time.time())
    return LabFiles(base, trust, Addresses(SPEC))


def test_every_component_has_a_certificate_of_its_own(files: LabFiles) -> None:
    """Why: two that share one share their rights, and neither can be revoked alone."""
    trust = files.trust
    wanted = [(GLOBAL, name) for name in (*GLOBAL_COMPONENTS, "region.europe", ADMIN, ETCD)]
    for site, hosts in (("milan", ("h1", "h2")), ("zurich", ("h1",))):
        wanted += [(site, name) for name in (*SITE_COMPONENTS, ADMIN, ETCD)]
        wanted += [(site, f"launcher.{host}") for host in hosts]
    serials = set()
    for tier, component in wanted:
        held = workload.load(trust.folder(tier, component))
        assert held.identity == trust.identity(tier, component)
        serials.add(held.serial)
    assert len(serials) == len(wanted)


def test_keys_are_for_their_owner_only(files: LabFiles) -> None:
    """Why: a key that others can read is not a key."""
    keys = list(files.base.rglob("key.pem"))
    assert len(keys) > 30
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}


def test_the_partner_vouches_for_itself_only(files: LabFiles) -> None:
    """Why: one shared root would make the partner's authority ours."""
    now_s = time.time()
    pems = {
        TrustDomain(name): read_public(files.trust.bundle(name)) for name in (CARRIER, HELVETIA)
    }
    both = TrustBundles.of_pem(1, pems)
    ours = TrustBundles.of_pem(1, {TrustDomain(CARRIER): pems[TrustDomain(CARRIER)]})
    chain = workload.load(files.trust.folder("zurich", "federation")).cert_pem
    verified = verify_chain(chain, both, now_s, usage=Usage.CLIENT)
    assert str(verified.identity) == f"spiffe://{HELVETIA}/site/zurich/federation"
    with pytest.raises(PeerRefused):
        verify_chain(chain, ours, now_s, usage=Usage.CLIENT)


def test_enrolling_again_changes_nothing(files: LabFiles) -> None:
    """Why: a step that is repeated must not cut every connection."""
    path = files.trust.folder("milan", "placer") / "cert.pem"
    before = path.read_bytes()
    files.trust.enroll(time.time())
    assert path.read_bytes() == before


def test_without_a_tier_nobody_is_enrolled_for_it(tmp_path: Path) -> None:
    """Why: a certificate nobody needs is one somebody can steal."""
    alone = SPEC.model_copy(update={"tier": False, "sites": SPEC.sites[:1]})
    trust = LabTrust(tmp_path, alone)
    trust.enroll(time.time())
    assert not (tmp_path / GLOBAL).exists()
    assert (tmp_path / "milan" / "certificates").exists()


def test_gateway_and_links_accept_their_settings(files: LabFiles) -> None:
    """Why: each process refuses unknown fields, and does so in the middle of bringing a lab up."""
    path = tier_files.write(
        files.path(GLOBAL, "gateway.json"), tier_files.gateway_settings(files, SPEC)
    )
    gateway = load_gateway(path)
    assert [peer.name for peer in gateway.peers] == ["milan", "zurich"]
    assert set(gateway.bundles) == {CARRIER, HELVETIA}
    assert gateway.revocations == files.revocations(GLOBAL)
    for site in SPEC.sites:
        link = load_site(
            tier_files.write(
                files.path(site.site, "link.json"), tier_files.link_settings(files, site)
            )
        )
        assert link.dial == (f"{files.addresses.wan(site.site)}:7443",)
        assert set(link.bundles) == {CARRIER}, (
            "a partner pins the carrier for this link, nobody else"
        )
        assert link.peer.identity == f"spiffe://{CARRIER}/global/gateway"


def test_the_global_tier_accepts_its_settings(files: LabFiles) -> None:
    """Why: as above; and the runtime is what the lab's description says."""
    for runtime in ("in-process", "ray"):
        settings = load_global(files.tier(runtime))
        assert settings.runtime == runtime
        assert settings.regions == ("europe",)


def test_a_site_knows_what_its_peer_may_ask_for(files: LabFiles) -> None:
    """Why: the partner's policy is a list of tenants; an own site's is everybody (an empty list)."""
    found = {}
    for site in SPEC.sites:
        document = json.loads(files.site(site).read_text())
        found[site.site] = document["peers"]
    assert found == {
        "milan": [{"peer": GLOBAL, "tenants": []}],
        "zurich": [{"peer": GLOBAL, "tenants": ["acme"]}],
    }


def test_each_attachment_is_delivered_at_one_host(files: LabFiles) -> None:
    """Why: a circuit that two hosts offer would be claimed twice."""
    document = json.loads(files.site(SPEC.site("milan")).read_text())
    offered = {host["host"]: sorted(host["attachments"]) for host in document["hosts"]}
    assert offered == {"h1": ["a1"], "h2": ["a2"]}


def test_no_settings_file_holds_a_secret(files: LabFiles) -> None:
    """Why: settings are shown in bug reports."""
    files.site(SPEC.sites[0])
    files.api("milan")
    files.tier("ray")
    for path in files.base.rglob("*.json"):
        assert "PRIVATE KEY" not in path.read_text(), path
