"""The kinds of records and their fields: the history format as a table (docs/proving.md prints it).

One format for simulation and real processes, so that the same judges read both (issue 5). A judge may rely on the
types below: the reader checks them. A field that is not in the table is refused, because a misspelt optional field
would silently be no data.
"""

from __future__ import annotations

from dataclasses import dataclass

Number = (int, float)


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a kind; ``types`` as isinstance takes them, ``one_of`` when only some words are allowed."""

    name: str
    types: tuple[type, ...]
    tells: str
    required: bool = True
    one_of: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of record and the promises that are judged by it."""

    name: str
    tells: str
    fields: tuple[Field, ...]
    promises: tuple[str, ...] = ()


def _text(name: str, tells: str, *one_of: str) -> Field:
    return Field(name, (str,), tells, one_of=one_of)


def _whole(name: str, tells: str) -> Field:
    return Field(name, (int,), tells)


def _number(name: str, tells: str) -> Field:
    return Field(name, Number, tells)


def _flag(name: str, tells: str) -> Field:
    return Field(name, (bool,), tells)


def _maybe(field: Field) -> Field:
    return Field(field.name, field.types, field.tells, required=False, one_of=field.one_of)


NOTE = _maybe(_text("note", "free words for the reader; no judge looks at them"))
"""Allowed in every kind."""

_STORE = _text("store", "the mirrored set: all keys that one source exports to one kind of peer")
_KEY = _text("key", "the key, relative to what is mirrored")
_VALUE = _maybe(_text("value", "short hash or number of the value; absent for a delete"))
_REV = _whole("rev", "the source's revision of this change; of a restore, the backup's")
_INC = _text("inc", "the incarnation of the source's history; a restore makes a new one")
_PEER = _text("peer", "name of the peer")
_DIRECTION = _text("direction", "seen from the recorder", "in", "out")

_TABLE = (
    Kind(
        "fault",
        "chaos did something, or ended it",
        (
            _text("kind", "name of the fault kind"),
            _text("target", "what it hit: a link, a process, a store"),
            _text("phase", "a fault without duration has `begin` only", "begin", "end"),
            _maybe(_text("detail", "its figures")),
        ),
        ("all: the fault timeline of the report",),
    ),
    Kind(
        "ask",
        "a client asked for a chain, or for its end; one record when sent, one for the answer",
        (
            _text("op", "id of the operation, the same in all its records"),
            _text("verb", "what was asked", "put", "delete"),
            _text("tier", "`global` or the site asked"),
            _text("chain", "tenant/name"),
            _text("phase", "", "sent", "acked", "refused", "unknown"),
            _maybe(_text("key", "idempotency key; a repeated ask has the same")),
            _maybe(_whole("revision", "revision of the acknowledged intent")),
        ),
        ("G3",),
    ),
    Kind(
        "effect",
        "the state of a chain as a reader of its tier sees it; at the end, one for each chain that was asked for",
        (
            _text("tier", "as in `ask`"),
            _text("chain", "as in `ask`"),
            _text("phase", "status phase, or `gone`"),
            _maybe(_text("reason", "why, when it is not running")),
            _maybe(_whole("count", "how many times its instances exist; 1 is right, 2 is doubled")),
            _maybe(_whole("revision", "revision of the intent this state belongs to")),
        ),
        ("G3",),
    ),
    Kind(
        "held",
        "a change of a mirrored set at its source, in its order: the truth a mirror is compared with",
        (
            _STORE,
            _text("verb", "", "put", "delete", "restore"),
            _maybe(_text("key", "the key; absent for a restore")),
            _VALUE,
            _REV,
            _INC,
            _maybe(
                _text(
                    "backup_inc",
                    "of a restore: the incarnation in which the backup was taken, if not the last",
                )
            ),
        ),
        ("G5", "G6"),
    ),
    Kind(
        "shown",
        "a change of a mirror, as one of its readers sees it, in the order he sees it",
        (
            _STORE,
            _text("peer", "who holds the mirror; one name for each reader"),
            _text("verb", "", "put", "delete"),
            _KEY,
            _VALUE,
            _maybe(_whole("rev", "the source's revision, when the reader can know it")),
            _maybe(
                _text("inc", "the incarnation of the source's history, when the reader can know it")
            ),
        ),
        ("G5", "G6"),
    ),
    Kind(
        "reader",
        "somebody begins to read a mirror, from nothing; from now on his `shown` records are complete",
        (_STORE, _text("peer", "name of the reader, as in `shown`")),
        ("G5", "G6"),
    ),
    Kind(
        "digest",
        "both ends' digests, compared at one moment",
        (
            _text("link", "name of the link and direction"),
            _text("source", "hex digest of what the source must show"),
            _text("target", "hex digest of what the mirror holds"),
            _whole("keys", "number of keys at the source"),
        ),
        ("G4", "G6"),
    ),
    Kind(
        "heal",
        "from here on the link could work again",
        (
            _text("link", "as in `digest`"),
            _whole("backlog", "changes that wait to cross"),
            _maybe(_number("rate", "measured changes a second of this link")),
        ),
        ("G4",),
    ),
    Kind(
        "memory",
        "what a peer costs here",
        (
            _PEER,
            _whole("pending_keys", "changed keys that wait for it"),
            _whole("pending_bytes", "bytes that wait for it"),
            _whole("bound_bytes", "the bound in force"),
            _maybe(_whole("rss_bytes", "resident bytes of the process because of this peer")),
            _maybe(_flag("slow", "true for a peer that is slow or dead just now")),
            _maybe(_number("latency_s", "how long its last change took to cross")),
        ),
        ("G7",),
    ),
    Kind(
        "local",
        "a site did something for its own chains",
        (
            _text("site", "name of the site"),
            _text("op", "place, heal, scale, forward, ..."),
            _flag("ok", "did it work"),
            _number("took_s", "how long it took"),
            _flag("cut", "was the site cut off then"),
            _maybe(_whole("outside_calls", "calls that left the site for it")),
            _maybe(_flag("other_fault", "something else hit the site meanwhile: not judged")),
        ),
        ("G1",),
    ),
    Kind(
        "fact",
        "a decision looked at a remote fact",
        (
            _text("by", "who decides"),
            _text("fact", "key of the fact"),
            _number("as_of", "when it was true, on the clock of `now`"),
            _number("ttl_s", "its age limit"),
            _number("now", "when it was looked at"),
            _flag("used", "did the decision depend on it"),
            _text("treated_as", "", "known", "unknown"),
        ),
        ("G12",),
    ),
    Kind(
        "probe",
        "a series of packets",
        (
            _text("path", "from where to where"),
            _whole("sent", "packets"),
            _whole("lost", "packets"),
            _number("longest_gap_ms", "longest time without one"),
            _text("phase", "", "baseline", "fault", "heal", "planned"),
        ),
        ("G14", "G1"),
    ),
    Kind(
        "trace",
        "the digest of a whole run; two runs of one seed and commit are compared",
        (
            _whole("seed", ""),
            _text("commit", ""),
            _text("world", "name of the world"),
            _text("sha256", "hex"),
        ),
        ("G13",),
    ),
    Kind(
        "lease",
        "somebody is, or is no longer, the one who may act",
        (
            _text("resource", "what is exclusive"),
            _text("holder", "who"),
            _text("phase", "", "active", "inactive"),
            _whole("token", "fencing token; rises with every grant"),
        ),
        ("G2", "G2'"),
    ),
    Kind(
        "packet",
        "a sink got a packet of an exclusive chain",
        (
            _text("resource", "as in `lease`"),
            _text("holder", "who sent it"),
            _whole("token", "fencing token it carries"),
        ),
        ("G2", "G2'"),
    ),
    Kind(
        "frame",
        "a frame crossed",
        (_PEER, _DIRECTION, _text("code", "kind of frame")),
        ("G9", "G10"),
    ),
    Kind(
        "denial",
        "a key or a peer was refused",
        (
            _PEER,
            _DIRECTION,
            _text("key", "what was refused"),
            _text("reason", "code of the refusal"),
        ),
        ("G8", "G9"),
    ),
    Kind(
        "sentinel",
        "a planted foreign value was searched",
        (
            _text("where", "wire, store, log, dashboard"),
            _text("key", "where it was planted"),
            _flag("found", "must be false"),
        ),
        ("G8",),
    ),
    Kind(
        "policy",
        "a store learnt that a peer is revoked, expired, rotated or admitted",
        (_PEER, _text("phase", "", "revoked", "expired", "rotated", "admitted")),
        ("G9", "G10"),
    ),
    Kind(
        "share",
        "what a peer gets while another one floods",
        (
            _PEER,
            _flag("flooding", "is this the one that floods"),
            _number("converged_s", "its G4 figure"),
            _whole("denied", "changes over its quota"),
        ),
        ("G11",),
    ),
    Kind("step", "a failpoint or a transition was reached", (_text("name", "which"),), ()),
)

