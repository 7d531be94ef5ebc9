"""Every frame of one end in clear, as JSON lines: what a leak test searches for what must not cross.

Keys and values are shown as text with escapes, so that a planted sentinel is found by a plain search.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict

from isthmus.federation import link_pb2 as pb


def describe(direction: str, frame: pb.Frame) -> dict[str, Any]:
    """``frame`` as plain data; ``direction`` is ``sent`` or ``received``."""
    kind = frame.WhichOneof("kind") or "none"
    if kind != "batch":
        body = MessageToDict(getattr(frame, kind)) if kind != "none" else {}
        return {"direction": direction, "kind": kind, **body}
    batch = frame.batch
    return {
        "direction": direction,
        "kind": kind,
        "seq": batch.seq,
        "through": batch.through,
        "items": [
            {
                "verb": {pb.VERB_PUT: "put", pb.VERB_DELETE: "delete"}.get(item.verb, "unknown"),
                "key": item.key.decode("utf-8", "backslashreplace"),
                "value": item.value.decode("utf-8", "backslashreplace"),
                "revision": item.revision,
            }
            for item in batch.items
        ],
    }


class FileTap:
    """Appends to ``path``; call it with every frame, close it at the end."""

    def __init__(self, path: Path, peer: str) -> None:
        self._file = path.open("a", encoding="utf-8")
        self._peer = peer

    def __call__(self, direction: str, frame: pb.Frame) -> None:
        line = {"peer": self._peer, **describe(direction, frame)}
        self._file.write(json.dumps(line, ensure_ascii=True) + "\n")
        self._file.flush()

    def close(self) -> None:
        """No more."""
        self._file.close()
