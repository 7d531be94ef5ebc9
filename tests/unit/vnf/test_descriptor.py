"""A descriptor is written once and read by people, catalogs and agents; it must not contradict itself."""

from __future__ import annotations

import pytest

from isthmus.contract.instance import CatalogEntry
from isthmus.functions import Firewall, Limiter, catalog_entries, shipped
from isthmus.vnf import (
    ConfigRefused,
    Descriptor,
    DescriptorRefused,
    Parameters,
    Registry,
    TypeUnknown,
)
from isthmus.vnf.program import Mark, closed, find_mark


class Knob(Parameters):
    turn: int


def test_the_catalog_has_every_shipped_function_with_its_schema() -> None:
    """Intake writes these entries as they are; the placer and people's editors read them."""
    entries = {entry.type: entry for entry in catalog_entries()}
    assert set(entries) == {"firewall", "limiter", "nat"}
    for entry in entries.values():
        assert isinstance(entry, CatalogEntry)
        assert entry.form == "kernel"
        assert entry.indicators
        assert entry.config_schema["additionalProperties"] is False
    rate = entries["limiter"].config_schema["properties"]["rate_kbps"]
    assert (rate["type"], rate["minimum"]) == ("integer", 8)
    assert entries["limiter"].config_schema["required"] == ["rate_kbps"]


@pytest.mark.parametrize(
    ("parameters", "field", "value", "fix"),
    [
        ({}, "rate_kbps", "", "required"),
        ({"rate_kbps": "fast"}, "rate_kbps", "fast", "integer"),
        ({"rate_kbps": True}, "rate_kbps", True, "integer"),
        ({"rate_kbps": 7}, "rate_kbps", 7, "greater than or equal to 8"),
        ({"rate_kbps": 1000, "burst": 3}, "burst", 3, "burst_kib"),
    ],
)
def test_a_refusal_names_field_value_and_fix(
    parameters: dict[str, object], field: str, value: object, fix: str
) -> None:
    """The writer of a configuration sees this text and nothing else; no stack trace helps him."""
    with pytest.raises(ConfigRefused) as refused:
        Limiter.descriptor.check(parameters)
    assert (refused.value.field, refused.value.value) == (field, value)
    assert fix in refused.value.fix
    assert field in str(refused.value)


def test_what_is_no_json_is_refused() -> None:
    """NaN and objects come from programs, not from keys; they must not get further."""
    for wrong in ({"rate_kbps": float("nan")}, {"rate_kbps": object()}):
        with pytest.raises(ConfigRefused):
            Limiter.descriptor.check(wrong)


def test_a_type_is_registered_once_and_an_unknown_one_says_what_there_is() -> None:
    """Two functions under one name would make the answer depend on who came first."""
    with pytest.raises(DescriptorRefused, match="firewall/1 is registered twice"):
        Registry(Firewall(), Firewall())
    with pytest.raises(TypeUnknown, match="known: firewall/1, limiter/1, nat/1"):
        shipped().find("router", "1")


@pytest.mark.parametrize("type_", ["", "Fire", "a/b", "-x", "x" * 64])
def test_a_type_is_a_segment_of_a_key(type_: str) -> None:
    """It becomes one: catalog/<type>/<version>."""
    with pytest.raises(DescriptorRefused):
        Descriptor(type_, "1", "", ("kernel",), Knob)


def test_a_descriptor_without_form_runs_nowhere() -> None:
    with pytest.raises(DescriptorRefused, match="form"):
        Descriptor("knob", "1", "", (), Knob)


def test_a_mark_is_found_again_in_what_the_kernel_lists() -> None:
    """A restarted agent has nothing else to know what is in force, and in which life."""
    mark = Mark(3, 14, 159)
    assert find_mark(f'iifname "in" counter name "forward" comment "{mark}"') == mark
    assert find_mark("comment by somebody else") is None
    assert find_mark(closed(7).nft) == Mark(7, 0, 0)
