"""Denials that an operator can read, limits on both sides of their boundary, status that survives a round trip."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from isthmus.contract.envelope import VALUE_LIMIT_BYTES
from isthmus.contract.scopes import SITE_TO_TIER, site_exports
from isthmus.federation import LinkLimits, LinkStatus, read_status
from isthmus.federation import link_pb2 as pb
from isthmus.federation.errors import SettingsRefused
from isthmus.federation.filters import KEPT_DENIALS, DenialLog, ExportFilter, ScopeFilter
from isthmus.federation.settings import SiteLinkSettings, load_gateway, load_site
from isthmus.federation.status import read_status_file, write_status
from isthmus.federation.tap import describe
from isthmus.policy.errors import KeyRefused
from isthmus.policy.scopes import Decision, Rule, Scope, Verb

UP = Scope.mirror("up", SITE_TO_TIER)


def export(denials: DenialLog | None = None) -> ExportFilter:
    return ExportFilter(site_exports("global"), ScopeFilter(UP), denials or DenialLog())


def test_value_at_the_limit_crosses_and_one_byte_more_does_not() -> None:
    """64 KiB, both sides of the boundary; counted by reason."""
    denials = DenialLog()
    filter_ = export(denials)
    assert filter_.value_passes("k", b"x" * VALUE_LIMIT_BYTES)
    assert not filter_.value_passes("k", b"x" * (VALUE_LIMIT_BYTES + 1))
    assert denials.counts == {"export:value-too-large": 1}


def test_relative_names_go_there_and_back() -> None:
    """The edge finds the source key of a coalesced change again."""
    filter_ = export()
    for lane, key in (
        (0, "/isthmus/v1/summary/site"),
        (1, "/isthmus/v1/summary/peers/global/wires/w"),
    ):
        relative = filter_.relative(lane, key)
        assert relative is not None
        assert filter_.source_key(relative) == key
    with pytest.raises(KeyRefused):
        filter_.source_key("intents/t/c")


def test_summary_of_another_peer_is_not_below_the_root() -> None:
    """``peers/global`` is no prefix of ``peers/globalx``."""
    denials = DenialLog()
    assert export(denials).relative(1, "/isthmus/v1/summary/peers/globalx/chains/t/c") is None
    assert denials.counts == {"export:root-denied": 1}


def test_denials_are_counted_for_ever_and_kept_for_a_while() -> None:
    """Bounded memory, however long a peer knocks; foreign bytes are shown as escapes."""
    denials = DenialLog()
    for _ in range(1000):
        denials.add("import", Verb.PUT, b"\x1b[31m\xff", Decision(False, "key-refused", "no"))
    assert denials.total("import") == 1000
    assert len(denials.newest) == KEPT_DENIALS
    assert denials.newest[0].key == r"\x1b[31m\xff"


def test_scope_with_wildcards_and_single_verbs_is_decided_by_the_scope_itself() -> None:
    """The fast path never widens a rule."""
    scope = Scope("odd", (Rule("a/*/b"), Rule("gone/", frozenset({Verb.DELETE}))))
    check = ScopeFilter(scope).check
    assert check(Verb.PUT, b"a/x/b") == "a/x/b"
    assert isinstance(check(Verb.PUT, b"a/x/y/b"), Decision)
    assert check(Verb.DELETE, "gone/x") == "gone/x"
    denied = check(Verb.PUT, "gone/x")
    assert isinstance(denied, Decision)
    assert denied.code == "verb-denied"


def test_status_file_is_replaced_whole(tmp_path: Path) -> None:
    """What was written is read, and nothing of it is half."""
    path = tmp_path / "status.json"
    links = (LinkStatus(peer="global", state="open", denied={"import:scope-denied": 2}),)
    write_status(path, links)
    write_status(path, links * 2)
    assert read_status(path) == links * 2
    assert read_status_file(path).refused == {}
    write_status(path, links, {"peer-unknown": 3})
    assert read_status_file(path).refused == {"peer-unknown": 3}
    path.write_text('{"links": []}')
    assert read_status_file(path).refused == {}, "as an older process wrote it"
    assert [file.name for file in tmp_path.iterdir()] == ["status.json"]


def test_tap_shows_keys_and_values_as_searchable_text() -> None:
    """A sentinel must be found by a plain search; odd bytes become escapes, unknown verbs are named so."""
    item = pb.Item(verb=pb.VERB_PUT, key=b"a/b", value=b"SENTINEL \xff")
    line = describe("sent", pb.Frame(batch=pb.Batch(seq=2, items=[item, pb.Item()])))
    assert line["items"][0] == {
        "verb": "put",
        "key": "a/b",
        "value": "SENTINEL \\xff",
        "revision": 0,
    }
    assert line["items"][1]["verb"] == "unknown"
    assert describe("received", pb.Frame(bye=pb.Bye(code="lost")))["code"] == "lost"
    assert describe("received", pb.Frame())["kind"] == "none"


def test_limits_refuse_what_makes_no_sense() -> None:
    """A limit on everything, and on the limits."""
    for wrong in ({"beat_s": 0}, {"window_bytes": 1}, {"txn_ops": 1}, {"surprise": 1}):
        with pytest.raises(ValidationError):
            LinkLimits.model_validate(wrong)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "file"),
        ("[]", "file"),
        ('{"peer": {"name": "UPPER", "identity": "x"}}', "peer.name"),
        ('{"limits": {"beat_s": -1}}', "limits.beat_s"),
    ],
)
def test_settings_errors_name_the_field(text: str, words: str, tmp_path: Path) -> None:
    """An operator gets the field, not a stack trace."""
    path = tmp_path / "settings.json"
    path.write_text(text)
    with pytest.raises(SettingsRefused, match=words):
        load_site(path)
    with pytest.raises(SettingsRefused):
        load_gateway(tmp_path / "absent.json")


def test_at_a_site_the_default_scopes_are_the_other_way_round(tmp_path: Path) -> None:
    """A site takes intents and sends summaries; the defaults must not be those of the tier."""
    settings = SiteLinkSettings.model_validate(
        {
            "name": "paris",
            "credentials": tmp_path,
            "bundles": {"carrier.example": tmp_path},
            "dial": ["127.0.0.1:1"],
            "peer": {"name": "global", "identity": "spiffe://carrier.example/global/gateway"},
        }
    )
    peer = settings.peer.peer()
    assert peer.accepts.decide(Verb.PUT, "intents/t/c").allowed
    assert not peer.accepts.decide(Verb.PUT, "summary/site").allowed
    assert peer.sends.decide(Verb.PUT, "summary/site").allowed
