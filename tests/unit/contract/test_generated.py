"""What is generated from the table is what lies in docs/, and the filters are what the links rely on."""

from __future__ import annotations

import copy
import json
import re
import shutil
from pathlib import Path

import pytest

from isthmus.contract import docs, reference, schema
from isthmus.contract.chain import ChainSpec, Explanation
from isthmus.contract.conformance import CLAUSES
from isthmus.contract.envelope import Stamp, seal
from isthmus.contract.errors import ContractError, KeyUnknown, ValueRefused
from isthmus.contract.families import FAMILIES
from isthmus.contract.family import Tier
from isthmus.contract.instance import SiteSummary
from isthmus.contract.registry import MODELS, family_at, is_note, read
from isthmus.contract.scopes import (
    SITE_TO_TIER,
    TIER_TO_SITE,
    ExportRoot,
    accepted,
    crosses,
    crossing,
    exports,
    site_exports,
    tier_exports,
)
from isthmus.contract.subject import sample_key
from isthmus.policy.errors import KeyRefused

DOCS = Path(__file__).parents[3] / "docs"
ROOT = "/isthmus/v1/"
STAMP = Stamp(origin="test", incarnation="1")


def test_check_passes(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever changed the table has run --write; the same bytes come out each time."""
    assert docs.main(["--check", "--docs", str(DOCS)]) == 0, capsys.readouterr().err
    assert schema.render() == schema.render() == (DOCS / docs.SCHEMA).read_text("utf-8")
    assert reference.contract_page() == (DOCS / docs.CONTRACT).read_text("utf-8")


def test_check_fails_for_each_file_that_was_changed_by_hand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And --write puts it right, without touching the frame."""
    for name in (docs.SPEC, docs.CONTRACT, docs.SCHEMA):
        shutil.copy(DOCS / name, tmp_path / name)
    here = ["--docs", str(tmp_path)]
    assert docs.main(["--check", *here]) == 0
    spec = (tmp_path / docs.SPEC).read_text("utf-8")
    (tmp_path / docs.SPEC).write_text(spec.replace("| placer |", "| anybody |"), "utf-8")
    (tmp_path / docs.CONTRACT).unlink()
    assert docs.main(["--check", *here]) == 1
    said = capsys.readouterr().err
    assert docs.SPEC in said
    assert docs.CONTRACT in said
    assert docs.SCHEMA not in said
    assert docs.main(["--write", *here]) == 0
    assert "written: spec.md, contract.md" in capsys.readouterr().out
    assert (tmp_path / docs.SPEC).read_text("utf-8") == spec
    (tmp_path / docs.SPEC).write_text(spec + "more\n" * docs.SPEC_LIMIT_LINES, "utf-8")
    assert docs.main(["--check", *here]) == 1, "a specification nobody reads to its end"


def test_a_frame_without_its_marks_is_refused() -> None:
    """Otherwise the table would silently stay as it is."""
    with pytest.raises(ContractError, match="marks"):
        reference.specification("# nothing")


def test_write_refuses_a_change_that_is_not_additive(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every store is full of values of the version before."""
    for name in (docs.SPEC, docs.CONTRACT, docs.SCHEMA):
        shutil.copy(DOCS / name, tmp_path / name)
    published = json.loads((tmp_path / docs.SCHEMA).read_text("utf-8"))
    published["$defs"]["ChainPlan"]["properties"]["older"] = {"type": "string"}
    (tmp_path / docs.SCHEMA).write_text(json.dumps(published), "utf-8")
    assert docs.main(["--write", "--docs", str(tmp_path)]) == 1
    assert "ChainPlan.older: the field is gone" in capsys.readouterr().err


def test_what_is_additive_and_what_is_not() -> None:
    """The compiler of versions: n-1 plus fields with defaults."""
    old = schema.document()
    assert schema.breaks(old, old) == ()

    def changed(path: str, value: object) -> str:
        new = copy.deepcopy(old)
        *way, last = path.split("/")
        place = new["$defs"]
        for part in way:
            place = place[part]
        if value is None:
            del place[last]
        else:
            place[last] = value
        return " ".join(schema.breaks(old, new))

    assert changed("ChainPlan/properties/more", {"type": "integer", "default": 0}) == ""
    assert changed("ChainPlan/properties/epoch/default", 7) == ""
    assert "ChainPlan.epoch: the field is gone" in changed("ChainPlan/properties/epoch", None)
    assert "another type" in changed("ChainPlan/properties/epoch/type", "string")
    assert "another type" in changed("ChainPlan/properties/hops/items", {"type": "string"})
    assert "is required now" in changed("ChainPlan/required", ["epoch"])
    assert changed("InstanceDesired/properties/incarnation/minimum", 0) == ""
    assert "tighter" in changed("InstanceDesired/properties/incarnation/minimum", 2)
    assert "tighter" in changed("InstanceDesired/properties/incarnation/maximum", 9)
    assert "tighter" in changed("ChainSpec/properties/tenant/pattern", "^[a-z]+$")
    assert changed("ChainSpec/properties/tenant/pattern", None) == ""
    assert "the model is gone" in changed("ChainPlan", None)
    assert "'degraded' is gone" in changed("Phase/enum", ["pending", "running"])
    assert "'starting' is gone" in changed("InstanceRuntime/properties/phase/enum", ["running"])


def test_the_schema_has_every_body_and_refuses_none_of_their_unknown_fields() -> None:
    """R11 in the published form, too."""
    definitions = schema.document()["$defs"]
    assert set(MODELS) <= set(definitions)
    assert definitions["Envelope"]["required"] == ["schema", "body"]
    for name in MODELS:
        assert definitions[name]["additionalProperties"] is True, name


def test_what_people_write_has_a_closed_schema() -> None:
    """The API publishes what it enforces."""
    closed = schema.closed(ChainSpec)
    parts = [closed, *(part for part in closed["$defs"].values() if "properties" in part)]
    assert len(parts) > 4
    assert all(part["additionalProperties"] is False for part in parts)


def test_clauses_of_the_page_are_the_ones_that_are_tested() -> None:
    """`isthmus conformance` tests the page and nothing else; what it cannot see is marked."""
    page = (DOCS / docs.SPEC).read_text("utf-8")
    stated = re.findall(r"^- \*\*([A-Z][0-9])(°?)\*\*", page, re.MULTILINE)
    tested = [clause for clause, mark in stated if not mark]
    assert len(stated) == len(set(stated))
    assert sorted(tested) == sorted(CLAUSES)


def test_filters_are_generated_and_are_what_the_links_rely_on() -> None:
    """G8: written down here by hand a second time, since both ends trust them."""
    assert site_exports("global") == (
        ExportRoot(f"{ROOT}summary/site", "summary/site"),
        ExportRoot(f"{ROOT}summary/peers/global/", "summary/"),
    )
    assert tier_exports("paris") == (ExportRoot(f"{ROOT}outbox/paris/", ""),)
    assert SITE_TO_TIER == ("summary/site", "summary/chains/", "summary/wires/")
    assert TIER_TO_SITE == ("intents/", "wires/")
    assert accepted(FAMILIES[Tier.SITE]) == SITE_TO_TIER
    assert site_exports("p") == exports(FAMILIES[Tier.SITE], "p")
    with pytest.raises(KeyRefused):
        site_exports("../global")


@pytest.mark.parametrize("tier", list(Tier))
def test_a_family_crosses_exactly_when_the_table_says_so(tier: Tier) -> None:
    """Each key of each family goes through export root and acceptance, or through neither."""
    roots = exports(FAMILIES[tier], "conformance")
    taken = accepted(FAMILIES[tier])
    for family in FAMILIES[tier]:
        key = sample_key(family)
        sent = [
            root.relative + key[len(root.source) :]
            for root in roots
            if key == root.source or (root.source.endswith("/") and key.startswith(root.source))
        ]
        assert bool(sent) == crosses(family), family.name
        for relative in sent:
            inside = [
                one
                for one in taken
                if relative == one or (one[-1] == "/" and relative.startswith(one))
            ]
            assert inside, f"{family.name} is sent as {relative}, which nobody takes"
            assert crossing(tier, relative) is family


def test_the_registry_knows_the_model_at_every_key() -> None:
    """Also at what came from another store, by the families of the sender."""
    for tier, families in FAMILIES.items():
        for family in families:
            if not family.tail:
                assert family_at(tier, sample_key(family)) is family
                assert family.model is not None
                assert MODELS[family.model.__name__] is family.model
    assert family_at(Tier.GLOBAL, f"{ROOT}remote/paris/summary/site").model is SiteSummary
    assert family_at(Tier.SITE, f"{ROOT}remote/global/intents/t/c").name == "outbox-intents"
    for key in ("remote/paris/plans/t/c", "remote/paris/summary", "nothing", "Plans/t/c"):
        with pytest.raises(KeyUnknown):
            family_at(Tier.GLOBAL, ROOT + key)
    assert is_note(Tier.SITE, f"{ROOT}remote/global/meta.synced")
    assert not is_note(Tier.SITE, f"{ROOT}remote/global/meta.x/y")
    assert not is_note(Tier.SITE, f"{ROOT}plans/meta.x/y")


def test_reading_refuses_what_does_not_belong_there() -> None:
    """The right envelope at the wrong key is wrong."""
    summary = SiteSummary(
        cpu_milli_total=1,
        cpu_milli_free=1,
        memory_mib_total=1,
        memory_mib_free=1,
        hosts_up=1,
        chains=0,
    )
    value = seal(summary, STAMP, as_of=1.0)
    assert read(Tier.SITE, f"{ROOT}summary/site", value).body == summary
    with pytest.raises(ValueRefused, match="ChainPlan is expected"):
        read(Tier.SITE, f"{ROOT}plans/t/c", value)
    with pytest.raises(KeyUnknown):
        read(Tier.SITE, f"{ROOT}nowhere", value)


def test_a_family_may_take_less_than_the_common_cap() -> None:
    """DESIGN section 4: an explanation is at most 4 KiB; both sides of that bound (a newer writer's field fills it)."""
    key = f"{ROOT}explain/placer/t/c"

    def explanation(filling: int) -> Explanation:
        document = {"decision": "accepted", "reason": "", "later": "x" * filling}
        return Explanation.model_validate(document)

    empty = len(seal(explanation(0), STAMP, as_of=1.0))
    fits, over = explanation(4096 - empty), explanation(4097 - empty)
    assert read(Tier.SITE, key, seal(fits, STAMP, as_of=1.0)).body == fits
    with pytest.raises(ValueRefused, match="at most 4096"):
        read(Tier.SITE, key, seal(over, STAMP, as_of=1.0))
