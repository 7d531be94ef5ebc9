"""G4, G5, G6: planted mutants of convergence, order and resync, and the honest histories next to them."""

from __future__ import annotations

from tests.unit.proving.tale import Tale


class Mirror(Tale):
    """One source ``hub``, one reader ``milan``."""

    def __init__(self) -> None:
        super().__init__()
        self.rev = 0
        self.inc = "one"

    def put(self, key: str, value: str) -> None:
        self.rev += 1
        self.say.held(
            "store", store="hub", verb="put", key=key, value=value, rev=self.rev, inc=self.inc
        )

    def delete(self, key: str) -> None:
        self.rev += 1
        self.say.held("store", store="hub", verb="delete", key=key, rev=self.rev, inc=self.inc)

    def restore(self, rev: int, inc: str, backup_inc: str | None = None) -> None:
        self.rev, self.inc = rev, inc
        self.say.held("store", store="hub", verb="restore", rev=rev, inc=inc, backup_inc=backup_inc)

    def shows(self, key: str, value: str | None, peer: str = "milan") -> None:
        verb = "put" if value is not None else "delete"
        assert verb in ("put", "delete")
        if value is None:
            self.say.shown("r", store="hub", peer=peer, verb="delete", key=key)
        else:
            self.say.shown("r", store="hub", peer=peer, verb="put", key=key, value=value)

    def digest(self, now_s: float, source: str = "aa", target: str = "aa", keys: int = 3) -> None:
        self.at(now_s).digest("runner", link="l", source=source, target=target, keys=keys)

    def heal(self, now_s: float, backlog: int = 0, rate: float | None = None) -> None:
        self.at(now_s).heal("chaos", link="l", backlog=backlog, rate=rate)


# -- G5 and G6: what readers see


def test_coalescing_may_skip() -> None:
    """Nobody promised every value, only that they come forward."""
    tale = Mirror()
    for value in "1234":
        tale.put("a", value)
    tale.shows("a", "1")
    tale.shows("a", "4")
    tale.kept("G5")
    tale.kept("G6")


def test_a_key_goes_back() -> None:
    """The older value after the newer one: Ordered."""
    tale = Mirror()
    for value in "12":
        tale.put("a", value)
    for value in ("2", "1", "2"):
        tale.shows("a", value)
    tale.broken("G5", "went back in time")


def test_no_order_between_keys() -> None:
    """The protocol promises none, so the judge must not."""
    tale = Mirror()
    tale.put("a", "1")
    tale.put("b", "2")
    tale.shows("b", "2")
    tale.shows("a", "1")
    tale.kept("G5")


def test_a_change_shown_twice() -> None:
    """Unique; but the same value written twice is two changes."""
    twice, honest = Mirror(), Mirror()
    twice.put("a", "1")
    honest.put("a", "1")
    honest.put("a", "1")
    for tale in (twice, honest):
        tale.shows("a", "1")
        tale.shows("a", "1")
    twice.broken("G5", "Unique")
    honest.kept("G5")


def test_an_invented_value() -> None:
    """A value of another key counts as invented, too."""
    tale = Mirror()
    tale.put("a", "1")
    tale.put("b", "2")
    tale.shows("a", "2")
    tale.broken("G5", "never held this value")


def test_a_delete_that_the_source_did_not_make() -> None:
    """Blanking, even for a moment."""
    tale = Mirror()
    tale.put("a", "1")
    tale.shows("a", "1")
    tale.shows("a", None)
    tale.broken("G6", "blanked", "missing")


def test_blanking_is_seen_although_the_end_is_right() -> None:
    """Delete everything, write it again: equal sets at the end, and a hole in between."""
    tale = Mirror()
    tale.put("a", "1")
    tale.shows("a", "1")
    tale.shows("a", None)
    tale.shows("a", "1")
    verdict = tale.broken("G6", "blanked")
    assert len(verdict.offences) == 1


