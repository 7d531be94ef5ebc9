"""An export agreement between two operators: a file that both have signed (DESIGN section 6, issue 7 point 4).

It says what may cross in each direction, how far it must be summed up, how fresh and how often, where it may be kept,
and until when. Each end holds the link to it by itself, on top of its own peer list, so it can only narrow.
Both sign the same canonical bytes: the terms as JSON with sorted keys; layout and comments of the file do not
count. Unknown fields are refused: a term that one end does not understand is not agreed.
"""

from __future__ import annotations

import json
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import yaml
from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from isthmus.contract.chain import Name
from isthmus.contract.figures import Kind
from isthmus.federation.errors import AgreementRefused
from isthmus.identity import TrustDomain, TrustDomainRefused, visible
from isthmus.policy.errors import RuleRefused
from isthmus.policy.scopes import Rule
from isthmus.trust import files
from isthmus.trust.errors import FileRefused

CONTEXT: Final = b"isthmus export agreement v1\n"
MAX_CLAUSES: Final = 64
Word = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Aggregation(StrEnum):
    """``as-is``: any value. ``totals``: only figures that the contract declares as summaries, with their bounds."""

    AS_IS = "as-is"
    TOTALS = "totals"


class Party(_Strict):
    """One operator. ``regions``: where it may keep what it gets (empty: anywhere)."""

    trust_domain: str
    regions: tuple[Name, ...] = ()

    @field_validator("trust_domain")
    @classmethod
    def _domain(cls, value: str) -> str:
        try:
            return TrustDomain(value).name
        except TrustDomainRefused as refused:
            raise ValueError(f"{refused}; write the operator's DNS name in lower case") from None


class Clause(_Strict):
    """``pattern`` is a relative key, or a prefix ending in ``/``; ``*`` stands for one segment."""

    pattern: str
    aggregation: Aggregation = Aggregation.AS_IS
    rules: tuple[Kind, ...] = Field((), description="totals: only by these rules; empty: by any")
    min_members: int = Field(1, ge=1, le=1_000_000, description="totals: of at least so many")
    never: tuple[Word, ...] = Field(
        (), description="fields that must be empty wherever they stand, such as host"
    )
    max_age_s: float | None = Field(None, gt=0, description="older values are held back")
    min_interval_s: float = Field(0.0, ge=0, le=86_400, description="between changes of one key")

    @field_validator("pattern")
    @classmethod
    def _pattern(cls, value: str) -> str:
        try:
            return Rule(value).pattern
        except RuleRefused as refused:
            raise ValueError(f"{refused}; such as summary/site or intents/acme/") from None

    @model_validator(mode="after")
    def _sense(self) -> Clause:
        plain = self.aggregation is Aggregation.AS_IS
        if plain and (self.rules or self.min_members > 1):
            raise ValueError("rules and min_members belong to aggregation: totals; set that")
        return self

    @property
    def looks_inside(self) -> bool:
        """True when a value has to be read to judge it."""
        totals = self.aggregation is Aggregation.TOTALS
        return totals or bool(self.never) or self.max_age_s is not None


class Flow(_Strict):
    """What ``sender`` may send to ``receiver``; what no clause covers stays at home."""

    sender: str
    receiver: str
    clauses: tuple[Clause, ...] = Field((), max_length=MAX_CLAUSES)
    max_changes_per_s: float = Field(1000.0, gt=0, le=1e6)
    burst_changes: int = Field(1000, ge=1, le=1_000_000)

    @model_validator(mode="after")
    def _distinct(self) -> Flow:
        patterns = [clause.pattern for clause in self.clauses]
        doubled = sorted({one for one in patterns if patterns.count(one) > 1})
        if doubled:
            raise ValueError(f"clauses: pattern {doubled[0]!r} is there twice; merge the clauses")
        return self


