"""The pages that are made from the table: ``docs/contract.md`` whole, and the table inside ``docs/spec.md`` (R46).

Pure: text in, text out. The frame of the specification is written by hand; only what stands between the two marks is
generated, so page and code cannot disagree about who writes what.
"""

from __future__ import annotations

from collections.abc import Iterable

from isthmus.contract.envelope import VALUE_LIMIT_BYTES, Envelope
from isthmus.contract.errors import ContractError
from isthmus.contract.families import FAMILIES
from isthmus.contract.family import Family, Tier
from isthmus.contract.lint import BOUNDED_BY, RETENTIONS
from isthmus.contract.registry import MODELS
from isthmus.contract.scopes import SITE_TO_TIER, TIER_TO_SITE, crosses, relative_pattern
from isthmus.contract.summaries import SUMMARIES
from isthmus.policy.keys import ROOT

BEGIN = "<!-- generated from the table of families; do not edit -->"
END = "<!-- end of what is generated -->"
_TITLES = {Tier.SITE: "A site's store", Tier.GLOBAL: "The global tier's store"}


def contract_page() -> str:
    """``docs/contract.md``."""
    parts = [
        "# The key contract\n",
        "Generated from `isthmus.contract` by `python -m isthmus.contract.docs --write`; do not edit. What a vendor "
        "must do with it is in [spec.md](spec.md), the models are in [schema.json](schema.json).\n",
        f"All keys begin with `{ROOT}`. A value is at most {VALUE_LIMIT_BYTES // 1024} KiB of JSON in one envelope. "
        "`{any}` in a reader stands for each one of its kind.\n",
    ]
    for tier, families in FAMILIES.items():
        parts.append(f"## {_TITLES[tier]}\n")
        parts += [_section(family) for family in families]
    parts += [_crossing_section(), _summary_section(), _envelope_section(), _models_section()]
    return "\n".join(parts)


def _summary_section() -> str:
    """Which numbers are summaries: what agreements and readers of ``told`` rely on."""
    lines = [
        "## Summaries\n",
        "Fields that sum up others. Each crosses with a telling in `told`: value, bound (wrong by at most so much), "
        "when and why it was told. It is told again when it moves beyond its band, or reaches its maximal age.\n",
        "| field | rule | of | from | band | age |",
        "|---|---|---|---|---|---|",
    ]
    for one in SUMMARIES:
        rule, sources = one.rule, ", ".join(source.name for source in one.sources)
        band = f"{rule.dead_band_share:.0%}" if rule.dead_band_share else f"{rule.dead_band:g}"
        lines.append(
            f"| `{one.family.name}`.`{one.field}` | {rule.kind.value} | {one.of} | {sources or 'settings'} "
            f"| {band} | {rule.max_age_s:g} s |"
        )
    return "\n".join([*lines, ""])


def specification(frame: str) -> str:
    """``docs/spec.md``: ``frame`` with the table between its marks made anew; raises ContractError without marks."""
    before, begin, rest = frame.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ContractError(f"docs/spec.md has lost its marks {BEGIN!r} and {END!r}; put them back")
    return f"{before}{BEGIN}\n{_short_tables()}{END}{after}"


def _short_tables() -> str:
    lines: list[str] = []
    for tier, families in FAMILIES.items():
        lines += [
            "",
            f"**{_TITLES[tier]}**",
            "",
            "| key | writer | body | crosses |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| `{family.pattern}` | {family.writer} | {_model(family)} | {family.crosses} |"
            for family in families
        ]
    return "\n".join([*lines, "", ""])


def _section(family: Family) -> str:
    keys = sorted({BOUNDED_BY[name] for name in family.variables if name in BOUNDED_BY})
    rows = [
        ("keys", f"`{family.pattern}`"),
        ("writer", family.writer),
        ("readers", ", ".join(family.readers)),
        ("body", _model(family)),
        ("crosses", _crosses(family)),
        ("removed by", RETENTIONS[family.retention]),
        ("bounded by", ", ".join(keys) or "one key"),
        ("at most", f"{family.limit_bytes} bytes a value"),
    ]
    table = "\n".join(f"| {name} | {text} |" for name, text in rows)
    return f"### {family.name}\n{family.doc[:1].upper()}{family.doc[1:]}.\n\n| | |\n|---|---|\n{table}\n"


def _model(family: Family) -> str:
    if family.model is None:
        return "as the sender's"
    return f"`{family.model.__name__}/{family.model.SCHEMA_VERSION}`"


def _crosses(family: Family) -> str:
    if not crosses(family):
        return "no"
    return f"{family.crosses}; as `{relative_pattern(family)}`"


def _crossing_section() -> str:
    return (
        "## What crosses\n"
        f"A tier takes from a site: {_list(SITE_TO_TIER)}. A site takes from its tier: {_list(TIER_TO_SITE)}. "
        "Each end checks both lists; everything arrives below `remote/<peer>/`, which is read-only.\n"
    )


def _envelope_section() -> str:
    rows = []
    for name, field in Envelope.model_fields.items():
        default = "required" if field.is_required() else f"`{field.default!r}`"
        about = field.description or "what `schema` says"
        rows.append(f"| `{field.alias or name}` | {default} | {about} |")
    table = "\n".join(rows)
    return f"## The envelope\n| field | default | meaning |\n|---|---|---|\n{table}\n"


def _models_section() -> str:
    used: dict[str, list[str]] = {name: [] for name in MODELS}
    for tier, families in FAMILIES.items():
        for family in families:
            if family.model is not None:
                used[family.model.__name__].append(f"{family.name} ({tier.value})")
    rows = []
    for name, model in MODELS.items():
        story = (model.__doc__ or "").strip().split("\n\n")[0]
        about = " ".join(story.split()).replace("|", "\\|")
        rows.append(
            f"| `{name}/{model.SCHEMA_VERSION}` | {', '.join(used[name]) or 'any'} | {about} |"
        )
    table = "\n".join(rows)
    return f"## The bodies\n| schema | families | what |\n|---|---|---|\n{table}\n"


def _list(items: Iterable[str]) -> str:
    return ", ".join(f"`{item}`" for item in items)