KINDS: dict[str, Kind] = {kind.name: kind for kind in _TABLE}

_REQUIRED = {
    name: frozenset(f.name for f in kind.fields if f.required) for name, kind in KINDS.items()
}
_FIELDS = {name: {f.name: f for f in (*kind.fields, NOTE)} for name, kind in KINDS.items()}


def problem_of(what: str, fields: dict[str, object]) -> str | None:
    """What is wrong with the fields of a record of kind ``what``, or None."""
    known = _FIELDS.get(what)
    if known is None:
        return f"what={what!r} is no kind of record; known are {', '.join(KINDS)}"
    for name, value in fields.items():
        field = known.get(name)
        if field is None:
            return f"{what}.{name} is no field of this kind; it has {', '.join(known)}"
        if not _fits(field, value):
            return f"{what}.{name} is {value!r}; it must be {_wanted(field)}"
    missing = _REQUIRED[what] - fields.keys()
    if missing:
        return f"{what}.{min(missing)} is missing"
    return None


def _fits(field: Field, value: object) -> bool:
    if isinstance(value, bool) and bool not in field.types:
        return False
    return isinstance(value, field.types) and (not field.one_of or value in field.one_of)


def _wanted(field: Field) -> str:
    if field.one_of:
        return "one of " + ", ".join(field.one_of)
    return "a " + " or ".join(kind.__name__ for kind in field.types)


def as_markdown() -> str:
    """The table of docs/proving.md; a field in brackets may be absent."""
    lines = ["| kind | what happened | fields | judged |", "|---|---|---|---|"]
    for kind in _TABLE:
        fields = ", ".join(_in_words(field) for field in kind.fields)
        judged = ", ".join(kind.promises)
        lines.append(f"| `{kind.name}` | {kind.tells} | {fields} | {judged} |")
    return "\n".join(lines)


def _in_words(field: Field) -> str:
    name = f"`{field.name}`" if field.required else f"[`{field.name}`]"
    tells = "/".join(field.one_of) or field.tells
    return f"{name} {tells}".rstrip()