class Terms(_Strict):
    """What is signed."""

    name: Name
    version: int = Field(1, ge=1, lt=2**31, description="rises with every change")
    not_before: AwareDatetime
    not_after: AwareDatetime
    parties: tuple[Party, Party]
    flows: tuple[Flow, ...] = Field((), max_length=2)

    @model_validator(mode="after")
    def _consistent(self) -> Terms:
        if self.not_after <= self.not_before:
            raise ValueError("not_after: must be later than not_before")
        names = {party.trust_domain for party in self.parties}
        if len(names) != 2:
            raise ValueError("parties: name two different trust domains")
        for flow in self.flows:
            if {flow.sender, flow.receiver} != names:
                raise ValueError(
                    f"flows: {flow.sender} to {flow.receiver} is not between the two parties; "
                    f"they are {' and '.join(sorted(names))}"
                )
        if len({flow.sender for flow in self.flows}) != len(self.flows):
            raise ValueError("flows: one per direction; merge their clauses")
        return self

    def canonical(self) -> bytes:
        """The bytes that both sign."""
        body = self.model_dump(
            mode="json", exclude_defaults=True
        )  # a later field signs nothing away
        for moment in ("not_before", "not_after"):
            body[moment] = getattr(self, moment).timestamp()
        return json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()

    def flow(self, sender: str, receiver: str) -> Flow:
        """That direction; an empty one when nothing was agreed for it."""
        for flow in self.flows:
            if (flow.sender, flow.receiver) == (sender, receiver):
                return flow
        return Flow(sender=sender, receiver=receiver)

    def regions(self, trust_domain: str) -> tuple[str, ...]:
        """Where that party may keep what it gets."""
        return next((p.regions for p in self.parties if p.trust_domain == trust_domain), ())


class Signature(_Strict):
    """Of one party over :meth:`Terms.canonical`, base64."""

    trust_domain: str
    signature: str = Field(max_length=512)


class Agreement(_Strict):
    """The file."""

    agreement: Terms
    signatures: tuple[Signature, ...] = Field((), max_length=8)

    def signed_by(self, trust_domain: str, signature: str) -> Agreement:
        """With that party's signature in place of an older one."""
        others = tuple(one for one in self.signatures if one.trust_domain != trust_domain)
        fresh = Signature(trust_domain=trust_domain, signature=signature)
        return self.model_copy(update={"signatures": (*others, fresh)})

    def to_yaml(self) -> bytes:
        """The file, for people; reads back as the same terms."""
        body = self.model_dump(mode="json", exclude_defaults=True)
        text = yaml.safe_dump(body, sort_keys=False, allow_unicode=False, width=120)
        return text.encode("ascii")


class _Loader(yaml.BaseLoader):
    """Text only (no tags, no guessing of types), no aliases, no field twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("aliases are not used here; write the value out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        names = [child.value for child, _ in node.value]
        doubled = [name for name in names if names.count(name) > 1]
        if doubled:
            raise yaml.YAMLError(f"field {doubled[0]!r} is there twice; keep one")
        return super().construct_mapping(node, deep)


def parse(data: bytes) -> Agreement:
    """An agreement from its file; raises AgreementRefused naming field, value and what it may be."""
    try:
        raw = yaml.load(data.decode("utf-8"), Loader=_Loader)
        return Agreement.model_validate(raw)
    except ValidationError as error:
        raise AgreementRefused("agreement-malformed", _told(error)) from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        text = " ".join(visible(str(error), 300).split())
        message = f"not an agreement: {text}; begin with 'isthmus agreement new'"
        raise AgreementRefused("agreement-malformed", message) from None


def load(path: Path) -> Agreement:
    """The agreement in a file that nobody else can change; raises AgreementRefused."""
    try:
        data = files.read_public(path)
    except FileRefused as refused:
        missing = not path.exists()
        code = "agreement-missing" if missing else "agreement-malformed"
        # The peer may be told this: it need not learn our folders.
        fix = refused.fix.replace(str(path), path.name)
        raise AgreementRefused(code, f"{refused.reason}; {fix}") from None
    return parse(data)


def _told(error: ValidationError) -> str:
    """The first mistakes: field, what was found, what is wanted."""
    lines = []
    for one in error.errors()[:5]:
        where = ".".join(str(part) for part in one["loc"]) or "file"
        found = one.get("input")
        shown = ""
        if one["type"] != "missing" and isinstance(found, str | int | float):
            shown = f" (found: {visible(str(found), 80)})"
        lines.append(f"{where}: {visible(one['msg'].removeprefix('Value error, '), 300)}{shown}")
    return "; ".join(lines)


def moment(value: datetime) -> str:
    """For people."""
    return value.strftime("%Y-%m-%dT%H:%M:%SZ")
