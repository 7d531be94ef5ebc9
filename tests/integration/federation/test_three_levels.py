"""Site, region and global over real etcds, real mutual TLS and two gateways: up through two levels, and down again.

The region's own controllers run on its real store; its gateway serves the site below and keeps the link upwards, as
one process does. Values that must not cross are planted at every level and searched in every other store.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydantic import ValidationError
from tests.federation_support import until
from tests.integration.federation.lab import QUICK
from tests.integration.kv.server import EtcdServer, free_port, serves

from isthmus.cli.main import main
from isthmus.contract import Body, Stamp, seal, unseal
from isthmus.contract.chain import ChainStatus, Segment, SegmentIntent, WirePeer
from isthmus.contract.families import G_SITES
from isthmus.contract.instance import SiteSummary
from isthmus.contract.peering import Delegation
from isthmus.contract.world import SiteSpec
from isthmus.federation import (
    GatewaySettings,
    LinkStatus,
    PeerSettings,
    SiteLinkSettings,
    run_gateway,
    run_site_link,
)
from isthmus.global_tier.carrying import Policy
from isthmus.global_tier.group import controller
from isthmus.global_tier.numbers import Numbers
from isthmus.identity import Identity, LeafRequest, TrustDomain
from isthmus.kv.etcd import EtcdStore
from isthmus.microcontroller import Runner
from isthmus.trust import AuthorityStore, Enrolment

pytestmark = pytest.mark.etcd

CARRIER = TrustDomain("carrier.example")
TOP = Identity.of_global(CARRIER, "gateway")
REGION = Identity.of_site(CARRIER, "europe", "gateway")
MILAN = Identity.of_site(CARRIER, "milan", "federation")
ROOT = "/isthmus/v1/"
SENTINEL = "sentinel-that-must-stay"
STAMP = Stamp(origin="test", incarnation="1")


@dataclass
class Levels:
    """Three stores, two gateways, one site's link."""

    folder: Path
    etcds: dict[str, EtcdServer] = field(default_factory=dict)
    stores: dict[str, EtcdStore] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    seen: dict[str, LinkStatus] = field(default_factory=dict)

    async def start(self) -> None:
        authority = AuthorityStore(self.folder / "ca", CARRIER)
        authority.enroll(
            [Enrolment(LeafRequest(one), self.credentials(one)) for one in (TOP, REGION, MILAN)],
            now_s=time.time(),
        )
        self.bundle.write_bytes(authority.bundle_pem())
        self.bundle.chmod(0o644)
        for name in ("top", "europe", "milan"):
            self.etcds[name] = EtcdServer(self.folder / f"{name}-etcd")
            self.ports[name] = free_port()
        await asyncio.gather(*(etcd.start() for etcd in self.etcds.values()))
        self.stores = {name: etcd.store() for name, etcd in self.etcds.items()}
        await asyncio.gather(*(serves(store) for store in self.stores.values()))
        await self.put(
            "europe", G_SITES.key(site="milan"), SiteSpec(site="milan", attachments=("a",))
        )

    @property
    def bundle(self) -> Path:
        return self.folder / "carrier.pem"

    def credentials(self, identity: Identity) -> Path:
        return self.folder / "credentials" / identity.server_name

    def uplink(
        self, name: str, identity: Identity, to: str, peer: Identity, at: str
    ) -> SiteLinkSettings:
        return SiteLinkSettings.model_validate(
            {
                "name": name,
                "credentials": self.credentials(identity),
                "bundles": {CARRIER.name: self.bundle},
                "dial": (f"127.0.0.1:{self.ports[at]}",),
                "peer": {"name": to, "identity": str(peer)},
                "limits": QUICK,
                "backoff_max_s": 0.5,
                "status_every_s": 0.05,
            }
        )

    def gateway(self, name: str, at: str, identity: Identity, peer: PeerSettings,
                *uplinks: SiteLinkSettings) -> GatewaySettings:  # fmt: skip
        return GatewaySettings(
            name=name,
            credentials=self.credentials(identity),
            bundles={CARRIER.name: self.bundle},
            listen=f"127.0.0.1:{self.ports[at]}",
            peers=(peer,),
            limits=QUICK,
            status_every_s=0.05,
            uplinks=uplinks,
        )

    def run_top(self) -> None:
        peer = PeerSettings(name="europe", identity=str(REGION))
        self._run(
            "top",
            run_gateway(
                self.gateway("global", "top", TOP, peer),
                self.stores["top"],
                on_status=self._told("top"),
            ),
        )

    def region_settings(self, *, store: bool = False) -> GatewaySettings:
        """Its gateway, with the link upwards."""
        up = self.uplink("europe", REGION, "global", TOP, "top")
        peer = PeerSettings(name="milan", identity=str(MILAN))
        settings = self.gateway("europe", "europe", REGION, peer, up)
        reach = self.etcds["europe"].settings() if store else None
        return settings.model_copy(update={"store": reach})

    def run_region(self) -> None:
        """Its gateway with the link upwards, and its controllers."""
        settings = self.region_settings()
        self._run(
            "europe", run_gateway(settings, self.stores["europe"], on_status=self._told("europe"))
        )
        policy = Policy("carrier.example/europe", (Delegation("global"),), Numbers(5000, 5999))
        for component in ("intake", "placer", "wiring", "reporter", "representative"):
            made = controller(component, "test", name="europe", policy=policy)
            self._run(
                f"europe.{component}", Runner(made, self.etcds["europe"].store(), component).run()
            )

    def run_milan(self) -> None:
        settings = self.uplink("milan", MILAN, "europe", REGION, "europe")
        self._run(
            "milan", run_site_link(settings, self.stores["milan"], on_status=self._told("milan"))
        )

    def _run(self, name: str, work) -> None:  # type: ignore[no-untyped-def]
        self.tasks[name] = asyncio.create_task(work)

    def _told(self, end: str):  # type: ignore[no-untyped-def]
        def told(links: tuple[LinkStatus, ...]) -> None:
            self.seen.update({f"{end}:{link.peer}": link for link in links})

        return told

    async def end(self, *names: str) -> None:
        for name in names:
            task = self.tasks.pop(name)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def stop(self) -> None:
        await self.end(*list(self.tasks))
        for store in self.stores.values():
            await store.aclose()
        for etcd in self.etcds.values():
            etcd.kill()

    async def put(self, at: str, key: str, body: Body, *, ttl_s: float = 0.0) -> None:
        await self.stores[at].put(key, seal(body, STAMP, as_of=time.time(), ttl_s=ttl_s))

    async def get(self, at: str, key: str, model: type[Body]) -> Body | None:
        entry = await self.stores[at].get(ROOT + key)
        return None if entry is None else unseal(entry.value, model).body

    async def everything(self, at: str) -> dict[str, bytes]:
        return {e.key: e.value for e in (await self.stores[at].snapshot(ROOT)).entries}


