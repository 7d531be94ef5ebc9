"""Foreign text made safe to show (GUARANTEES attack 20), and the one grammar all names share
(DESIGN section 4).

Names from another operator end up in errors, logs, audit records and on terminals. Whatever is
not plain printable ASCII is shown as a backslash escape, so that no byte of a foreign name can
move a cursor, forge a log line or turn the reading direction. Showing is the only thing that
ever changes a name; deciding always sees the original.
"""

from __future__ import annotations

import re
from typing import Final

SEGMENT_PATTERN: Final = r"[a-z0-9][a-z0-9._-]{0,62}"
"""One segment of a key and one segment of an identity: the same words name both, so nothing is
ever translated.
"""

SEGMENT: Final = re.compile(SEGMENT_PATTERN, re.ASCII)
MAX_SHOWN_CHARS: Final = 160
"""Longer foreign text is cut when shown: a refusal must cost less than the thing it refuses."""

_PLAIN: Final = frozenset(chr(code) for code in range(0x20, 0x7F)) - {"\\"}


def visible(text: str | bytes, limit: int = MAX_SHOWN_CHARS) -> str:
    """``text`` as printable ASCII: controls, quotes of other scripts, bidi marks and raw bytes
    become escapes.
    """
    if isinstance(text, bytes):
        units, overlong = [chr(byte) for byte in text[:limit]], len(text) > limit
    else:
        units, overlong = list(text[:limit]), len(text) > limit
    shown = "".join(unit if unit in _PLAIN else _escaped(unit) for unit in units)
    return f"{shown}... ({len(text)} long)" if overlong else shown


def _escaped(unit: str) -> str:
    """One character as a backslash escape of fixed shape."""
    if unit == "\\":
        return "\\\\"
    code = ord(unit)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