def test_an_old_delete_after_a_newer_put() -> None:
    """A late delete event of a key that was written again is blanking."""
    tale = Mirror()
    tale.put("a", "1")
    tale.delete("a")
    tale.put("a", "2")
    tale.shows("a", "2")
    tale.shows("a", None)
    tale.broken("G6", "blanked")


def test_a_delete_shown_twice() -> None:
    """A watch does not tell the end of what is not there."""
    tale = Mirror()
    tale.put("a", "1")
    tale.delete("a")
    tale.shows("a", "1")
    tale.shows("a", None)
    tale.shows("a", None)
    tale.broken("G5", "Unique")


def test_missing_and_ghosts_at_the_end() -> None:
    """The sets must be equal, with their values."""
    tale = Mirror()
    for key in "abc":
        tale.put(key, "1")
    tale.put("c", "2")
    tale.delete("b")
    tale.shows("b", "1")
    tale.shows("c", "1")
    verdict = tale.broken("G6", "missing: a", "ghost: b", "missing: c")
    assert len(verdict.offences) == 3


def test_the_source_may_be_recorded_later_than_its_mirror() -> None:
    """Two observers of real processes are not in step; only the orders of each count."""
    tale = Mirror()
    tale.shows("a", "1")
    tale.put("a", "1")
    tale.kept("G5")
    tale.kept("G6")


def test_a_restore_takes_the_mirror_along() -> None:
    """Back to the backup's state is a step forward, once."""
    tale = Mirror()
    tale.put("a", "1")
    tale.put("a", "2")
    tale.put("b", "3")
    for key, value in (("a", "1"), ("a", "2"), ("b", "3")):
        tale.shows(key, value)
    tale.restore(1, "two")
    tale.shows("a", "1")
    tale.shows("b", None)
    tale.kept("G5")
    tale.kept("G6")
    tale.shows("a", "2")
    tale.broken("G5", "went back in time")


def test_a_ghost_from_before_the_restore() -> None:
    """What the backup does not hold must go, although nobody deleted it."""
    tale = Mirror()
    tale.put("a", "1")
    tale.put("b", "2")
    tale.shows("a", "1")
    tale.shows("b", "2")
    tale.restore(1, "two")
    tale.broken("G6", "ghost: b")


def test_backups_of_older_incarnations() -> None:
    """The same revision means different things in different histories."""
    for backup_inc, value in ((None, "x"), ("one", "b2")):
        tale = Mirror()
        tale.put("a", "a1")
        tale.put("a", "b2")
        tale.restore(1, "two")
        tale.put("a", "x")
        tale.restore(2, "three", backup_inc)
        tale.shows("a", value)
        tale.kept("G6")
        assert tale.judge("G5").ok


def test_recorded_revisions_must_rise() -> None:
    """Per incarnation and key; a left incarnation must not come back."""
    tale = Mirror()
    for value in "123":
        tale.put("a", value)
    for value, rev, inc in (("1", 5, "one"), ("2", 4, "one"), ("3", 1, "two")):
        tale.say.shown(
            "r", store="hub", peer="m", verb="put", key="a", value=value, rev=rev, inc=inc
        )
    assert len(tale.broken("G5", "revision 4 after 5").offences) == 1
    tale.put("b", "9")
    tale.say.shown("r", store="hub", peer="m", verb="put", key="b", value="9", rev=9, inc="one")
    tale.broken("G5", "incarnation one had been left")


def test_each_reader_walks_alone() -> None:
    """One that is behind does not make another go back."""
    tale = Mirror()
    tale.put("a", "1")
    tale.put("a", "2")
    tale.shows("a", "2", "milan")
    tale.shows("a", "1", "paris")
    tale.kept("G5")
    tale.broken("G6", "missing: a of hub at paris")


def test_a_reader_that_was_shown_nothing_is_missing_everything() -> None:
    """Silence must not pass as agreement."""
    tale = Mirror()
    tale.say.reader("r", store="hub", peer="milan")
    tale.put("a", "1")
    tale.broken("G6", "missing: a")