@contextlib.asynccontextmanager
async def levels(folder: Path) -> AsyncIterator[Levels]:
    made = Levels(folder)
    try:
        await made.start()
        made.run_top()
        made.run_region()
        made.run_milan()
        yield made
    finally:
        await made.stop()


SUMMARY = SiteSummary(
    cpu_milli_total=4000, cpu_milli_free=3000, memory_mib_total=4096, memory_mib_free=2048,
    largest_free_cpu_milli=3000, hosts_up=1, chains=0, attachments=("a",), function_types=("firewall/1",),
)  # fmt: skip
SEGMENT = Segment.model_validate(
    {
        "tenant": "acme",
        "chain": "web",
        "functions": [{"name": "fw", "type": "firewall"}],
        "left": {"kind": "attachment", "name": "a"},
        "right": {"kind": "wire", "name": "w-000000000001"},
        "wires": [{"wire": "w-000000000001", "vni": 1000}],
        "epoch": 7,
    }
)


async def ask(world: Levels) -> None:
    """As the top's wiring does."""
    await world.put("top", f"{ROOT}outbox/europe/intents/acme/web", SegmentIntent(segment=SEGMENT))
    far = WirePeer(wire="w-000000000001", vni=1000, address="192.0.2.9")
    await world.put("top", f"{ROOT}outbox/europe/wires/w-000000000001", far)


