"""The reader against broken files: one typed error that names the field, or an answer that verifies."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.placement.batch import solve
from isthmus.placement.errors import InvalidProblem
from isthmus.placement.generator import drawn, make
from isthmus.placement.problem import dump, parse
from isthmus.placement.solution import dump as dump_solution
from isthmus.placement.verify import violations

GOOD = json.loads(json.dumps(dump(make(drawn(5, 1), 4, regime="both", seed=1))))
BAD: list[Any] = [
    None, True, False, 0, -1, -0.0, 0.5, 1e-7, 1e300, 10**40, float("nan"), float("inf"),
    "", "x", "s0000", "\x00", [], [[]], [0, 0], [[0, 0]], [[0, 99]], [[-1, 0]], [[0]], {}, {"x": 1},
    {"cpu": -1}, {"cpu": "1"}, ["s0000", "s0000"], ["nowhere"], [{}], [None], [1.0] * 33, [0] * 3,
]  # fmt: skip


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where every field of a document is."""
    found = [path] if path else []
    if isinstance(value, dict):
        for key, inner in value.items():
            found += _paths(inner, (*path, key))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            found += _paths(inner, (*path, i))
    return found


EXTRA = (
    "countries", "owners", "regions", "transit_sites", "forbidden_sites", "current", "migration_price",
    "backup", "affinity", "features",
)  # fmt: skip
PLACES = [
    *_paths(GOOD),
    *(("chains", 0, name) for name in EXTRA),
    *(("sites", 0, name) for name in ("country", "features", "owner")),
]


def _change(document: Any, path: tuple[Any, ...], value: Any, how: str) -> None:
    """Replace, remove or double one field; a path that an earlier change broke is left alone."""
    at = document
    for step in path[:-1]:
        try:
            at = at[step]
        except (KeyError, IndexError, TypeError):
            return
    last = path[-1]
    if not isinstance(at, dict) and not (
        isinstance(at, list) and isinstance(last, int) and last < len(at)
    ):
        return
    if how == "replace":
        at[last] = copy.deepcopy(value)
    elif how == "remove" and (isinstance(at, list) or last in at):
        del at[last]
    elif how == "double" and isinstance(at, list):
        at.append(copy.deepcopy(at[last]))


def _is_clear(error: InvalidProblem) -> None:
    assert error.field
    assert error.fix
    assert len(str(error)) < 600


@settings(max_examples=500, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(PLACES),
            st.sampled_from(BAD),
            st.sampled_from(["replace", "replace", "remove", "double"]),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_a_broken_file_gets_one_clear_error_or_a_right_answer(
    changes: list[tuple[tuple[Any, ...], Any, str]],
) -> None:
    """A stack trace at a user, or an answer to a question nobody asked, are both worse than a no."""
    document = copy.deepcopy(GOOD)
    for path, value, how in changes:
        _change(document, path, value, how)
    try:
        problem = parse(document)
    except InvalidProblem as error:
        _is_clear(error)
        return
    try:
        solution = solve(problem.network, problem.chains, work=5, fast=False, exact=False)
    except InvalidProblem as error:
        _is_clear(error)
        return
    chains = {c.id: c for c in problem.chains}
    assert (
        violations(problem.network, [(chains[c], p) for c, p in solution.placements.items()]) == ()
    )
    assert {*solution.placements, *solution.refusals} == set(chains)
    json.dumps(dump_solution(solution), allow_nan=False)


def test_every_field_with_every_bad_value_is_read_or_refused_clearly() -> None:
    """Drawn examples hit rare fields rarely: here each field of the file meets each bad value once."""
    wrong = []
    for path in PLACES:
        for value in BAD:
            document = copy.deepcopy(GOOD)
            _change(document, path, value, "replace")
            try:
                parse(document)
            except InvalidProblem as error:
                _is_clear(error)
            except Exception as error:
                wrong.append((path, value, repr(error)))
    assert wrong == []


def test_owners_and_regions_may_be_numbers() -> None:
    """Some files number their owners; a 0 must not be read as none."""
    document = copy.deepcopy(GOOD)
    for i, site in enumerate(document["sites"]):
        site |= {"owner": i % 2, "region": 0}
    document["chains"][0] |= {"owners": [0], "regions": [0]}
    problem = parse(document)
    assert {s.owner for s in problem.network.sites} == {"0", "1"}
    assert {s.region for s in problem.network.sites} == {"0"}
    assert problem.chains[0].owners == frozenset({"0"})
    assert problem.chains[0].regions == frozenset({"0"})