def test_mirrors_without_a_recorded_source_are_no_data() -> None:
    """They can be judged in no way, and the verdict says why."""
    tale = Mirror()
    tale.shows("a", "1")
    tale.no_data("G5")
    tale.no_data("G6")
    assert "no `held` records of hub" in tale.judge("G6").text


# -- G4: how long it takes


def test_converged_in_time() -> None:
    """p50, p99 and max are told."""
    tale = Mirror()
    for start in range(0, 100, 10):
        tale.heal(start)
        tale.digest(start + 1, target="bb")
        tale.digest(start + (4 if start == 90 else 2))
    verdict = tale.kept("G4")
    assert verdict.figure == "p50 2.00 s, p99 4.00 s, max 4.00 s"
    assert verdict.samples == 10


def test_converged_too_late() -> None:
    """A backlog buys time at the measured rate, and not more."""
    for backlog, rate, kept in ((0, None, False), (1000, 100.0, True), (1000, 1000.0, False)):
        tale = Mirror()
        tale.heal(0, backlog, rate)
        tale.digest(8)
        tale.kept("G4") if kept else tale.broken("G4", "took 8.00 s")


def test_a_rate_of_nothing_buys_no_eternity() -> None:
    """A link that measured no rate gets the default one."""
    tale = Mirror()
    tale.heal(0, 10, 0)
    tale.digest(1000)
    tale.broken("G4", "took 1000.00 s")


def test_never_equal() -> None:
    """Whether somebody compared or not: the time went by."""
    for compares in (True, False):
        tale = Mirror()
        tale.heal(0)
        if compares:
            tale.digest(3, target="bb")
        tale.at(9).step("sim", name="end")
        tale.broken("G4", "never became equal until the end")


def test_flapping_does_not_hide_a_link_that_never_heals() -> None:
    """A new cut within the time says nothing; a new heal after the time does not excuse the last."""
    soon, late = Mirror(), Mirror()
    soon.heal(0)
    soon.heal(3)
    soon.digest(4)
    assert "1 heals left out" in soon.kept("G4").text
    late.heal(0)
    late.digest(2, target="bb")
    late.heal(30)
    late.digest(31)
    late.broken("G4", "never became equal before it was cut again")


def test_a_run_that_ends_too_soon_is_no_data() -> None:
    """Not converged yet, and not late yet."""
    tale = Mirror()
    tale.heal(0)
    tale.digest(2, target="bb")
    tale.no_data("G4")


def test_equal_once_and_unequal_at_the_end() -> None:
    """The first equal moment must not hide a key that was lost afterwards."""
    tale = Mirror()
    tale.heal(0)
    tale.digest(1)
    tale.digest(60, target="bb")
    tale.broken("G4", "ends unequal")


def test_two_empty_sets_prove_nothing() -> None:
    """Equal, trivially."""
    tale = Mirror()
    tale.heal(0)
    tale.digest(1, keys=0)
    tale.no_data("G4")


def test_clocks_are_not_mixed() -> None:
    """The difference of two clocks is no duration."""
    tale = Mirror()
    tale.heal(0)
    other = tale.say.on("x.boot", lambda: 1.0)
    other.digest("runner", link="l", source="a", target="a", keys=1)
    tale.broken("G4", "different clocks")


def test_each_link_by_itself() -> None:
    """One that converges does not speak for another."""
    tale = Mirror()
    tale.heal(0)
    tale.say.heal("chaos", link="other", backlog=0)
    tale.digest(1)
    tale.at(20).step("sim", name="end")
    assert len(tale.broken("G4", "never").offences) == 1


def test_no_heal_is_no_data() -> None:
    """Digests alone say nothing of healing."""
    tale = Mirror()
    tale.no_data("G4")
    tale.digest(1)
    tale.no_data("G4")