async def test_keys_cross_two_levels_up_and_down(tmp_path: Path) -> None:
    """Why: simulation has no TLS, no etcd, no gateway. Here a summary climbs two links and an intent descends two."""
    async with levels(tmp_path) as world:
        await world.put("milan", f"{ROOT}summary/site", SUMMARY, ttl_s=600)

        async def climbed() -> bool:
            told = await world.get("top", "remote/europe/summary/site", SiteSummary)
            return isinstance(told, SiteSummary) and told.sites == 1 and told.cpu_milli_free == 3000

        await until(climbed, "milan's summary reaches the top as europe's")
        await ask(world)

        async def descended() -> bool:
            intent = await world.get("milan", "remote/europe/intents/acme/web", SegmentIntent)
            far = await world.get("milan", "remote/europe/wires/w-000000000001", WirePeer)
            return (  # two keys, whose order nobody promised
                isinstance(intent, SegmentIntent)
                and intent.segment.wires[0].vni == 1000
                and isinstance(far, WirePeer)
                and far.address == "192.0.2.9"
            )

        await until(descended, "the top's segment and its far end reach milan")
        intent = await world.get("milan", "remote/europe/intents/acme/web", SegmentIntent)
        assert isinstance(intent, SegmentIntent)
        end = WirePeer(wire="w-000000000001", vni=1000, address="192.0.2.1")
        await world.put("milan", f"{ROOT}summary/peers/europe/wires/w-000000000001", end)
        running = ChainStatus.model_validate(
            {"phase": "running", "source": "europe", "epoch": intent.segment.epoch, "hops": 2,
             "connected_hops": 2, "path": ["milan/fw"],
             "functions": [{"function": "fw", "site": "milan", "phase": "running"}]}
        )  # fmt: skip
        key = f"{ROOT}summary/peers/europe/chains/acme/web"
        await world.put("milan", key, running, ttl_s=600)

        async def answered() -> bool:
            status = await world.get("top", "remote/europe/summary/chains/acme/web", ChainStatus)
            wire = await world.get("top", "remote/europe/summary/wires/w-000000000001", WirePeer)
            return (
                isinstance(status, ChainStatus)
                and isinstance(wire, WirePeer)
                and (status.phase.value, status.epoch, wire.address) == ("running", 7, "192.0.2.1")
            )

        await until(answered, "status and wire end reach the top")
        status = await world.get("top", "remote/europe/summary/chains/acme/web", ChainStatus)
        assert isinstance(status, ChainStatus)
        assert status.path == ("europe/fw",)
        await world.stores["top"].delete(f"{ROOT}outbox/europe/intents/acme/web")

        async def gone() -> bool:
            return not [k for k in await world.everything("milan") if "remote/europe/intents" in k]

        await until(gone, "its deletion reaches milan")


