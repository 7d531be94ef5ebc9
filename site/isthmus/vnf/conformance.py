"""What a network function must do to be one, checked without knowing it (R27, R28; DESIGN section 5).

Three parts: :func:`check_descriptor` and :func:`check_function` are pure; :func:`check_publishes` plays the owner of
a configuration against a function that runs on any store, in any language, and looks only at keys. Each returns
findings, sentences that say which promise is not kept; none means conformant.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from isthmus.contract.envelope import Body, Stamp, seal, unseal, utc_seconds
from isthmus.contract.errors import ContractError
from isthmus.contract.families import APPLIED, CONFIG, CONFIG_OWNERS, STATE, VNF_STATS
from isthmus.contract.instance import (
    Applied,
    ConfigOwner,
    InstanceConfig,
    InstanceState,
    InstanceStats,
)
from isthmus.kv.port import KeyValueStore
from isthmus.vnf.descriptor import Descriptor, KernelFunction
from isthmus.vnf.errors import ConfigRefused
from isthmus.vnf.program import TABLE, Mark, find_mark

_STAMP = Stamp(origin="conformance", incarnation="conformance")
_TABLES = re.compile(r"^\s*(?:(?:add|delete|flush|destroy)\s+)?table\s+(\S+\s+\S+)", re.MULTILINE)
_OTHER_OWNER = "ems-conformance"
_POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class Case:
    """A configuration and whether the function must accept it."""

    parameters: Mapping[str, Any]
    accepted: bool = True


def check_descriptor(descriptor: Descriptor) -> tuple[str, ...]:
    """Is it fit for a catalog?"""
    findings = []
    name = f"{descriptor.type}/{descriptor.version}"
    schema = descriptor.schema()
    if schema.get("additionalProperties") is not False:
        findings.append(f"{name}: unknown fields of a configuration must be refused, not ignored")
    if not descriptor.indicators:
        findings.append(f"{name}: a function publishes at least one indicator")
    if not descriptor.summary:
        findings.append(f"{name}: one line says what it is for")
    try:
        seal(descriptor.catalog_entry(), _STAMP, as_of=0.0)
    except ContractError as error:
        findings.append(f"{name}: {error}")
    if json.loads(json.dumps(schema)) != schema:
        findings.append(f"{name}: its schema does not survive JSON")
    return tuple(findings)


def check_function(function: KernelFunction, cases: Sequence[Case]) -> tuple[str, ...]:
    """Does the renderer of a kernel function keep to its frame, and judge ``cases`` as they say?"""
    findings = list(check_descriptor(function.descriptor))
    for case in cases:
        shown = json.dumps(case.parameters)[:120]
        try:
            parameters = function.descriptor.check(case.parameters)
        except ConfigRefused as refused:
            if case.accepted:
                findings.append(f"{shown}: must be accepted, but: {refused}")
            continue
        if not case.accepted:
            findings.append(f"{shown}: must be refused")
            continue
        mark = Mark(1, 2, 3)
        program = function.render(parameters, mark)
        if program != function.render(parameters, mark):
            findings.append(f"{shown}: the same configuration must give the same program")
        findings += [f"{shown}: {finding}" for finding in _frame_findings(program.nft, mark)]
    return tuple(findings)


def _frame_findings(nft: str, mark: Mark) -> list[str]:
    findings = []
    if find_mark(nft) != mark:
        findings.append("the ruleset must carry its mark")
    foreign = sorted({table for table in _TABLES.findall(nft) if table != TABLE})
    if foreign or "flush ruleset" in nft:
        findings.append(f"only table {TABLE} is the function's, not {', '.join(foreign) or 'all'}")
    if "policy drop" not in nft:
        findings.append("what no rule lets through must be dropped")
    return findings


class Conversation:
    """The owner's side of one instance: puts configurations, waits for what the function says."""

    def __init__(
        self, store: KeyValueStore, instance: str, type_: str, version: str, timeout_s: float
    ) -> None:
        self._store = store
        self._instance = instance
        self._type = type_
        self._version = version
        self._timeout_s = timeout_s
        self._generation = 0

    async def put(self, parameters: Mapping[str, Any], owner: str = "configurator") -> int:
        """The next generation from ``owner``; its revision."""
        self._generation += 1
        body = InstanceConfig(type=self._type, version=self._version, parameters=dict(parameters))
        value = seal(body, _STAMP, as_of=utc_seconds(), generation=self._generation)
        return await self._store.put(CONFIG.key(owner=owner, instance=self._instance), value)

    async def hand_over(self, owner: str) -> None:
        """``owner`` configures from now on."""
        value = seal(ConfigOwner(owner=owner), _STAMP, as_of=utc_seconds())
        await self._store.put(CONFIG_OWNERS.key(instance=self._instance), value)

    async def read(self, key: str, model: type[Body]) -> Any:
        """The body at ``key``, None when there is none."""
        entry = await self._store.get(key)
        return None if entry is None else unseal(entry.value, model).body

    async def applied(self) -> Any:
        """What the function says is in force."""
        return await self.read(APPLIED.key(instance=self._instance), Applied)

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> bool:
        """False when it did not come true in time."""
        try:
            async with asyncio.timeout(self._timeout_s):
                while True:
                    if await condition():
                        return True
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            return False


