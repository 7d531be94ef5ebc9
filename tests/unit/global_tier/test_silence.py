"""Alive but cut off, or dead? A wrong "dead" moves chains that run; a wrong "cut off" leaves customers alone."""

from __future__ import annotations

import pytest

from isthmus.global_tier.silence import (
    HEARD_WITHIN_S,
    UNTIL_LAST_WORD_S,
    Voucher,
    verdict,
)

NOW, LAST_WORD = 1000.0, 980.0


def heard(*ages_s: float | None) -> list[Voucher]:
    """One neighbour each; None: its wire never carried a packet."""
    return [
        Voucher(f"n{index}", f"w-{index}", 0.0 if age_s is None else NOW - age_s)
        for index, age_s in enumerate(ages_s)
    ]


@pytest.mark.parametrize(
    ("vouchers", "expected", "text"),
    [
        ([], "silent", "no neighbour has a wire"),
        (heard(None, None), "silent", "no neighbour has a wire"),
        (heard(3), "cut-off", "n0 got packets from it 3 s ago"),
        (heard(None, 60, 3), "cut-off", "n2 got packets"),
        (heard(HEARD_WITHIN_S), "cut-off", "15 s ago"),
        (heard(HEARD_WITHIN_S + 1), "dead", "until 16 s ago, no more"),
        (heard(19, None), "dead", "n0 got packets from it until 19 s ago"),
        (heard(20 + UNTIL_LAST_WORD_S), "dead", "until 50 s ago"),
        (heard(21 + UNTIL_LAST_WORD_S), "silent", "idle already"),
        (heard(-4), "cut-off", "0 s ago"),
    ],
)
def test_each_case(vouchers: list[Voucher], expected: str, text: str) -> None:
    """Why: both sides of each bound; a neighbour's clock may be ahead; one living word outweighs all silence."""
    state, reason = verdict(LAST_WORD, vouchers, NOW)
    assert state == expected
    assert text in reason
