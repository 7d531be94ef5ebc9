"""``isthmus prove --only kills``: the gateway, the sites' agents and every etcd die at random, in bursts (issue 7).

A pure function of the seed. A burst kills several within seconds, the same one perhaps twice, and often both ends of a
link before either is back: that is what two overlapping faults of the other schedule never do. Behind each burst links
have :data:`REST_S` to become equal, or nothing could be said of G4.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from isthmus.chaos.proving.schedule import CALM, FIRST_S, GLOBAL, LAST_S, SITES, Fault, schedule

KILLS = "kills"
"""Instead of kinds: this schedule and nothing else."""
VICTIMS = (
    f"{GLOBAL}.gateway", f"{GLOBAL}.etcd",
    *(f"{site}.{part}" for site in SITES for part in ("link", "etcd", "agent.h1")),
)  # fmt: skip
"""``link`` is the site's agent in the federation, ``agent.h1`` the one of its host's functions."""
BURST = (2, 9)
"""So many die in one burst."""
PAUSES_S = (0.05, 0.4, 1.0, 2.5)
"""Between two deaths of a burst: before anybody noticed, while it starts, when it just works again."""
REST_S = 10.0
"""A store is back in 1 to 4 s; then a link has its 5 s (G4)."""


def kills(seed: int, length_s: float) -> list[Fault]:
    """The deaths of a run of ``length_s`` seconds, in order; each victim comes once before any comes twice."""
    chance = random.Random(f"kills {seed}")
    planned: list[Fault] = []
    deck: list[str] = []
    at_s, last_s = FIRST_S, length_s - LAST_S - REST_S
    while at_s < last_s:
        for _ in range(chance.randint(*BURST)):
            if at_s >= last_s:
                break
            deck = deck or chance.sample(VICTIMS, len(VICTIMS))
            planned.append(Fault(round(at_s, 2), "killed", deck.pop(), 0.0))
            at_s += chance.choice(PAUSES_S) * chance.uniform(0.7, 1.3)
        planned[-1] = replace(planned[-1], detail=CALM)
        at_s += REST_S
    return planned


def plan(seed: int, length_s: float, kinds: Sequence[str]) -> list[Fault]:
    """The faults of a run: these deaths if they are asked for, the deck of kinds if not."""
    return kills(seed, length_s) if KILLS in kinds else schedule(seed, length_s, kinds)
