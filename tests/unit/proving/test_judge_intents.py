"""G3 must be caught lying in neither direction: lost, doubled, stale, never looked at; unknown answers, races."""

from __future__ import annotations

from typing import Literal

from tests.unit.proving.tale import Tale

Verb = Literal["put", "delete"]
Phase = Literal["sent", "acked", "refused", "unknown"]


class Client(Tale):
    """Asks for one chain."""

    def ask(
        self, op: str, phase: Phase, verb: Verb = "put", revision: int | None = None, key: str = ""
    ) -> None:
        self.say.ask(
            "client",
            op=op,
            verb=verb,
            tier="global",
            chain="t/c",
            phase=phase,
            revision=revision,
            key=key or None,
        )

    def done(self, op: str, verb: Verb = "put", revision: int | None = None) -> None:
        self.ask(op, "sent", verb)
        self.ask(op, "acked", verb, revision)

    def is_(
        self, phase: str, *, reason: str = "", count: int | None = None, revision: int | None = None
    ) -> None:
        self.say.effect(
            "reader",
            tier="global",
            chain="t/c",
            phase=phase,
            reason=reason or None,
            count=count,
            revision=revision,
        )


def test_acknowledged_and_running() -> None:
    """The plain good case."""
    tale = Client()
    tale.done("1", revision=5)
    tale.is_("running", count=1, revision=5)
    assert tale.kept("G3").samples == 1


def test_acknowledged_and_gone() -> None:
    """The plain lost intent."""
    tale = Client()
    tale.done("1")
    tale.is_("gone")
    tale.broken("G3", "it is gone")


def test_a_failure_must_be_told() -> None:
    """Failing is allowed, failing silently is not."""
    told, silent = Client(), Client()
    for tale in (told, silent):
        tale.done("1")
    told.is_("refused", reason="no host has 4 cpu")
    silent.is_("degraded")
    told.kept("G3")
    silent.broken("G3", "nobody says why")


def test_pending_for_ever_is_lost() -> None:
    """A reason to wait is neither an effect nor a failure."""
    tale = Client()
    tale.done("1")
    tale.is_("pending", reason="waiting for the placer")
    tale.broken("G3", "still pending at the end")


def test_an_end_state_seen_too_early_proves_nothing() -> None:
    """The state of before the answer is not the answer's effect."""
    tale = Client()
    tale.done("1")
    tale.is_("running")
    tale.done("2", "delete")
    tale.done("3")
    tale.broken("G3", "nobody looked at it afterwards")
    tale.is_("running")
    tale.kept("G3")


def test_an_unknown_ask_may_or_may_not_have_happened() -> None:
    """A client without an answer knows nothing; both ends are right."""
    for end in ("running", "gone"):
        tale = Client()
        tale.done("1")
        tale.ask("2", "sent", "delete")
        tale.ask("2", "unknown", "delete")
        tale.is_(end)
        tale.kept("G3")


def test_an_ask_without_any_answer_is_unknown_too() -> None:
    """The client may have been killed before it could write down that it had no answer."""
    tale = Client()
    tale.done("1")
    tale.ask("2", "sent", "delete")
    tale.is_("gone")
    tale.kept("G3")


def test_an_unknown_ask_before_an_acknowledged_one_can_still_come_late() -> None:
    """It may sit in a queue; its answer never came, so its end is not known."""
    tale = Client()
    tale.ask("1", "sent", "delete")
    tale.done("2")
    tale.is_("gone")
    tale.kept("G3")


def test_an_acknowledged_delete_must_hold() -> None:
    """A chain that is taken down and runs on is a lost intent."""
    tale = Client()
    tale.done("1")
    tale.done("2", "delete")
    tale.is_("running")
    tale.broken("G3", "the delete was acknowledged")


def test_a_put_after_a_delete_of_the_same_name() -> None:
    """The order decides, not the verb."""
    tale = Client()
    tale.done("1")
    tale.done("2", "delete")
    tale.done("3")
    tale.is_("gone")
    tale.broken("G3", "it is gone")


