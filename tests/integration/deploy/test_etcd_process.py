"""One real etcd: it serves those it should, on the one port it should, and survives kill -9."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from tests.support import eventually

from isthmus.deploy.binaries import find
from isthmus.deploy.command import Completed, run
from isthmus.deploy.errors import NotReady
from isthmus.deploy.etcd_process import EtcdMember, EtcdTls, etcd_argv, free_port, run_etcd

pytestmark = pytest.mark.etcd


def _member(folder: Path, tls: EtcdTls | None = None) -> EtcdMember:
    return EtcdMember(data_dir=folder / "data", client_port=free_port(), tls=tls)


async def etcdctl(member: EtcdMember, *argv: str, check: bool = True) -> Completed:
    """Ask the member as an operator would."""
    binary = await find("etcdctl")
    line = [str(binary.path), f"--endpoints={member.client_url}", "--command-timeout=5s", *argv]
    return await run(line, timeout_s=30, check=check)


class Authority:
    """A certificate authority for one test."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder / name
        self.folder.mkdir()
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.file = self.folder / "ca.pem"
        certificate = self._signed(self.name, self.key.public_key(), ca=True)
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, common_name: str) -> EtcdTls:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        certificate = self._signed(subject, key.public_key(), ca=False)
        cert_file, key_file = self.folder / f"{common_name}.pem", self.folder / f"{common_name}.key"
        cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return EtcdTls(ca_file=self.file, cert_file=cert_file, key_file=key_file)

    def _signed(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, ca: bool
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        hosts = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(minutes=5))
            .not_valid_after(now + dt.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .sign(self.key, hashes.SHA256())
        )


def _as(tls: EtcdTls) -> list[str]:
    return [f"--cacert={tls.ca_file}", f"--cert={tls.cert_file}", f"--key={tls.key_file}"]


def _listening(pid: int) -> set[tuple[str, int]]:
    """(address, port) of every TCP socket in state LISTEN that process ``pid`` holds."""
    held = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        target = str(entry.readlink())
        if target.startswith("socket:["):
            held.add(target[len("socket:[") : -1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in held:
                address, port = fields[1].split(":")
                found.add((address, int(port, 16)))
    return found


async def test_it_serves_keeps_its_data_over_kill_9_and_ends(tmp_path: Path) -> None:
    """The store of a site: killed at any moment, back with everything it had promised."""
    member = _member(tmp_path)
    async with run_etcd(member) as owner:
        await etcdctl(member, "put", "/isthmus/v1/a", "one")
        owner.kill("etcd.member")
        await owner.wait_ready("etcd.member", timeout_s=30)
        assert (await etcdctl(member, "get", "/isthmus/v1/a")).output.split() == [
            "/isthmus/v1/a",
            "one",
        ]
        assert owner.status_of("etcd.member").restarts == 1
    with pytest.raises(OSError, match=r"Connect|refused"):
        await asyncio.open_connection(member.client_host, member.client_port)


async def test_the_clients_port_is_the_only_one(tmp_path: Path) -> None:
    """A peer port without authentication would be a way around every role in the store."""
    member = _member(tmp_path)
    async with run_etcd(member) as owner:
        pid = owner.status_of("etcd.member").pid
        assert pid is not None
        assert _listening(pid) == {("0100007F", member.client_port)}


async def test_its_folder_is_private(tmp_path: Path) -> None:
    """Data, peer and metrics sockets are in it; other users of the machine stay out."""
    member = _member(tmp_path)
    member.data_dir.mkdir(mode=0o755)
    async with run_etcd(member):
        assert member.data_dir.stat().st_mode & 0o777 == 0o700


async def test_only_certificates_of_our_authority_get_in(tmp_path: Path) -> None:
    """Who has no certificate, or somebody else's, does not even reach the store."""
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    member = _member(tmp_path, ours.issue("etcd"))
    client, stranger = ours.issue("placer"), theirs.issue("placer")
    async with run_etcd(member):
        assert (await etcdctl(member, *_as(client), "put", "a", "1")).output.strip() == "OK"
        trusting = EtcdTls(
            ca_file=ours.file, cert_file=stranger.cert_file, key_file=stranger.key_file
        )
        refused = await etcdctl(member, *_as(trusting), "get", "a", check=False)
        assert refused.code != 0
        nobody = await etcdctl(member, f"--cacert={ours.file}", "get", "a", check=False)
        assert nobody.code != 0


async def test_the_gateway_is_off(tmp_path: Path) -> None:
    """It refuses users known by certificate, and is one more way in that nobody needs."""
    member = _member(tmp_path)
    async with run_etcd(member):
        reader, writer = await asyncio.open_connection(member.client_host, member.client_port)
        writer.write(b'POST /v3/kv/range HTTP/1.0\r\nContent-Length: 14\r\n\r\n{"key":"YQ=="}')
        status = await asyncio.wait_for(reader.readline(), 10)
        writer.close()
    assert b" 404 " in status


async def test_a_port_in_use_is_told_with_etcds_own_words(tmp_path: Path) -> None:
    """Not a bare timeout: the end of its log is in the message."""
    first = _member(tmp_path)
    second = EtcdMember(data_dir=tmp_path / "second", client_port=first.client_port, name="second")
    async with run_etcd(first):
        with pytest.raises(NotReady, match="address already in use"):
            async with run_etcd(second, ready_timeout_s=2.0):
                raise AssertionError("two members served one port")


async def test_a_frozen_member_is_not_ready(tmp_path: Path) -> None:
    """Chaos freezes stores; readiness must come from an answer, not from a process id."""
    member = _member(tmp_path)
    async with run_etcd(member) as owner:
        owner.pause("etcd.member")
        frozen = await etcdctl(member, "--command-timeout=300ms", "get", "a", check=False)
        assert frozen.code != 0
        owner.resume("etcd.member")
        await owner.wait_ready("etcd.member", timeout_s=30)
        await eventually(lambda: owner.status_of("etcd.member").state == "ready", "it serves again")


def test_plain_http_leaves_the_loopback_for_nobody(tmp_path: Path) -> None:
    """A typo in an address must not publish a store."""
    with pytest.raises(ValueError, match=r"plain http on 10\.0\.0\.1; give tls"):
        EtcdMember(data_dir=tmp_path, client_port=2379, client_host="10.0.0.1")


def test_limits_are_arguments(tmp_path: Path) -> None:
    """Quota and compaction decide when a store refuses writes: never left to a default."""
    member = EtcdMember(
        data_dir=tmp_path,
        client_port=1,
        quota_bytes=7,
        compaction_retention="9",
        extra=("--max-txn-ops=3",),
    )
    argv = etcd_argv(member, Path("/bin/etcd"))
    assert {
        "--quota-backend-bytes=7",
        "--auto-compaction-retention=9",
        "--max-txn-ops=3",
        "--enable-grpc-gateway=false",
    } <= set(argv)
    assert "--unsafe-no-fsync" not in argv
