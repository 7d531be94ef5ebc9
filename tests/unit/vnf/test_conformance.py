"""The kit passes what keeps the promises and finds each one that is broken: a kit that finds nothing proves nothing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any

import pytest
from tests.unit.vnf.fakes import INSTANCE, Bench

from isthmus.contract.instance import Applied
from isthmus.functions import Firewall, Limiter, Nat
from isthmus.vnf import Descriptor, KernelFunction, Mark, Parameters, Program
from isthmus.vnf.conformance import Case, check_descriptor, check_function, check_publishes
from isthmus.vnf.kernel_vnf import KernelVnf

FIREWALL = (
    Case({"default_policy": "accept"}),
    Case({"default_policy": "perhaps"}, accepted=False),
    Case({"rules": [{"action": "deny", "protocol": "tcp", "ports": [5999]}]}),
)


@pytest.mark.parametrize(
    ("function", "cases"),
    [
        (Firewall(), FIREWALL),
        (Nat(), (Case({"address": "203.0.113.1"}), Case({}, accepted=False))),
        (Limiter(), (Case({"rate_kbps": 1000}), Case({"rate_kbps": 0}, accepted=False))),
    ],
)
def test_the_shipped_functions_conform(function: KernelFunction, cases: tuple[Case, ...]) -> None:
    """We are the first vendor."""
    assert check_function(function, cases) == ()


class Loose(Parameters, extra="allow"):
    pass


def test_a_descriptor_that_ignores_unknown_fields_is_found() -> None:
    """An ignored typing error is a configuration that silently is not in force."""
    loose = Descriptor("loose", "1", "", ("kernel",), Loose, indicators=())
    findings = " ".join(check_descriptor(loose))
    assert "unknown fields" in findings
    assert "indicator" in findings
    assert "what it is for" in findings


@dataclass
class Wrong:
    """A firewall whose program was tampered with."""

    old: str
    new: str
    descriptor = Firewall.descriptor

    def render(self, parameters: Parameters, mark: Mark) -> Program:
        program = Firewall().render(parameters, mark)
        return replace(program, nft=program.nft.replace(self.old, self.new))


@pytest.mark.parametrize(
    ("old", "new", "finding"),
    [
        ("revision=3", "revision=4", "carry its mark"),
        ("flush table inet isthmus", "flush ruleset", "only table"),
        ("flush table inet isthmus", "delete table inet isthmus_steer", "isthmus_steer"),
        ("policy drop", "policy accept", "must be dropped"),
    ],
)
def test_a_ruleset_outside_its_frame_is_found(old: str, new: str, finding: str) -> None:
    """The steering rules beside it are somebody else's, and fail-closed is not negotiable."""
    findings = check_function(Wrong(old, new), FIREWALL[:1])
    assert any(finding in one for one in findings), findings


def test_a_wrong_judgement_is_found() -> None:
    """Both ways."""
    findings = check_function(
        Firewall(), [replace(case, accepted=not case.accepted) for case in FIREWALL]
    )
    assert [("must be refused" in one, "must be accepted" in one) for one in findings] == [
        (True, False),
        (False, True),
        (True, False),
    ]


async def _check(bench: Bench, vnf: KernelVnf, timeout_s: float = 10.0) -> tuple[str, ...]:
    return await check_publishes(
        bench.store,
        vnf.run,
        instance=INSTANCE,
        incarnation=1,
        type_="firewall",
        version="1",
        cases=FIREWALL,
        timeout_s=timeout_s,
    )


async def test_the_kernel_function_logic_conforms() -> None:
    """The harness looks at keys only, so it judges functions in other languages by the same sentences."""
    bench = Bench()
    assert await _check(bench, bench.vnf()) == ()


async def test_a_function_that_says_nothing_is_found() -> None:
    """Silence is what a chain waits for in vain."""
    bench = Bench()

    async def dumb() -> None:
        await asyncio.Event().wait()

    findings = await check_publishes(
        bench.store,
        dumb,
        instance=INSTANCE,
        incarnation=1,
        type_="firewall",
        version="1",
        cases=FIREWALL[:1],
        timeout_s=0.05,
    )
    assert len(findings) == 4, findings


async def test_a_function_that_applies_everything_is_found() -> None:
    """Saying yes to a configuration that is not in force is the lie the chain is built on."""
    bench = Bench()

    async def yes() -> None:
        client = bench.client()
        async for configuration in client.configurations():
            await client.publish_applied(
                Applied(incarnation=9, config_revision=configuration.revision)
            )

    findings: Any = await check_publishes(
        bench.store,
        yes,
        instance=INSTANCE,
        incarnation=1,
        type_="firewall",
        version="1",
        cases=FIREWALL,
        timeout_s=0.2,
    )
    assert any("applied for life 9 in life 1" in one for one in findings)
    assert any("must be refused" in one for one in findings)
    assert any("owner" in one for one in findings)
