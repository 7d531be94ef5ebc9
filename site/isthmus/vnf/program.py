"""What an instance's kernel should do, as text: one nft transaction and, for shapers, one tc batch (DESIGN section 5).

Every function fills the same frame, a table ``inet isthmus`` in the instance's own namespace:

* rules are flushed and defined anew in one transaction, so packets meet the old rules or the new ones, never none
  (measured: ten such reloads under traffic lose nothing); named counters are kept over a reload;
* whatever does not pass from leg ``in`` to leg ``out`` or back is discarded, and the base chain's policy is ``drop``;
* packets are counted once: ``forward`` and ``reverse`` when let through, ``dropped`` when not;
* the first rule of chain ``passed`` carries the :class:`Mark`, so that an agent that was restarted can read from the
  kernel which configuration is in force, in which life.

The steering rules beside it belong to whoever made the namespace (``ComputePort``) and are never touched.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

TABLE = "inet isthmus"
FORWARD, REVERSE, DROPPED = "forward", "reverse", "dropped"
_MARK = re.compile(r"incarnation=(\d{1,19}) generation=(\d{1,19}) revision=(\d{1,19})")

ONLY_TRACKED = "ct state invalid,untracked jump discard"
"""Packets that belong to no connection the kernel understands: no rule could judge them."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Which configuration a ruleset stands for, in which life; generation and revision 0: none yet, closed."""

    incarnation: int
    generation: int = 0
    revision: int = 0

    def __str__(self) -> str:
        return (
            f"incarnation={self.incarnation:d} generation={self.generation:d} "
            f"revision={self.revision:d}"
        )

    @property
    def open(self) -> bool:
        """True when a configuration is in force behind this mark."""
        return self.revision > 0


def find_mark(text: str) -> Mark | None:
    """The mark in a listing of a ruleset, or None when it is not one of ours."""
    match = _MARK.search(text)
    return None if match is None else Mark(*(int(number) for number in match.groups()))


@dataclass(frozen=True, slots=True)
class Program:
    """``nft`` is one transaction; ``tc`` are batch lines that only replace root queues."""

    mark: Mark
    nft: str
    tc: tuple[str, ...] = ()


def ruleset(mark: Mark, forward: Iterable[str], *, chains: str = "") -> str:
    """The transaction with ``forward`` as the rules between the legs; what they leave over is discarded.

    Rules end in ``accept``, ``jump discard`` (silently) or ``jump refuse`` (the sender is told: a reset for TCP).
    ``chains`` are further chains of the same table.
    """
    rules = "".join(f"    {rule}\n" for rule in forward)
    return f"""table {TABLE}
flush table {TABLE}
table {TABLE} {{
  counter {FORWARD} {{ }}
  counter {REVERSE} {{ }}
  counter {DROPPED} {{ }}
  chain discard {{
    counter name {DROPPED} drop
  }}
  chain refuse {{
    counter name {DROPPED}
    meta l4proto tcp reject with tcp reset
    reject with icmpx type admin-prohibited
  }}
{chains}  chain forward {{
    type filter hook forward priority filter; policy drop;
    iifname . oifname != {{ "in" . "out", "out" . "in" }} jump discard
{rules}    jump discard
  }}
  chain passed {{
    type filter hook forward priority filter + 10; policy accept;
    iifname "in" counter name {FORWARD} comment "{mark}"
    iifname "out" counter name {REVERSE}
  }}
}}
"""


def closed(incarnation: int) -> Program:
    """The program before the first configuration: everything is dropped and counted (fail closed)."""
    mark = Mark(incarnation)
    return Program(mark, ruleset(mark, ()))
