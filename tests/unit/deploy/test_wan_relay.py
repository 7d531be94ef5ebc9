"""The distance between sites: what the file means, which rules it becomes, what is sent on."""

from __future__ import annotations

import json
import socket
import struct

import pytest

from isthmus.deploy.wan_relay import (
    RelayConfigError,
    nft_script,
    packet,
    parse_config,
)

GOOD = {"from": "10.101.0.0/16", "to": "10.102.0.0/16", "delay_us": 20_000}


def config(*delays: object, **more: object) -> str:
    return json.dumps({"delays": list(delays), **more})


def test_a_direction_is_an_entry() -> None:
    """Links need not be symmetric, and pairs that are not listed are not ours."""
    parsed = parse_config(config(GOOD))
    found = parsed.find("10.101.0.1", "10.102.0.1")
    assert found is not None
    assert (found.delay_us, found.jitter_us, found.loss_permille) == (20_000, 0, 0)
    assert parsed.find("10.102.0.1", "10.101.0.1") is None
    assert parsed.port == 4789


def test_the_most_specific_entry_decides() -> None:
    """A host of a site may be further away than the site; the order of the file means nothing."""
    near = {**GOOD, "from": "10.101.0.7/32", "delay_us": 7}
    for delays in ((GOOD, near), (near, GOOD)):
        parsed = parse_config(config(*delays))
        found = parsed.find("10.101.0.7", "10.102.0.1")
        assert found is not None
        assert found.delay_us == 7
        script = nft_script(parsed)
        assert script.index("10.101.0.7/32") < script.index("10.101.0.0/16")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not JSON"),
        ("[]", "list 'delays'"),
        ("{}", "list 'delays'"),
        (config(1), "delays[0] is not an object"),
        (config({**GOOD, "from": "10.0.0.1/8"}), "delays[0].from: 10.0.0.1/8 has host bits set"),
        (config({**GOOD, "to": "fd00::/8"}), "delays[0].to"),
        (config({**GOOD, "to": "0.0.0.0/0; drop"}), "delays[0].to"),
        (config(GOOD, {**GOOD, "delay_us": -1}), "delays[1].delay_us is -1"),
        (config({**GOOD, "delay_us": 1.5}), "delays[0].delay_us is 1.5"),
        (config({**GOOD, "delay_us": True}), "delays[0].delay_us is True"),
        (config({**GOOD, "loss_permille": 1001}), "loss_permille is 1001"),
        (config(GOOD, port=0), "config.port is 0"),
        (config(GOOD, port="4789; flush ruleset"), "config.port is '4789; flush ruleset'"),
    ],
)
def test_a_wrong_file_is_refused_by_field_and_value(text: str, says: str) -> None:
    """The file becomes nft rules run as root: nothing but numbers and networks gets through."""
    with pytest.raises(RelayConfigError) as caught:
        parse_config(text)
    assert says in str(caught.value)


def test_every_diversion_is_followed_by_a_drop() -> None:
    """With nobody listening TPROXY falls through: the drop makes a dead relay a cut, not
    a shortcut."""
    lines = [
        line for line in nft_script(parse_config(config(GOOD))).splitlines() if "saddr" in line
    ]
    assert len(lines) == 2
    assert "tproxy to" in lines[0]
    assert lines[1].endswith("udp dport 4789 drop")


def test_packets_leave_with_the_addresses_they_came_with() -> None:
    """IPv4 (RFC 791) and UDP (RFC 768) headers, read back byte by byte."""
    data = packet(("10.101.0.1", 50_000), ("10.102.0.1", 4789), b"inner frame")
    version, _, total, _, _, ttl, protocol, _, src, dst = struct.unpack_from("!BBHHHBBH4s4s", data)
    assert (version, total, protocol) == (0x45, 20 + 8 + 11, socket.IPPROTO_UDP)
    assert ttl < 64, "one hop further"
    assert (socket.inet_ntoa(src), socket.inet_ntoa(dst)) == ("10.101.0.1", "10.102.0.1")
    assert struct.unpack_from("!HHHH", data, 20) == (50_000, 4789, 8 + 11, 0)
    assert data[28:] == b"inner frame"
