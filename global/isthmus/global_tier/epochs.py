"""How a tier counts the epochs of a chain: always above whatever a site has in force (attack 14, 19; G3). Pure.

A site takes no epoch older than the one it carries out. Within one history of the tier's store the revision alone is
enough: it only rises. A store that was restored from a backup counts again from below; then the sites, which report
the epoch that they carry out, are the ones who remember.
"""

from __future__ import annotations


def next_epoch(revision: int, standing: int, in_force: int) -> int:
    """Of a new decision: ``revision`` is the store's newest that we know of, ``standing`` the epoch of the decision it
    replaces (0: none), ``in_force`` the highest that a site reported for this chain (0: none)."""
    return max(revision, standing + 1, in_force + 1 if in_force >= standing else 0, 1)


def forgotten(standing: int, in_force: int) -> bool:
    """Must the same decision be told anew? A site carries out one that we do not remember."""
    return in_force > standing
