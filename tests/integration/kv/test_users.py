"""Users and roles of a real etcd come, change and go; certificates and passwords are renewed on the way (R6, R8)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.integration.kv.authority import Authority
from tests.integration.kv.guarded import Guarded
from tests.integration.kv.server import EtcdServer, serves
from tests.support import eventually

from isthmus.kv.admin import Access, EtcdAdmin, Grant
from isthmus.kv.errors import (
    AmbiguousOutcome,
    InvalidRequest,
    PermissionDenied,
    StoreError,
    Unauthenticated,
    Unavailable,
)


async def test_change_of_roles_disturbs_nobody(guarded: Guarded) -> None:
    """Each change makes etcd refuse what was on its way; the client asks again, unseen."""
    root, launcher = await guarded.store("root"), await guarded.store("launcher.h1")
    admin = EtcdAdmin(root)
    done = asyncio.Event()

    async def change() -> None:
        for number in range(30):
            await admin.ensure_role(f"role{number}", [Grant.of(f"x{number}/", Access.READ)])
        done.set()

    changing = asyncio.create_task(change())
    writes = 0
    while not done.is_set():
        await launcher.put("hosts/h1/a", b"%d" % writes)
        await launcher.snapshot("hosts/h1/")
        await anext(launcher.watch("hosts/h1/"))
        writes += 1
    await changing
    assert writes > 1, "they took turns: some were refused and asked again in between"


async def test_ensure_role_takes_and_gives_exactly(guarded: Guarded) -> None:
    """Generated roles change with the contract: what is no longer in it must go."""
    admin = EtcdAdmin(await guarded.store("root"))
    launcher = await guarded.store("launcher.h1")
    less = [Grant.of("chains/", Access.READ_WRITE), Grant.of("hosts/h1/", Access.READ)]
    await admin.ensure_role("launcher.h1", less)
    assert await admin.role_grants("launcher.h1") == frozenset(less)
    await launcher.put("chains/t/c", b"")
    with pytest.raises(PermissionDenied):
        await launcher.put("hosts/h1/a", b"")
    with pytest.raises(PermissionDenied):
        await launcher.put("summary/site", b"")
    await admin.ensure_role("launcher.h1", less)
    with pytest.raises(InvalidRequest, match="same range"):
        await admin.ensure_role("launcher.h1", [*less, Grant.of("chains/", Access.READ)])


async def test_a_user_that_was_deleted_is_refused(guarded: Guarded) -> None:
    """Calls at once; a watch that is open goes on (etcd checks it once), hence the relay is cut."""
    admin = EtcdAdmin(await guarded.store("root"))
    launcher = await guarded.store("launcher.h1")
    assert await launcher.get("hosts/h1/a") is not None
    await admin.ensure_no_user("launcher.h1")
    await admin.ensure_no_user("launcher.h1")
    with pytest.raises(StoreError) as refusal:
        await launcher.get("hosts/h1/a", timeout_s=2)
    assert isinstance(refusal.value, PermissionDenied | Unauthenticated)
    assert "launcher.h1" not in await admin.users()


async def test_users_and_roles_come_and_go(guarded: Guarded) -> None:
    """The credentials controller's verbs, each once."""
    admin = EtcdAdmin(await guarded.store("root"))
    await admin.ensure_user("vnf", [])
    assert await admin.user_roles("vnf") == ()
    await admin.add_role("extra")
    await admin.ensure_user("vnf", ["extra", "launcher.h1"])
    assert set(await admin.user_roles("vnf")) == {"extra", "launcher.h1"}
    await admin.ensure_user("vnf", ["extra"])
    assert await admin.user_roles("vnf") == ("extra",)
    await admin.delete_role("extra")
    assert "extra" not in await admin.roles()
    assert await admin.auth_enabled()
    await admin.enable_auth()


async def test_password_users_survive_a_restart(guarded: Guarded) -> None:
    """A restart of the server must not end them; other clients then failed for ever (measured)."""
    admin = EtcdAdmin(await guarded.store("root"))
    await admin.add_user("ems", "a long password")
    await admin.grant_role("ems", "launcher.h1")
    files = {"ca_file": guarded.authority.file} | guarded.authority.client_files("nobody")
    ems = guarded.server.store(user="ems", password="a long password", **files)
    async with ems:
        await ems.put("hosts/h1/a", b"1")
        watch = ems.watch("hosts/h1/")
        await anext(watch)
        guarded.server.kill()  # simple tokens live in the server's memory
        await guarded.server.start()
        await serves(await guarded.store("root"))
        await ems.put("hosts/h1/a", b"2", timeout_s=10)
        seen = 0
        while not seen:
            seen = len((await asyncio.wait_for(anext(watch), 10)).events)
        await watch.aclose()
    async with guarded.server.store(user="ems", password="wrong", **files) as wrong:
        with pytest.raises(Unauthenticated):
            await wrong.get("hosts/h1/a")


async def test_password_user_survives_a_short_token(tmp_path: Path) -> None:
    """Tokens of three seconds: a store client lives for months."""
    server = EtcdServer(tmp_path / "member", extra=("--auth-token-ttl=1",))
    await server.start()
    try:
        async with server.store() as open_store:
            await serves(open_store)
            admin = EtcdAdmin(open_store)
            await admin.ensure_role("r", [Grant.of("a/", Access.READ_WRITE)])
            await admin.add_user("ems", "password")
            await admin.grant_role("ems", "r")
            await admin.enable_auth()
        async with server.store(user="ems", password="password") as ems:
            await ems.put("a/b", b"")
            first = ems.counters.authentications

            async def had_to_authenticate() -> bool:
                await asyncio.sleep(1.2)  # longer than a token lives, which each use prolongs
                await ems.put("a/b", b"")
                return ems.counters.authentications > first

            _: bool = await eventually(had_to_authenticate, "a second authentication")
    finally:
        server.kill()


async def test_renewed_certificates_are_used_without_a_restart(
    guarded: Guarded, tmp_path: Path
) -> None:
    """G10: leaf and authority are renewed on disk, the store restarts with its own; a client that
    lives for months goes on, watch and lease included."""
    live = tmp_path / "live"
    live.mkdir()

    def install(authority: Authority) -> dict[str, Path]:
        for name, file in authority.client_files("launcher.h1").items():
            fresh = live / (name + ".new")
            fresh.write_bytes(file.read_bytes())
            fresh.replace(live / name)
        return {name: live / name for name in ("ca_file", "cert_file", "key_file")}

    async with guarded.server.store(**install(guarded.authority)) as store:
        lease = await store.grant_lease(20)
        watch = store.watch("hosts/h1/")
        await anext(watch)
        await store.put("hosts/h1/a", b"1", lease_id=lease.lease_id)
        assert (await anext(watch)).events
        other = Authority(tmp_path / "renewed")
        certificate, key = other.issue("server")
        guarded.server.kill()
        guarded.server.tls = (other.file, certificate, key)
        await guarded.server.start()
        with pytest.raises((Unavailable, AmbiguousOutcome)):
            await store.put("hosts/h1/a", b"2", timeout_s=1)
        install(other)
        await store.put("hosts/h1/a", b"3", timeout_s=15)
        assert (await asyncio.wait_for(anext(watch), 15)).resumed
        events = (await asyncio.wait_for(anext(watch), 15)).events
        assert [event.entry and event.entry.value for event in events] == [b"3"]
        renewals = store.counters.lease_renewals
        await eventually(lambda: store.counters.lease_renewals > renewals, "the lease is renewed")
        assert not lease.lost
        assert store.counters.channels_renewed >= 1
        await watch.aclose()
