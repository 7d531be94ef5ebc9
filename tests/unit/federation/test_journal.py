"""What happens to links is told as events: each once, as it is now, and never as often as a hostile peer likes."""

from __future__ import annotations

from isthmus.contract.family import Tier
from isthmus.contract.roles import role
from isthmus.federation.filters import Denial
from isthmus.federation.journal import AGAIN_S, DIFFERS_S, QUIET_S, Journal
from isthmus.federation.status import LinkStatus


class Night:
    """One watchman; ``look`` tells kinds and messages."""

    def __init__(self) -> None:
        self.journal = Journal()
        self.now_s = 1000.0

    def look(
        self, *links: LinkStatus, after_s: float = 1.0, refused: dict[str, int] | None = None
    ) -> list[tuple[str, str]]:
        self.now_s += after_s
        events = self.journal.look(links, refused or {}, self.now_s)
        return [(event.kind, event.message) for event in events]


def link(**more: object) -> LinkStatus:
    base: dict[str, object] = {"peer": "paris", "state": "open", "connected": True, "version": 2}
    return LinkStatus.model_validate({**base, **more})


def lost(**more: object) -> LinkStatus:
    return link(**{"state": "dialling", "connected": False, "last_error": "lost: silent", **more})


def test_a_link_that_opens_and_is_lost_is_told_with_its_reason() -> None:
    """Why: "since when, and why" is the first question of a night."""
    night = Night()
    assert night.look(lost(last_error="")) == [], "nothing was there, nothing is lost"
    assert night.look(link(agreement="swiss/3")) == [("link-open", "version 2, agreement swiss/3")]
    assert night.look(link()) == []
    assert night.look(lost(), after_s=QUIET_S) == [("link-lost", "lost: silent")]
    assert night.look(link(reconnects=1), after_s=QUIET_S) == [
        ("link-open", "version 2, 1 reconnects so far")
    ]


def test_a_link_that_flaps_is_one_event_in_ten_seconds_and_ends_as_it_is() -> None:
    """Why: events are kept by number; a flapping peer must not push out everything else (attack 18)."""
    night = Night()
    night.look(link())
    told = []
    for second in range(100):
        told += night.look(lost() if second % 2 else link())
    assert len(told) <= 100 / QUIET_S
    night.look(lost(), after_s=QUIET_S)
    assert night.look(lost(), after_s=QUIET_S) == [], "lost is what was told last"


def test_two_peers_do_not_share_their_silence() -> None:
    """Why: one that flaps must not hide another that fails."""
    night = Night()
    night.look(link(), link(peer="milan"))
    night.look(lost(), link(peer="milan"), after_s=QUIET_S)
    assert night.look(lost(), lost(peer="milan")) == [("link-lost", "lost: silent")]


def test_a_mark_and_its_end_are_told() -> None:
    """Why: from then on everything known of the peer is unknown (G9): somebody has to be told."""
    night = Night()
    night.look(link())
    ((kind, text),) = night.look(link(quarantined="revoked"))
    assert kind == "quarantined"
    assert text.startswith("revoked: ")
    assert [kind for kind, _ in night.look(link(), after_s=QUIET_S)] == ["quarantine-over"]


def test_digests_that_stay_apart_are_told_once() -> None:
    """Why: a repair makes them differ for moments; half a minute is somebody's quota, or a bug."""
    night = Night()
    night.look(link(digests_equal=True))
    assert night.look(link(digests_equal=False)) == []
    assert night.look(link(digests_equal=None)) == [], "not compared since: no word either way"
    told = [night.look(link(digests_equal=False), after_s=DIFFERS_S / 4) for _ in range(12)]
    assert [kind for one in told for kind, _ in one] == ["digests-differ"]
    assert night.look(link(digests_equal=True)) == [
        ("digests-equal", "both ends hold the same again")
    ]


def test_denials_are_told_by_reason_with_an_example_and_seldom() -> None:
    """Why: every denial is counted and visible; the count alone says nothing of what was tried."""
    night = Night()
    night.look(link())
    seen = Denial(
        direction="import", code="quota-exceeded", verb="put", key="summary/x", reason="101 keys"
    )
    first = link(denied={"import:quota-exceeded": 3}, newest_denials=(seen,))
    assert night.look(first) == [
        ("denied", "import:quota-exceeded: 3 keys, such as summary/x: 101 keys")
    ]
    more = link(denied={"import:quota-exceeded": 9, "export:scope-denied": 1})
    assert night.look(more) == [("denied", "export:scope-denied: 1 keys")]
    assert night.look(more, after_s=AGAIN_S) == [("denied", "import:quota-exceeded: 6 keys")]
    anew = link(denied={"import:quota-exceeded": 2})
    assert night.look(anew, after_s=2 * AGAIN_S) == [("denied", "import:quota-exceeded: 2 keys")]


def test_refused_strangers_are_counted_not_listed() -> None:
    """Why: who has no name with us chooses his own; only our reasons are told."""
    night = Night()
    assert night.look(refused={"peer-unknown": 2}) == [
        ("refused", "2 callers were refused: peer-unknown")
    ]
    assert night.look(refused={"peer-unknown": 900}) == []
    assert night.look(refused={"peer-unknown": 901}, after_s=AGAIN_S) == [
        ("refused", "899 callers were refused: peer-unknown")
    ]


def test_both_ends_may_write_their_events() -> None:
    """Why: in a store with users a journal without the right would wait for ever."""
    for tier, component in ((Tier.GLOBAL, "gateway"), (Tier.SITE, "federation")):
        targets = [grant.target for grant in role(tier, component).grants]
        assert any(f"/isthmus/v1/events/{component}/".startswith(one) for one in targets)
