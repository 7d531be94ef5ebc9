"""What the API refuses before it writes a request, pure; everything else is for intake, placer and explanations.

Only what can be seen from keys that are there already and will not change by waiting: a site that does not exist, a
VNF type that is not in the catalogue, a body that is not what the path says.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from isthmus.api.errors import OverLimit, Refused
from isthmus.contract import Tier
from isthmus.contract.chain import ChainSpec
from isthmus.contract.problems import Path, Problem, not_plain, refusals, shown
from isthmus.identity.text import visible
from isthmus.policy.errors import KeyRefused
from isthmus.policy.keys import check_segment


def name_in_path(field: str, value: str) -> str:
    """A segment of the path that is to become a segment of a key; never normalised."""
    try:
        return check_segment(value)
    except KeyRefused as error:
        raise Refused(
            "not-a-name",
            f"{field} in the path is not a name: {error.reason}",
            field=field,
            value=visible(value),
            fix="use 1 to 63 of a-z 0-9 . _ - and begin with a letter or a digit",
        ) from None


def read_spec(data: bytes, content_type: str) -> ChainSpec:
    """The spec in the body of a request, or the mistakes in it."""
    document = read_object(data, content_type)
    try:
        return ChainSpec.written(json.dumps(document))
    except ValidationError as error:
        raise Refused.because(refusals(error, ChainSpec)) from None


def read_object(data: bytes, content_type: str) -> object:
    """The JSON in the body of a request, plain and without twins; refuses what is none."""
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise OverLimit(
            "not-json",
            "the body must be JSON",
            value=visible(content_type, 60),
            fix="send 'Content-Type: application/json'",
            status=415,
        )
    document = _json(data)
    found = not_plain(document)
    if found is not None:
        raise Refused.because((found,))
    return document


def _json(data: bytes) -> object:
    try:
        return json.loads(data, object_pairs_hook=_no_twins, parse_constant=_no_constant)
    except RecursionError:
        raise Refused("too-deep", "the body is nested too deeply", fix="flatten it") from None
    except ValueError as error:
        message = visible(f"the body is not JSON: {error}")
        raise Refused("not-json", message, fix="send one chain as a JSON object") from None


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [name for name, _ in pairs]
        twin = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"field {visible(twin, 60)!r} is written twice")
    return result


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number in JSON")


def path_is_body(spec: ChainSpec, tenant: str, chain: str) -> Iterator[Problem]:
    """The path names the chain; a body that names another one is a mistake, or an attempt."""
    for field, wanted in (("tenant", tenant), ("chain", chain)):
        found = getattr(spec, field)
        if found != wanted:
            message = f"is not the {field} of the path ('{wanted}')"
            fix = f"write '{wanted}', or send it to its own path"
            yield Problem("path-mismatch", (field,), shown(found), message, fix)


def sites_known(spec: ChainSpec, tier: Tier, name: str, sites: Iterable[str]) -> Iterator[Problem]:
    """Every site that the spec names must be one that this tier has."""
    known = (name,) if tier is Tier.SITE else tuple(sorted(sites))
    for path, site in _named_sites(spec):
        if site is None:
            if tier is Tier.GLOBAL and path[0] != "constraints":
                message = "is missing: the global tier cannot guess where the attachment is"
                yield Problem("missing", path, "", message, f"name one of: {_some(known)}")
        elif site not in known:
            yield _unknown_site(path, site, tier, name, known)


def _named_sites(spec: ChainSpec) -> Iterator[tuple[Path, str | None]]:
    yield ("ingress", "site"), spec.ingress.site
    yield ("egress", "site"), spec.egress.site
    for index, site in enumerate(spec.constraints.sites):
        yield ("constraints", "sites", index), site


def _unknown_site(path: Path, site: str, tier: Tier, name: str, known: tuple[str, ...]) -> Problem:
    if tier is Tier.SITE:
        message = f"unknown site: this API serves only the site '{name}'"
        fix = f"write '{name}', or give the chain to the global tier"
        return Problem("unknown-site", path, shown(site), message, fix)
    close = difflib.get_close_matches(site, known, n=1)
    fix = f"did you mean '{close[0]}'?" if close else f"the sites are: {_some(known)}"
    return Problem("unknown-site", path, shown(site), "unknown site", fix)


def types_known(spec: ChainSpec, catalog: Mapping[str, frozenset[str]]) -> Iterator[Problem]:
    """Every VNF type (and its version) must be in the catalogue, once there is one."""
    if not catalog:
        return
    for index, function in enumerate(spec.functions):
        versions = catalog.get(function.type)
        if versions is None:
            close = difflib.get_close_matches(function.type, catalog, n=1)
            fix = f"did you mean '{close[0]}'?" if close else f"there are: {_some(sorted(catalog))}"
            path: Path = ("functions", index, "type")
            yield Problem("unknown-type", path, shown(function.type), "unknown VNF type", fix)
        elif function.version not in versions:
            path = ("functions", index, "version")
            message = f"{function.type} has no such version"
            fix = f"there are: {_some(sorted(versions))}"
            yield Problem("unknown-version", path, shown(function.version), message, fix)


def _some(names: Iterable[str], limit: int = 12) -> str:
    listed = list(names)
    text = ", ".join(listed[:limit]) or "(none yet)"
    return f"{text}, and {len(listed) - limit} more" if len(listed) > limit else text
