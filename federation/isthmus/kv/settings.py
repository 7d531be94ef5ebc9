"""How to reach one store, and how long to believe in a silent one. Each default says why.

The figures come from measurements against etcd 3.5 to 3.7 (stopped servers, cut links, large catch-ups);
they are for one machine room, not for a WAN: sites talk to their own store only (DESIGN section 5).
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

MIB = 1 << 20


class EtcdSettings(BaseModel):
    """Everything an :class:`~isthmus.kv.etcd.EtcdStore` has to know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    endpoints: tuple[str, ...] = Field(min_length=1, max_length=9)
    """``host:port`` of each member, or one ``unix:/path``: the relay's socket of an instance."""

    ca_file: Path | None = None
    """Authority that signed the store's certificate. None: no TLS, as on a relay socket."""

    cert_file: Path | None = None
    """Our certificate; its common name is the etcd user (users by certificate need no tokens, so
    they survive a restart of the store and the expiry of every token: measured)."""

    key_file: Path | None = None

    server_name: str | None = None
    """Name to look for in the store's certificate. None: the host of the first endpoint."""

    user: str | None = None
    """For stores without client certificates; re-authenticates by itself when the token ran out."""

    password: SecretStr | None = None

    keepalive_time_ms: int = Field(10_000, ge=5_000)
    """Ping an idle connection this often. Below 5 s etcd answers GOAWAY too_many_pings."""

    keepalive_timeout_ms: int = Field(5_000, ge=100)
    """How long a ping may stay unanswered. Alone it noticed nothing in 26 s (TCP still acknowledged)."""

    ping_timeout_ms: int = Field(3_000, ge=100)
    """gRPC's own limit for a ping; with it a stopped server is UNAVAILABLE after 5 to 10 s."""

    heartbeat_s: float = Field(1.0, gt=0)
    """A watch that heard nothing for this long asks the server for a sign of life."""

    silence_s: float = Field(3.0, gt=0)
    """A watch that heard nothing for this long is cut and opened again (GUARANTEES: noticed in 3 s).
    Three heartbeats: one may be lost in a busy second."""

    attempt_timeout_s: float = Field(2.0, gt=0)
    """Longest single attempt of a read before it is tried again, maybe at another member. Writes get
    the caller's whole deadline: cutting one short makes its outcome unknown."""

    chunk_timeout_s: float = Field(4.0, gt=0)
    """Longest wait for one chunk of a snapshot before it goes on from the last key on a new stream."""

    connect_timeout_ms: int = Field(2_000, ge=100)
    """Of one connection attempt; gRPC's 20 s would sit out a cut in front of a black hole."""

    backoff_min_s: float = Field(0.05, gt=0)
    """First pause after a lost connection. etcd restarts within 0.2 s: do not be later than it."""

    backoff_max_s: float = Field(2.0, gt=0)
    """Longest pause: also the longest a recovered store goes unnoticed."""

    max_message_bytes: int = Field(16 * MIB, ge=64 * 1024)
    """Bound of one answer. A snapshot chunk begins with 10 keys, so it must exceed 10 values; a
    larger chunk or catch-up is asked for again in smaller pieces."""

    page_keys: int = Field(10_000, ge=1)
    """Keys per page where the server has no RangeStream. Pages are quadratic (each counts all keys
    behind it): 2,000 costs twice the server's time of 10,000 for 500,000 keys."""

    @field_validator("endpoints", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("endpoints")
    @classmethod
    def _well_formed(cls, endpoints: tuple[str, ...]) -> tuple[str, ...]:
        if any(endpoint.startswith("unix:") for endpoint in endpoints):
            if len(endpoints) > 1:
                raise ValueError("a unix: endpoint stands alone; give one endpoint")
            return endpoints
        for endpoint in endpoints:
            _host_and_port(endpoint)
        if len(endpoints) > 1 and not all(is_ipv4(endpoint) for endpoint in endpoints):
            raise ValueError(
                f"endpoints {list(endpoints)}: with more than one, each must be an IPv4 "
                "address and a port (the list is balanced without a name service)"
            )
        return endpoints

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file belong together: give both or none")
        if self.cert_file is not None and self.ca_file is None:
            raise ValueError("cert_file without ca_file: whom should we trust? give ca_file")
        if self.is_unix and self.ca_file is not None:
            raise ValueError("a unix: endpoint takes no TLS files: the relay behind it has them")
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password belong together: give both or none")
        if self.silence_s <= self.heartbeat_s:
            raise ValueError("silence_s must be longer than heartbeat_s, or every watch is cut")
        return self

    @property
    def is_unix(self) -> bool:
        """Is this a relay socket?"""
        return self.endpoints[0].startswith("unix:")

    @property
    def target(self) -> str:
        """As gRPC names it."""
        if self.is_unix:
            return self.endpoints[0]
        if all(is_ipv4(endpoint) for endpoint in self.endpoints):
            return "ipv4:" + ",".join(self.endpoints)
        return "dns:///" + self.endpoints[0]

    @property
    def expected_server_name(self) -> str:
        """What the store's certificate must be made out to."""
        return self.server_name or _host_and_port(self.endpoints[0])[0]

    def only(self, endpoint: str) -> EtcdSettings:
        """The same for one endpoint alone: for calls that mean one member (status, defragment)."""
        return self.model_copy(update={"endpoints": (endpoint,)})


def _host_and_port(endpoint: str) -> tuple[str, int]:
    host, colon, port = endpoint.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536 or "//" in host:
        raise ValueError(f"endpoint {endpoint!r} is not host:port (such as 127.0.0.1:2379)")
    return host.strip("[]"), int(port)


def is_ipv4(endpoint: str) -> bool:
    """Does ``host:port`` name an IPv4 address?"""
    try:
        ipaddress.IPv4Address(endpoint.rpartition(":")[0])
    except ValueError:
        return False
    return True