async def check_publishes(
    store: KeyValueStore,
    run: Callable[[], Awaitable[None]],
    *,
    instance: str,
    incarnation: int,
    type_: str,
    version: str,
    cases: Sequence[Case],
    timeout_s: float = 10.0,
) -> tuple[str, ...]:
    """Run a function (``run`` until cancelled) on ``store``, give it ``cases``, and read what it publishes.

    ``store`` needs the rights of the configurations' owners and to read the instance's keys.
    """
    talk = Conversation(store, instance, type_, version, timeout_s)
    running = asyncio.ensure_future(run())
    findings: list[str] = []
    try:
        await asyncio.sleep(_POLL_S)
        before = await talk.applied()
        if before is not None and before.incarnation == incarnation and before.config_revision:
            findings.append("applied before there was a configuration")
        for case in cases:
            findings += await _check_case(talk, case, incarnation)
        findings += await _check_hand_over(talk, cases)
        findings += await _check_reports(talk, instance, incarnation)
    except ContractError as error:
        findings.append(f"a published value breaks the contract: {error}")
    if running.done():
        findings.append("the function ended by itself")
    running.cancel()
    await asyncio.wait((running,), timeout=timeout_s)
    return tuple(findings)


async def _check_case(talk: Conversation, case: Case, incarnation: int) -> list[str]:
    shown = json.dumps(case.parameters)[:120]
    before = await talk.applied()
    revision = await talk.put(case.parameters)

    async def answered() -> bool:
        now = await talk.applied()
        return now is not None and revision in (now.config_revision, now.refused_revision)

    if not await talk.until(answered):
        return [f"{shown}: no answer in `applied`"]
    now = await talk.applied()
    findings = []
    if now.incarnation != incarnation:
        findings.append(f"{shown}: applied for life {now.incarnation} in life {incarnation}")
    if case.accepted and (now.config_revision != revision or now.error):
        findings.append(f"{shown}: must be accepted, but: {now.error}")
    if not case.accepted:
        if now.config_revision == revision or not now.error:
            findings.append(f"{shown}: must be refused, with an error that names the field")
        elif before is not None and before.config_revision != now.config_revision:
            findings.append(f"{shown}: a refusal must leave in force what was")
    return findings


async def _check_hand_over(talk: Conversation, cases: Sequence[Case]) -> list[str]:
    good = next((case for case in cases if case.accepted), None)
    if good is None:
        return []
    await talk.hand_over(_OTHER_OWNER)
    revision = await talk.put(good.parameters, owner=_OTHER_OWNER)

    async def taken() -> bool:
        now = await talk.applied()
        return now is not None and (now.config_revision, now.owner) == (revision, _OTHER_OWNER)

    done = await talk.until(taken)
    await talk.hand_over("configurator")
    return [] if done else ["a new owner's configuration must be applied, and its owner named"]


async def _check_reports(talk: Conversation, instance: str, incarnation: int) -> list[str]:
    async def state() -> bool:
        found = await talk.read(STATE.key(instance=instance), InstanceState)
        return found is not None

    async def stats() -> bool:
        found = await talk.read(VNF_STATS.key(instance=instance), InstanceStats)
        return found is not None and found.incarnation == incarnation

    findings = []
    if not await talk.until(state):
        findings.append("no state was published")
    if not await talk.until(stats):
        findings.append("no statistics of this life were published")
    return findings