async def test_sentinels_of_every_level_stay_there_and_denials_are_counted(tmp_path: Path) -> None:
    """Why: two borders, each closed by itself (G8): what a level does not tell, no other level has in any byte."""
    async with levels(tmp_path) as world:
        planted = {
            "milan": ("inventory/h1", "specs/acme/own", "summary/peers/global/chains/acme/x", "events/api/1"),
            "europe": ("placements/acme/own", "outbox/lyon/intents/acme/x", "remote/lyon/summary/site",
                       "summary/peers/other/chains/acme/x", "sites/lyon", "summary/peers/global/secret/x"),
            "top": ("intents/acme/own", "outbox/asia/intents/acme/x", "requests/local/acme/own",
                    "summary/peers/europe/chains/acme/x", "outbox/europe/secret/x"),
        }  # fmt: skip
        for at, keys in planted.items():
            for key in keys:
                await world.stores[at].put(ROOT + key, f"{SENTINEL} {at} {key}".encode())
        await world.put("milan", f"{ROOT}summary/site", SUMMARY, ttl_s=600)
        await ask(world)

        async def through() -> bool:
            intent = await world.get("milan", "remote/europe/intents/acme/web", SegmentIntent)
            told = await world.get("top", "remote/europe/summary/site", SiteSummary)
            return intent is not None and told is not None

        await until(through, "what may cross has crossed")
        for at, keys in planted.items():
            found = await world.everything(at)
            leaked = [key for key, value in found.items()
                      if SENTINEL.encode() in value and key.removeprefix(ROOT) not in keys]  # fmt: skip
            assert leaked == [], at
        await until(lambda: _denied(world.seen["europe:global"]), "the region's exporter says so")
        await until(lambda: _denied(world.seen["top:europe"]), "and the top's")


async def test_the_lens_shows_what_crosses_to_a_peer_above(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Why: an operator asks of every link what leaves; the settings of the gateway are the link's, too."""
    async with levels(tmp_path) as world:
        await world.put("milan", f"{ROOT}summary/site", SUMMARY, ttl_s=600)
        await until(lambda: world.get("top", "remote/europe/summary/site", SiteSummary), "up")
        await world.stores["europe"].put(f"{ROOT}summary/peers/global/secret/x", b"x")
        path = tmp_path / "gateway.json"
        path.write_text(world.region_settings(store=True).model_dump_json())

        async def lens(peer: str) -> int:
            return await asyncio.to_thread(main, ["federation", "lens", str(path), peer])

        assert await lens("global") == 0
        told = capsys.readouterr().out
        assert "crosses    summary/site" in told
        assert "secret/x: scope-denied" in told
        assert await lens("nobody") == 1
        assert "global, milan" in capsys.readouterr().err


def _denied(status: LinkStatus) -> bool:
    return any(key.startswith("export:") and count for key, count in status.denied.items())


async def test_a_region_whose_gateway_is_started_anew_converges(tmp_path: Path) -> None:
    """Why: its one process holds both links; after its death both ends must agree again (G4)."""
    async with levels(tmp_path) as world:
        await world.put("milan", f"{ROOT}summary/site", SUMMARY, ttl_s=600)
        await until(lambda: world.get("top", "remote/europe/summary/site", SiteSummary), "up")
        await world.end(*[name for name in world.tasks if name.startswith("europe")])
        await ask(world)
        more = SUMMARY.model_copy(update={"cpu_milli_free": 1000})
        await world.put("milan", f"{ROOT}summary/site", more, ttl_s=600)
        world.run_region()

        async def agrees() -> bool:
            told = await world.get("top", "remote/europe/summary/site", SiteSummary)
            intent = await world.get("milan", "remote/europe/intents/acme/web", SegmentIntent)
            return (
                isinstance(told, SiteSummary) and told.cpu_milli_free == 1000 and intent is not None
            )

        await until(agrees, "both ways are right again")


def test_a_peer_that_is_above_and_below_has_two_names(tmp_path: Path) -> None:
    """Why: both links would write ``remote/b/`` and sweep each other's keys away, again and again."""
    made = Levels(tmp_path)
    made.ports = {"top": 1, "europe": 2}
    peer = PeerSettings(name="b", identity=str(MILAN))
    with pytest.raises(ValidationError, match="'b' is named twice"):
        made.gateway("a", "top", TOP, peer, made.uplink("a-sites", TOP, "b", REGION, "europe"))
