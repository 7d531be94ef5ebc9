"""Links as metrics: the exposition format, every figure of the status that an alarm needs, hostile names escaped."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from isthmus.federation.link_metrics import link_metrics
from isthmus.federation.status import LinkStatus

SAMPLE = re.compile(
    r'^isthmus_[a-z_]+\{[a-z]+="(\\.|[^"\\\n])*"(,[a-z]+="(\\.|[^"\\\n])*")*\} \S+$'
)
PARIS = LinkStatus(
    peer="paris", state="open", connected=True, synced=True, lag_ms=250, bytes_sent=10,
    bytes_received=20, keys_imported=7, denied={"import:quota-exceeded": 3}, digests_equal=False,
)  # fmt: skip


def test_figures_are_those_of_the_status_in_base_units() -> None:
    """Why: an alarm on a figure in the wrong unit is worse than none."""
    told = link_metrics([PARIS], {"revoked": 4})
    for line in (
        'isthmus_link_up{peer="paris"} 1',
        'isthmus_link_lag_seconds{peer="paris"} 0.25',
        'isthmus_link_digests_differ{peer="paris"} 1',
        'isthmus_link_quarantined{peer="paris"} 0',
        'isthmus_link_bytes_total{peer="paris",direction="out"} 10',
        'isthmus_link_bytes_total{peer="paris",direction="in"} 20',
        'isthmus_link_keys{peer="paris",direction="in"} 7',
        'isthmus_link_denied_total{peer="paris",direction="import",reason="quota-exceeded"} 3',
        'isthmus_gateway_refused_total{reason="revoked"} 4',
    ):
        assert line in told.splitlines(), line


def test_digests_that_were_not_compared_do_not_differ() -> None:
    """Why: unknown is no alarm."""
    unknown = PARIS.model_copy(update={"digests_equal": None})
    assert 'isthmus_link_digests_differ{peer="paris"} 0' in link_metrics([unknown], {})


@given(st.lists(st.text(max_size=20), max_size=4, unique=True), st.text(max_size=20))
def test_any_name_gives_lines_that_a_scraper_reads(peers: list[str], why: str) -> None:
    """Why: one broken line makes a collector drop the whole file."""
    links = [
        PARIS.model_copy(update={"peer": peer, "denied": {f"import:{why}": 1}}) for peer in peers
    ]
    told = link_metrics(links, {why: 1})
    assert told.endswith("\n")
    families: set[str] = set()
    for line in told.removesuffix("\n").split("\n"):
        if line.startswith("# TYPE"):
            name = line.split(" ")[2]
            assert name not in families, "a family is told once"
            families.add(name)
        elif not line.startswith("#"):
            assert SAMPLE.match(line), line
