"""``isthmus bench placement-impossible``: is an "impossible" ever false? The worst bug of all.

Small random problems, tight in every respect and drawn from numbered seeds; each chain is placed
online, each problem solved as a batch, with plain kernels and (every fourth) compiled ones. Every
refusal is judged twice: by every way there is (:mod:`isthmus.chaos.every_way`, shares nothing with
the solvers) and by the checker of certificates. Runs for :data:`CPU_S` of CPU time, best at idle
priority; a false "impossible" is named by its seed.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from isthmus.chaos.bench_placement import Sizes, cpu_s, document, figure
from isthmus.chaos.every_way import EveryWay
from isthmus.placement import accel
from isthmus.placement.batch import solve
from isthmus.placement.checker import check_refusal
from isthmus.placement.model import ChainDemand, Function, Link, Network, Placement, Refusal, Site
from isthmus.placement.online import place
from isthmus.placement.usage import Usage

CPU_S = 330.0
MONEY = 1e-6
FEATURES = (frozenset[str](), frozenset[str](), frozenset({"nic"}))


@dataclass
class Tally:
    """What was seen."""

    problems: int = 0
    chains: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    constraints: Counter[str] = field(default_factory=Counter)
    false: list[str] = field(default_factory=list)
    unproved: list[str] = field(default_factory=list)


def impossible(folder: Path, cpu_limit_s: float = CPU_S, first_seed: int = 1) -> dict[str, Any]:
    """Numbered problems until the CPU time is spent."""
    began, seed, tally = cpu_s(), first_seed, Tally()
    while cpu_s() - began < cpu_limit_s:
        judge(tally, seed, fast=seed % 4 == 0 and accel.warm())
        seed += 1
    refused = sum(tally.kinds.values())
    rows = [
        figure("problems", tally.problems, "", ""),
        figure("chains asked", tally.chains, "", ""),
        figure("refusals judged by every way there is", refused, "", ""),
        figure("false impossible", len(tally.false), "", "0", not tally.false),
        figure("certificates that the checker rejects", len(tally.unproved), "", "0", not tally.unproved),
    ]  # fmt: skip
    rows += [figure(f"refused: {k}", n, "") for k, n in sorted(tally.kinds.items())]
    rows += [figure(f"refused for: {k}", n, "") for k, n in sorted(tally.constraints.items())]
    rows.append(figure("CPU", cpu_s() - began, "s"))
    found = document("placement-impossible", rows, {}, Sizes())
    return found | {"seed": [first_seed, seed - 1], "false": tally.false + tally.unproved}


def judge(tally: Tally, seed: int, *, fast: bool = False) -> None:
    """One numbered problem, online and as a batch."""
    network, chains = problem(seed)
    tally.problems += 1
    tally.chains += 2 * len(chains)
    usage = Usage(network, fast=fast)
    for chain in chains:
        answer = place(usage, chain, reasons=False)
        if isinstance(answer, Placement):
            usage.apply(chain, answer)
        else:
            _refusal(tally, f"seed {seed}, online", usage, chain, answer)
    solution = solve(network, chains, work=3, seed=seed, fast=fast, exact=False)
    by_id = {chain.id: chain for chain in chains}
    for name, refusal in solution.refusals.items():
        _refusal(tally, f"seed {seed}, batch", solution.usage, by_id[name], refusal)


def _refusal(tally: Tally, here: str, usage: Usage, chain: ChainDemand, refusal: Refusal) -> None:
    network, beside = usage.network, list(usage.placed.values())
    tally.kinds[refusal.kind] += 1
    tally.constraints[refusal.constraint] += 1
    if refusal.kind == "undecided":
        return
    told = f"{here}: chain {chain.id} ({refusal.kind}, {refusal.constraint})"
    accepted = beside if refusal.kind == "residual" else []
    if _fits(network, accepted, chain, refusal):
        tally.false.append(told)
    flaws = check_refusal(network, chain, refusal.certificate, accepted)
    if flaws:
        tally.unproved.append(f"{told}: {flaws[0]}")


def _fits(
    network: Network,
    accepted: Iterable[tuple[ChainDemand, Placement]],
    chain: ChainDemand,
    refusal: Refusal,
) -> bool:
    """Whether there is a place, within its worth where the price was the reason."""
    least = EveryWay(network, accepted).least(chain)
    if least is None:
        return False
    return refusal.constraint != "price" or least < chain.value * (1 - MONEY)


def problem(seed: int) -> tuple[Network, list[ChainDemand]]:
    """2 to 6 sites and 1 to 8 chains: parallel links, islands, zeros, pairs, policies, backups.

    Two of three are richer in room and links and poorer in rules, so that the chains placed first
    leave none for the later ones (``residual``).
    """
    rng = random.Random(f"impossible {seed}")
    rich = seed % 3 > 0
    names = "abcdef"[: rng.randint(2, 4 if rich else 6)]
    sites = tuple(
        Site(
            name,
            {"cpu": rng.randint(0, 9) + 3 * rich, "mem": rng.randint(0, 9) + 3 * rich},
            {"cpu": rng.choice([0.0, 1.0, 300.0])},
            region=rng.choice("rs"),
            country=rng.choice(["it", "fr"]),
            owner=rng.choice(["own", "partner"]),
            features=rng.choice(FEATURES),
        )
        for name in names
    )
    links = []
    for n in range(rng.randint(5, 9) if rich else rng.randint(0, 10)):
        a, b = rng.choice(names), rng.choice(names)
        price, capacity = rng.choice([0.0, 0.5, 100.0]), rng.randint(0, 8) + 3 * rich
        links.append(Link(a, b, rng.randint(0, 5), capacity, price, id=f"{a}{b}{n}"))
    count = rng.randint(4, 8) if rich else rng.randint(1, 6)
    rules = 0.25 if rich else 1.0
    return Network(sites, tuple(links)), [_chain(rng, names, f"c{i}", rules) for i in range(count)]


def _chain(rng: random.Random, names: str, name: str, rules: float) -> ChainDemand:
    size = rng.choice([0, 1, 1, 2, 2, 3])
    places = [(a, b) for a in range(size) for b in range(size) if a != b]

    def some(share: float) -> frozenset[str] | None:
        if rng.random() >= share * rules:
            return None
        return frozenset(rng.sample(names, rng.randint(1, len(names))))

    def pairs(share: float) -> tuple[tuple[int, int], ...]:
        wanted = rng.randint(1, 2) if places and rng.random() < share else 0
        return tuple(rng.choice(places) for _ in range(wanted))

    def only(value: str) -> frozenset[str] | None:
        return frozenset({value}) if rng.random() < 0.25 * rules else None

    functions = tuple(
        Function(f"f{i}", {"cpu": rng.randint(0, 5), "mem": rng.randint(0, 3)}, rng.choice(FEATURES), some(0.1))
        for i in range(size)
    )  # fmt: skip
    chain = ChainDemand(
        name,
        functions,
        tuple(rng.sample(names, rng.randint(1, 2))),
        tuple(rng.sample(names, rng.randint(1, 2))),
        tuple(rng.randint(0, 4) for _ in range(size + 1)),
        rng.choice([None, rng.randint(0, 12), rng.randint(0, 20)]),
        rng.choice([0.1, 1.0, 8.0]),
        allowed_sites=some(0.2),
        forbidden_sites=some(0.1) or frozenset(),
        countries=only("it"),
        owners=only("own"),
        regions=only("r"),
        transit_sites=some(0.15),
        affinity=pairs(0.15),
        anti_affinity=pairs(0.3),
        backup=rng.random() < 0.2,
    )
    if size and rng.random() < 0.2:
        home = tuple(rng.choice(names) for _ in range(size))
        return replace(chain, current=home, migration_price=2.0)
    return chain