def test_racing_asks_may_end_either_way() -> None:
    """A put and a delete that overlap have no order of their own."""
    for end in ("running", "gone"):
        tale = Client()
        tale.ask("1", "sent")
        tale.ask("2", "sent", "delete")
        tale.ask("1", "acked")
        tale.ask("2", "acked", "delete")
        tale.is_(end)
        tale.kept("G3")


def test_revisions_order_racing_asks() -> None:
    """The store knows which came last."""
    for end, kept in (("gone", True), ("running", False)):
        tale = Client()
        tale.ask("1", "sent")
        tale.ask("2", "sent", "delete")
        tale.ask("2", "acked", "delete", 8)
        tale.ask("1", "acked", "put", 7)
        tale.is_(end)
        tale.kept("G3") if kept else tale.broken("G3")


def test_an_older_version_running_is_a_lost_update() -> None:
    """ "It runs" is not enough: what runs must be what was acknowledged."""
    tale = Client()
    tale.done("1", revision=5)
    tale.done("2", revision=9)
    tale.is_("running", revision=5)
    tale.broken("G3", "still runs that of 5")
    tale.is_("running", revision=9)
    tale.kept("G3")


def test_doubled_instances() -> None:
    """Twice the same instance at the end, or left over after the end."""
    twice, left = Client(), Client()
    twice.done("1")
    twice.is_("running", count=2)
    twice.broken("G3", "exist 2 times")
    left.done("1", "delete")
    left.is_("gone", count=1)
    left.broken("G3", "exist 1 times")


def test_make_before_break_is_not_doubled() -> None:
    """Two for a moment is how a chain moves without loss; only the end state counts."""
    tale = Client()
    tale.done("1")
    tale.is_("running", count=2)
    tale.is_("running", count=1)
    tale.kept("G3")


def test_one_idempotency_key_is_done_once() -> None:
    """A repeated ask must find its first answer."""
    for second, kept in ((5, True), (6, False)):
        tale = Client()
        for op, revision in (("1", 5), ("2", second)):
            tale.ask(op, "sent", key="k")
            tale.ask(op, "acked", key="k", revision=revision)
        tale.is_("running")
        tale.kept("G3") if kept else tale.broken("G3", "done twice")


def test_refused_and_done() -> None:
    """Who was told no must not get it."""
    tale = Client()
    tale.ask("1", "sent")
    tale.ask("1", "refused")
    tale.is_("running")
    tale.broken("G3", "done nevertheless")


def test_a_refused_delete_does_not_excuse_a_loss() -> None:
    """A refused ask is not a possible cause of the end state."""
    tale = Client()
    tale.done("1")
    tale.ask("2", "sent", "delete")
    tale.ask("2", "refused", "delete")
    tale.is_("gone")
    tale.broken("G3", "it is gone")


def test_an_answer_is_not_taken_back() -> None:
    """A client that gives up after the answer was here has an answer nevertheless."""
    tale = Client()
    tale.done("1")
    tale.ask("1", "unknown")
    tale.is_("gone")
    tale.broken("G3")


def test_nothing_acknowledged_is_no_data() -> None:
    """A run whose asks were all refused or lost proves nothing."""
    tale = Client()
    tale.no_data("G3")
    tale.ask("1", "sent")
    tale.ask("1", "unknown")
    tale.is_("gone")
    tale.no_data("G3")


def test_revisions_that_a_restore_turned_round_tell_nothing() -> None:
    """Each ask is then "certainly before" another; a judge that finds none possible would fall over, not judge."""
    tale = Client()
    tale.done("1", revision=10)
    tale.done("2", "delete")
    tale.done("3", revision=5)  # the tier's store came back from a backup in between
    tale.is_("running", count=1, revision=5)
    tale.kept("G3")
    tale.is_("pending")
    tale.broken("G3")
