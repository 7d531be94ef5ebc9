"""A limit on everything that crosses, with the reason of each default (DESIGN section 6, G7, attacks 9 to 12).

Both ends have their own copy and hold the other to it: a sender never exceeds them, a receiver refuses what does.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

PROTOCOL_VERSION = 1
MIN_PROTOCOL_VERSION = 1
"""Versions ``n`` and ``n - 1`` are spoken; there is no 0."""


class LinkLimits(BaseModel):
    """Of one link; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    beat_s: float = Field(5.0, gt=0)
    """A beat each way this often: an idle site costs below 1 kbit/s (GOALS)."""

    lost_after_s: float = Field(12.0, gt=0)
    """Silence for so long is a lost link: two beats may be late, three not."""

    proof_every_s: float = Field(5.0, gt=0)
    """After changes the nonce in the source's history is renewed at most this often: what was sent since the last
    one is not proved to survive a restore, and costs a digest comparison to be sure of."""

    cursor_every_s: float = Field(2.0, gt=0)
    """How often the importer writes down where it stands. A crash replays at most this much; replays are harmless."""

    check_every_s: float = Field(10.0, gt=0)
    """How often the importer asks its own store for the last thing it wrote: a store restored under an open link has
    lost what we believe to be there."""

    follow_frames: int = Field(2, ge=1)
    """Frames of changes that may wait for an acknowledgement; the next changes then wait for it and leave together. So
    changes leave at once where the peer keeps up, and batches grow by themselves where it does not: each frame costs
    both ends a message, and a gateway has hundreds of peers."""

    latest_ack_s: float = Field(0.25, ge=0, le=5.0)
    """An end that is late itself acknowledges later still, by so much at most (0: always at once); far below any
    verdict about silence."""

    window_bytes: int = Field(512 * 1024, ge=64 * 1024, le=8 * 1024 * 1024)
    """Unacknowledged bytes of Batch frames: at 100 kB/s a beat queues behind 5 s of data and is still in time."""

    batch_items: int = Field(512, ge=1, le=4096)
    """Items of one frame; a receiver refuses more (attack 9)."""

    batch_bytes: int = Field(128 * 1024, ge=1024, le=1024 * 1024)
    """Keys and values of one frame, unless a single item is larger (64 KiB at most)."""

    frame_bytes: int = Field(512 * 1024, ge=256 * 1024)
    """The largest frame that is read at all; gRPC refuses more before we see it."""

    pending_bytes: int = Field(1024 * 1024, ge=0)
    """Values waiting for a slow peer. Over it only the key is kept and the value read again when its turn comes."""

    pending_keys: int = Field(100_000, ge=1)
    """Changed keys waiting for a slow peer; over it the link is cut and resumes from its token (attack 12)."""

    stalled_after_s: float = Field(30.0, gt=0)
    """Nothing acknowledged for so long although something is under way: cut (attack 12)."""

    max_denials: int = Field(1000, ge=1)
    """An honest peer's filter lets nothing through that ours denies; more than this in one link is no mistake."""

    txn_ops: int = Field(100, ge=2, le=128)
    """Operations of one write into the destination; etcd refuses more than 128."""

    txns_in_flight: int = Field(4, ge=1, le=64)
    """Parallel writes of a first copy (its keys are distinct); following is strictly in order."""
